-- cohorts: one row per Cohort of a ledger file.
insert into cohorts by name
select distinct
    cohort,
    cohort_id,
    target,
    query,
    parameters,
    split_method,
    options,
    dropped,
    created_at
from said
on conflict do nothing
