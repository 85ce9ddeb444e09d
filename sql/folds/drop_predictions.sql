-- drop_predictions: what predictions hold of the Runs that were deleted.
delete from predictions
where predictions.run_id in (
    select tombstones.name
    from tombstones
    where tombstones.kind = 'run'
)
