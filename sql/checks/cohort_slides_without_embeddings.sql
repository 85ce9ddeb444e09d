-- cohort_slides_without_embeddings: one row per Slide of a Cohort whose arrays are gone.
select
    cohort_slides.cohort,
    cohort_slides.slide_id,
    cohort_slides.slide_key
from cohort_slides
anti join embeddings on embeddings.slide_key = cohort_slides.slide_key
order by cohort_slides.cohort, cohort_slides.slide_id
