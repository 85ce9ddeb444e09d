-- bags: one row per Slide, Tiling and Encoder with n_tiles > 0; cellularity is null without a Label.
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
    embeddings.tiling_id,
    embeddings.encoder_id,
    embeddings.n_tiles,
    embeddings.dim,
    slides.extra
from slide_facts as slides
join embeddings on embeddings.slide_key = slides.slide_key
where embeddings.n_tiles > 0
