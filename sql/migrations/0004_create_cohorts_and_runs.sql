-- One row a Cohort and its Slides, a Run, its metrics and its Predictions.
create table cohorts (
    cohort varchar primary key,
    cohort_id varchar not null,  -- hash of its Slides, Labels and split
    target varchar not null,
    query varchar not null,  -- the SQL text that chose the Slides
    parameters json not null,
    split_method varchar not null,
    options json not null,  -- test_fraction, seed, late_slides, undated
    dropped json not null,  -- counts of Slides left out, by reason
    created_at timestamp not null
);

create table cohort_slides (
    cohort varchar not null,
    slide_id varchar not null,
    slide_key varchar not null,
    case_id varchar not null,
    patient_id varchar not null,
    dated date,
    split varchar not null,  -- train, validation, test, or a fold number
    value double not null,
    low double,
    high double,
    primary key (cohort, slide_id)
);

create table runs (
    run_id varchar primary key,
    cohort varchar not null,
    encoder_id varchar not null,
    tiling_id varchar not null,
    target varchar not null,
    model varchar not null,
    bag_size integer not null check (bag_size > 0),
    seed bigint not null,
    n_train integer not null,
    n_validation integer not null,
    n_test integer not null,
    config json not null,
    code_version varchar not null,
    started_at timestamp not null,
    seconds double not null
);

create table metrics (
    run_id varchar not null,
    split varchar not null,
    metric varchar not null,
    value double,
    primary key (run_id, split, metric)
);

create table predictions (
    run_id varchar not null,
    slide_id varchar not null,
    slide_key varchar not null,
    split varchar not null,
    truth double,
    mean double not null,
    std double,  -- over resampled Bags; null where the Bag is the whole Slide
    n_tiles integer not null,
    n_resamples integer not null,
    primary key (run_id, slide_id)
);
