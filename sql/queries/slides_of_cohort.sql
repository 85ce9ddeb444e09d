-- slides_of_cohort: one row per Slide of $cohort that is not retired.
select cohort_slides.slide_id
from cohort_slides
where cohort_slides.cohort = $cohort
    and not retired(cohort_slides.slide_id, cohort_slides.case_id, cohort_slides.patient_id)
