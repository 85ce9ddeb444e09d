-- labels: one row per Label that is given; a Label said twice is one Label.
insert into labels by name
select distinct on (label_id) * exclude (target_kind, target_low, target_high, row, sequence)
from said
order by row
on conflict do nothing
