-- golden_tiles: one row per Encoder of a ledger file; the first word holds.
insert into golden_tiles by name
select distinct on (encoder_id) *
from said
order by kept_at
on conflict do nothing
