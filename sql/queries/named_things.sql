-- named_things: one row per thing of $kinds whose id begins with $word, itself first; 20 of a kind.
with things as (
    select
        1 as place,
        'slide' as kind,
        slide_id as id
    from slides
    union all
    select
        2 as place,
        'case' as kind,
        case_id as id
    from cases
    union all
    select distinct
        2 as place,
        'case' as kind,
        told.case_id as id
    from (
        select case_id from reports
        union all
        select case_id from labels
    ) as told
    anti join cases on cases.case_id = told.case_id
    union all
    select distinct
        3 as place,
        'patient' as kind,
        patient_id as id
    from cases
    where not patient_made_up
    union all
    select
        4 as place,
        'cohort' as kind,
        cohort as id
    from cohorts
    union all
    select
        5 as place,
        'run' as kind,
        run_id as id
    from runs
)

select
    id,
    kind
from things
where starts_with(id, $word) and contains($kinds, kind)
qualify row_number() over (partition by place order by id != $word, id) <= 20
order by id != $word, place, id
