-- ingest_rates: one row per Encoder and device, the newest first: what its ingests took, measured.
select
    encoders.encoder_id,
    encoders.dim,
    ingest_times.device,
    count(distinct ingest_times.slide_key) as slides,
    cast(sum(tiles) filter (stage = 'embed') as bigint) as tiles,
    avg(seconds) filter (stage = 'open') as open_s_per_slide,
    sum(seconds) filter (stage = 'read') / sum(tiles) filter (stage = 'read') as read_s_per_tile,
    sum(seconds) filter (stage = 'embed') / sum(tiles) filter (stage = 'embed') as embed_s_per_tile,
    avg(seconds) filter (stage = 'write') as write_s_per_slide,
    avg(bytes) filter (stage = 'open') as open_bytes_per_slide,
    sum(bytes) filter (stage = 'read') / sum(tiles) filter (stage = 'read') as read_bytes_per_tile,
    -- a tile takes its vector, two coordinates and three scores; the rest comes with each Slide
    avg(bytes - tiles * (2 * encoders.dim + 14)) filter (stage = 'write') as write_bytes_per_slide
from ingest_times
join encoders on encoders.encoder_id = ingest_times.encoder_id
where encoders.name = $encoder
group by all
having sum(tiles) filter (stage = 'embed') > 0
order by max(ingest_times.measured_at) desc
