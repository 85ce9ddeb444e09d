-- ingest_times: one row per Slide, Tiling, Encoder and stage of a ledger file; the last holds.
insert into ingest_times by name
select distinct on (slide_key, tiling_id, encoder_id, stage)
    *
from read_parquet($file)
order by measured_at desc
on conflict do update set
    seconds = excluded.seconds,
    bytes = excluded.bytes,
    tiles = excluded.tiles,
    device = excluded.device,
    measured_at = excluded.measured_at
