-- drop_runs: what runs hold of the Runs that were deleted.
delete from runs
where runs.run_id in (
    select tombstones.name
    from tombstones
    where tombstones.kind = 'run'
)
