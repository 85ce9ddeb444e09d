-- One row a Target, a Label ever given, and the best Label a Case and Target.
create table targets (
    target varchar primary key,
    kind varchar not null check (kind in ('fraction', 'continuous', 'binary')),
    low double not null,
    high double not null
);

create table labels (
    label_id varchar primary key,  -- hash of what was said, by whom and of what
    case_id varchar not null,
    target varchar not null,
    value double,  -- null: the Report states no figure
    low double,
    high double,
    qualifier varchar check (qualifier in ('<', '>', '~')),
    method varchar not null check (method in ('rules', 'ollama', 'human')),
    status varchar not null check (status in ('agreed', 'disputed', 'unsupported', 'single')),
    evidence varchar,
    report_hash varchar,  -- null: not read from a Report
    rule varchar,  -- which rule, or which model
    model_digest varchar,
    prompt_hash varchar,
    recorded_at timestamp not null
);

create table best_labels (
    case_id varchar not null,
    target varchar not null,
    label_id varchar not null,
    value double not null,
    low double,
    high double,
    qualifier varchar,
    method varchar not null,
    status varchar not null,
    primary key (case_id, target)
);
