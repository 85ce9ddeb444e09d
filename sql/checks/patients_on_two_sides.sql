-- patients_on_two_sides: one row per Patient that stands on several sides of a Cohort.
select
    cohort_slides.cohort,
    cohort_slides.patient_id,
    list(distinct cohort_slides.split order by cohort_slides.split) as splits
from cohort_slides
group by cohort_slides.cohort, cohort_slides.patient_id
having count(distinct cohort_slides.split) > 1
order by cohort_slides.cohort, cohort_slides.patient_id
