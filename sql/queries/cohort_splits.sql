-- cohort_splits: one row per split of a Cohort, the earliest first: its Slides that are not retired.
select
    cohort_slides.split,
    count(*) as slides,
    count(distinct cohort_slides.patient_id) as patients,
    min(cohort_slides.dated) as first,
    max(cohort_slides.dated) as last,
    avg(cohort_slides.value) as mean
from cohort_slides
where cohort_slides.cohort = $cohort
    and not retired(cohort_slides.slide_id, cohort_slides.case_id, cohort_slides.patient_id)
group by cohort_slides.split
order by first, cohort_slides.split
