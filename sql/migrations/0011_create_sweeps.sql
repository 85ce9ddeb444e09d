-- sweeps: one row per Sweep: Runs that differ in what was swept.
create table sweeps (
    sweep_id varchar primary key,  -- hash of the keys of its Runs
    cohort varchar not null,
    config json not null,  -- what its Runs share
    factors json not null,  -- what was swept, and its values
    runs json not null,  -- runs.key of each Run, done or not: its factors, seed and fold
    created_at timestamp not null
);
