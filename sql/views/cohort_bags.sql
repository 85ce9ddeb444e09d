-- cohort_bags: one row per Cohort, Slide, Tiling and Encoder, with the frozen Label and split.
create or replace view cohort_bags as
select
    cohort_slides.cohort,
    cohort_slides.split,
    cohort_slides.slide_id,
    cohort_slides.slide_key,
    cohort_slides.case_id,
    cohort_slides.patient_id,
    cohort_slides.dated,
    cohort_slides.value,
    cohort_slides.low,
    cohort_slides.high,
    slides.specimen,
    slides.stain,
    slides.scanner,
    slides.scanned_on,
    cases.age_years,
    embeddings.tiling_id,
    embeddings.encoder_id,
    embeddings.n_tiles,
    embeddings.dim
from cohort_slides
join embeddings on embeddings.slide_key = cohort_slides.slide_key
left join slides on slides.slide_id = cohort_slides.slide_id
left join cases on cases.case_id = cohort_slides.case_id
where embeddings.n_tiles > 0
    and not retired(cohort_slides.slide_id, cohort_slides.case_id, cohort_slides.patient_id)
