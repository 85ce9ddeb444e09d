-- completions: one row per thing whose id begins with $word, of the kinds that $kinds names.
with things as (
    select
        'cohort' as kind,
        cohort as id
    from cohorts
    union all
    select
        'run' as kind,
        run_id as id
    from runs
    union all
    select
        'slide' as kind,
        slide_id as id
    from slides
    union all
    select
        'case' as kind,
        case_id as id
    from cases
)

select
    id,
    kind
from things
where starts_with(id, $word) and contains($kinds, kind)
order by kind, id
limit 50
