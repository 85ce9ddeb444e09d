-- labels_as_of: one row per Case and Target: the best Label among those given before $as_of.
with known as (
    select
        labels.*,
        arg_max(labels.status, labels.recorded_at)
            filter (labels.status in ('agreed', 'disputed'))
            over (partition by labels.case_id, labels.target) as verdict
    from labels
    where labels.recorded_at < cast($as_of as timestamp)
)
select
    known.case_id,
    known.target,
    known.value,
    known.low,
    known.high,
    known.method,
    known.status,
    known.recorded_at
from known
where known.value is not null
    and known.status in ('agreed', 'single')
    and (known.method = 'human' or known.verdict is distinct from 'disputed')
qualify row_number() over (
    partition by known.case_id, known.target
    order by
        case
            when known.method = 'human' then 0
            when known.status = 'agreed' then 1
            when known.method = 'ollama' then 2
            else 3
        end,
        known.method,
        known.recorded_at desc,
        known.label_id
) = 1
order by known.case_id, known.target
