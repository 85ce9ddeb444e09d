-- named_things: one row per Slide, Case, Cohort or Run whose id begins with $word, itself first.
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
    select
        3 as place,
        'cohort' as kind,
        cohort as id
    from cohorts
    union all
    select
        4 as place,
        'run' as kind,
        run_id as id
    from runs
)

select
    id,
    kind
from things
where starts_with(id, $word)
order by id != $word, place, id
limit 12
