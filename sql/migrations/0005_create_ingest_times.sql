-- ingest_times: one row per Slide, Tiling, Encoder and stage of an ingest that embedded it.
create table ingest_times (
    slide_key varchar not null,
    tiling_id varchar not null,
    encoder_id varchar not null,
    -- open: fingerprint, tissue, thumbnail; read: pixels of the tiles; embed; write: publish
    stage varchar not null check (stage in ('open', 'read', 'embed', 'write')),
    seconds double not null check (seconds >= 0),  -- at work, without waiting for other stages
    -- open and read: asked of the file; embed: pixels into the Encoder; write: files in the store
    bytes bigint not null check (bytes >= 0),
    tiles integer not null check (tiles >= 0),
    device varchar not null,  -- of the Encoder
    measured_at timestamp not null,
    primary key (slide_key, tiling_id, encoder_id, stage)
);
