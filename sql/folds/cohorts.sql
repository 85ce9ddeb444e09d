-- cohorts: one row per Cohort of a ledger file, unless it was deleted later; the first word holds.
insert into cohorts by name
select distinct on (said.cohort)
    said.cohort,
    said.cohort_id,
    said.target,
    said.query,
    said.parameters,
    said.split_method,
    said.options,
    said.dropped,
    said.created_at,
    said.sequence
from said
where not exists (
    select 1
    from tombstones
    where tombstones.kind = 'cohort'
        and tombstones.name = said.cohort
        and tombstones.sequence > said.sequence
)
order by said.row
on conflict do nothing
