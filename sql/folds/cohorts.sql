-- cohorts: one row per Cohort of a ledger file.
insert into cohorts
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
from read_parquet($file)
on conflict do nothing
