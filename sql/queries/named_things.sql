-- named_things: one row per Slide, Case, Cohort or Run whose id is $word, or else begins with it.
with things as (
    select
        1 as place,
        'slide' as kind,
        slide_id as id
    from slides
    union all
    select 2, 'case', case_id from cases
    union all
    select 3, 'cohort', cohort from cohorts
    union all
    select 4, 'run', run_id from runs
)

select
    kind,
    id
from things
where starts_with(id, $word) and (id = $word or $word not in (select id from things))
order by place, id
limit 12
