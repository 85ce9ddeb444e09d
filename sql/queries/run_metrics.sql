-- run_metrics: one row per metric of the Run $id on its test Slides, with its limits, and the floor's.
with own as (
    from metrics
    where run_id = $id
),

test as (
    from own
    where split = 'test'
)

select
    one.metric,
    one.value as test,
    low.value as low,
    high.value as high,
    own.value as ridge_test
from test as one
left join test as low
    on low.metric = one.metric || '_low'
left join test as high
    on high.metric = one.metric || '_high'
left join own
    on
        own.metric = one.metric
        and own.split = 'ridge_test'
where not exists (
    from test as of_which
    where one.metric in (of_which.metric || '_low', of_which.metric || '_high')
)
order by one.metric
