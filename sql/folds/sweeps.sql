-- sweeps: one row per Sweep of a ledger file.
insert into sweeps by name
select columns(lambda c: c in getvariable('own'))
from said
on conflict do nothing
