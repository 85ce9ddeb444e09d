-- labels: one row per Label of a ledger file; a Label said twice is one Label.
insert into labels by name
select distinct on (label_id) * exclude (target_kind, target_low, target_high)
from said
order by recorded_at
on conflict do nothing
