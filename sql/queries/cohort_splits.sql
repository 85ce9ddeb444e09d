-- cohort_splits: one row per split of a Cohort, folds by number, others the earliest first: its
-- Slides that are not retired; positive is null where there are no classes.
select
    cohort_slides.split,
    count(*) as slides,
    count(distinct cohort_slides.patient_id) as patients,
    min(cohort_slides.dated) as first,
    max(cohort_slides.dated) as last,
    avg(cohort_slides.value) as mean,
    sum((cohort_slides.value > (targets.low + targets.high) / 2)::integer)::bigint as positive
from cohort_slides
join cohorts on cohorts.cohort = cohort_slides.cohort
left join targets on targets.target = cohorts.target and targets.kind = 'binary'
where cohort_slides.cohort = $cohort
    and not retired(cohort_slides.slide_id, cohort_slides.case_id, cohort_slides.patient_id)
group by cohort_slides.split
order by try_cast(cohort_slides.split as integer), first, cohort_slides.split
