-- One row a Tiling, an Encoder, and an Embedding array in the store.
create table tilings (
    tiling_id varchar primary key,
    tile_px integer not null check (tile_px > 0),
    tile_mpp double not null check (tile_mpp > 0),  -- microns per tile pixel
    min_tissue double not null check (min_tissue between 0 and 1),
    filter_version varchar not null
);

create table encoders (
    encoder_id varchar primary key,
    name varchar not null,
    dim integer not null check (dim > 0),
    weights varchar not null,  -- where they came from; 'random' says that they are
    weights_hash varchar not null,
    identity json not null  -- architecture and input transform
);

create table embeddings (
    slide_key varchar not null,
    tiling_id varchar not null,
    encoder_id varchar not null,
    n_tiles integer not null check (n_tiles >= 0),
    dim integer not null check (dim > 0),
    precision varchar,
    device varchar,
    embedded_at timestamp,
    primary key (slide_key, tiling_id, encoder_id)
);
