-- targets: one row per Target named with a Label; the first word holds.
insert into targets by name
select distinct on (target)
    target,
    target_kind as kind,
    target_low as low,
    target_high as high
from said
order by row
on conflict do nothing
