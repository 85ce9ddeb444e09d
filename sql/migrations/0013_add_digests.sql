-- embeddings: the digest of an array's one chunk file; null: nobody took it yet.
alter table embeddings add column digest varchar;

-- runs: sha256 of the list of its files' sha256; null: of an earlier version
alter table runs add column digest varchar;

-- the store's order; 0: of an earlier version
alter table runs add column sequence bigint default 0;

-- checked_arrays: one row per array of Embeddings that `verify` found whole.
create table checked_arrays (
    slide_key varchar not null,
    tiling_id varchar not null,
    encoder_id varchar not null,
    size_bytes bigint not null,
    mtime_ns bigint not null,
    inode ubigint not null,
    checked_at timestamp not null,
    primary key (slide_key, tiling_id, encoder_id)
);
