-- cohort_slides: one row per Slide of the Cohort in a ledger file, of the one that has the name.
insert into cohort_slides by name
select columns(lambda c: c in getvariable('own'))
from said
where exists (
    select 1
    from cohorts
    where cohorts.cohort = said.cohort and cohorts.cohort_id = said.cohort_id
)
on conflict do nothing
