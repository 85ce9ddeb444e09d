-- targets: one row per Target named in a ledger file of Labels.
insert into targets by name
select distinct
    target,
    target_kind as kind,
    target_low as low,
    target_high as high
from said
on conflict do nothing
