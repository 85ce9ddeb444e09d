-- had: one row per Cohort and Run that had a Slide of the thing $name of $kind.
with of_cohorts as (
    select
        cohort,
        slide_id
    from cohort_slides
    where
        case $kind
            when 'patient' then patient_id
            when 'case' then case_id
            when 'slide' then slide_id
            when 'cohort' then cohort
        end = $name
)

select
    'cohort' as kind,
    cohort as name
from of_cohorts
where $kind <> 'cohort'
union
select
    'run' as kind,
    run_id as name
from runs
where cohort in (select of_cohorts.cohort from of_cohorts)
union
select
    'run' as kind,
    run_id as name
from predictions
where slide_id in (select of_cohorts.slide_id from of_cohorts)
    and $kind <> 'cohort'  -- its Runs are those that were made of it
order by kind, name
