-- ingest_times: one row per Slide, Tiling, Encoder and stage that was measured; the last holds.
insert or replace into ingest_times by name
select distinct on (slide_key, tiling_id, encoder_id, stage) * exclude (row, sequence)
from said
order by row desc
