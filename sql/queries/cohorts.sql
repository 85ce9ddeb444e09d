-- cohorts: one row per Cohort, the oldest first, with its Slides that are not retired.
with left_in as (
    select
        cohort_slides.cohort,
        cohort_slides.slide_id,
        cohort_slides.patient_id
    from cohort_slides
    where not retired(cohort_slides.slide_id, cohort_slides.case_id, cohort_slides.patient_id)
)

select
    cohorts.cohort,
    cohorts.target,
    cohorts.split_method,
    count(left_in.slide_id) as slides,
    count(distinct left_in.patient_id) as patients,
    cohorts.created_at
from cohorts
left join left_in on left_in.cohort = cohorts.cohort
group by all
order by cohorts.created_at
