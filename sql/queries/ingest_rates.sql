-- ingest_rates: one row per Encoder and device, the newest first: what its ingests took, measured.
select
    encoders.encoder_id,
    encoders.dim,
    spent.device,
    count(distinct spent.slide_key) as slides,
    cast(sum(spent.tiles) filter (spent.stage = 'embed') as bigint) as tiles,
    avg(spent.seconds) filter (spent.stage = 'open') as open_s_per_slide,
    sum(spent.seconds) filter (spent.stage = 'read')
        / sum(spent.tiles) filter (spent.stage = 'read') as read_s_per_tile,
    sum(spent.seconds) filter (spent.stage = 'embed')
        / sum(spent.tiles) filter (spent.stage = 'embed') as embed_s_per_tile,
    avg(spent.seconds) filter (spent.stage = 'write') as write_s_per_slide,
    avg(spent.bytes) filter (spent.stage = 'open') as open_bytes_per_slide,
    sum(spent.bytes) filter (spent.stage = 'read')
        / sum(spent.tiles) filter (spent.stage = 'read') as read_bytes_per_tile,
    -- a tile takes its vector, two coordinates and three scores; the rest comes with each Slide
    avg(spent.bytes - spent.tiles * (2 * encoders.dim + 14))
        filter (spent.stage = 'write') as write_bytes_per_slide
from ingest_times as spent
join encoders on encoders.encoder_id = spent.encoder_id
where encoders.name = $encoder
group by all
having sum(spent.tiles) filter (spent.stage = 'embed') > 0
order by max(spent.measured_at) desc
