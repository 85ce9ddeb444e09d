-- cohorts: one row per Cohort, the oldest first, in numbers.
select
    cohorts.cohort,
    cohorts.target,
    cohorts.split_method,
    count(*) as slides,
    count(distinct cohort_slides.patient_id) as patients,
    cohorts.created_at
from cohorts
join cohort_slides on cohort_slides.cohort = cohorts.cohort
group by all
order by cohorts.created_at
