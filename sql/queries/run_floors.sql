-- run_floors: one row per number of the ridge floor of the Runs $ids.
select
    metrics.run_id,
    metrics.metric,
    metrics.value
from metrics
where metrics.split = 'ridge_test'
    and list_contains($ids, metrics.run_id)
