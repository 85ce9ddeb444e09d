-- ingest_times: one row per Slide, Tiling, Encoder and stage of a ledger file; the last holds.
insert or replace into ingest_times by name
select distinct on (slide_key, tiling_id, encoder_id, stage) *
from said
order by measured_at desc
