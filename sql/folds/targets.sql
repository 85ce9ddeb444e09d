-- targets: one row per Target named in a ledger file of Labels.
insert into targets
select distinct
    target,
    target_kind as kind,
    target_low as low,
    target_high as high
from read_parquet($file)
on conflict do nothing
