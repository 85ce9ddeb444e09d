-- tombstones: one row per thing that was taken out, and each time it was.
create table tombstones (
    kind varchar not null check (kind in ('slide', 'case', 'patient', 'cohort', 'run')),
    name varchar not null,
    erase boolean not null,
    slide_key varchar,  -- of an erased Slide
    recorded_at timestamp not null,
    sequence bigint not null,  -- of its ledger file: what came before it is out
    primary key (kind, name, sequence)
);

-- of the ledger file; null: of an earlier version
alter table cohorts add column sequence bigint;

alter table ledger_files add column digest varchar;
