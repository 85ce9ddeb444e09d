-- golden_tiles: one row per Encoder that is spoken of; the first word holds.
insert into golden_tiles by name
select distinct on (encoder_id) * exclude (row, sequence)
from said
order by row
on conflict do nothing
