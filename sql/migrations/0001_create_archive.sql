-- One row a Case, a Slide, a Report; what cannot be read stands in failures.
create table cases (
    case_id varchar primary key,
    patient_id varchar not null,
    patient_made_up boolean not null,  -- no patient_id was given: the case_id stands in
    age_years double check (age_years between 0 and 130)
);

create table slides (
    slide_id varchar primary key,
    case_id varchar not null,
    path varchar not null,
    size_bytes bigint not null,
    mtime_ns bigint not null,
    fingerprint varchar not null,
    slide_key varchar not null,
    scanned_on date,
    specimen varchar check (specimen in ('core', 'clot', 'aspirate', 'other')),  -- null: unknown
    stain varchar,
    scanner varchar,
    reader varchar,  -- library and version that read the pixels
    width_px0 integer check (width_px0 > 0),  -- geometry is null for imported Slides
    height_px0 integer check (height_px0 > 0),
    mpp double check (mpp > 0),  -- microns per level-0 pixel
    mpp_given double check (mpp_given > 0),  -- from the manifest or --mpp; null: from the file
    tissue_mm2 double,
    blurred_share double,  -- of tiles, 0 to 1
    pen_share double,  -- of tiles, 0 to 1
    black_share double,  -- of the thumbnail, 0 to 1
    extra json,  -- every other column of the manifest
    ingested_at timestamp not null
);

create table reports (
    case_id varchar not null,
    report_hash varchar not null,  -- of the text, which never enters the store
    reported_on date,
    seen_at timestamp not null,
    primary key (case_id, report_hash)
);

create table failures (
    item varchar not null,  -- path of a Slide, or case_id of a Report
    stage varchar not null,  -- archive, open, read, embed, write, label
    reason varchar not null,
    attempts integer not null check (attempts > 0),
    slide_id varchar,
    first_at timestamp not null,
    last_at timestamp not null,
    primary key (item)
);

create table ledger_files (
    kind varchar not null,
    name varchar not null,
    folded_at timestamp not null,
    primary key (kind, name)
);
