-- cohorts: one row per Cohort of a ledger file, unless it was deleted later; the first word holds.
insert into cohorts by name
select distinct on (cohort) columns(lambda c: c in getvariable('own'))
from said
where not exists (
    select 1
    from tombstones
    where tombstones.kind = 'cohort'
        and tombstones.name = said.cohort
        and tombstones.sequence > said.sequence
)
order by row
on conflict do nothing
