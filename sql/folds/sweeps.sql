-- sweeps: one row per Sweep of a ledger file.
insert into sweeps by name
select
    sweep_id,
    cohort,
    config,
    factors,
    runs,
    created_at
from said
on conflict do nothing
