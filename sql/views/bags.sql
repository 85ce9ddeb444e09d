-- bags: one row per Slide, Tiling and Encoder with n_tiles > 0; cellularity is null without a Label.
-- The arrays of a Slide stand in its row, so that a condition on Slides reads no table of arrays.
create or replace view bags as
select
    slides.slide_id,
    slides.slide_key,
    slides.case_id,
    slides.patient_id,
    slides.patient_made_up,
    slides.age_years,
    slides.reported_on,
    slides.scanned_on,
    slides.dated,
    slides.specimen,
    slides.stain,
    slides.scanner,
    slides.mpp,
    slides.quality,
    slides.cellularity,
    slides.low,
    slides.high,
    slides.label_method,
    slides.label_status,
    slides.one.tiling_id,
    slides.one.encoder_id,
    slides.one.n_tiles,
    slides.one.dim,
    slides.extra
from (
    select
        *,
        unnest(arrays) as one
    from slide_facts
) as slides
where slides.one.n_tiles > 0
