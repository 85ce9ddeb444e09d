-- golden_tiles: one row per Encoder: the vector of a fixed tile at its first use in this store.
create table golden_tiles (
    encoder_id varchar primary key,
    vector float[] not null,
    precision varchar not null,
    device varchar not null,
    kept_at timestamp not null
);
