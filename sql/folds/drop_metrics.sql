-- drop_metrics: what metrics hold of the Runs that were deleted.
delete from metrics
where metrics.run_id in (
    select tombstones.name
    from tombstones
    where tombstones.kind = 'run'
)
