-- labels_as_of: one row per Case and Target: the best Label among those given before $as_of.
select
    labels.case_id,
    labels.target,
    labels.value,
    labels.low,
    labels.high,
    labels.method,
    labels.status,
    labels.recorded_at
from labels
where labels.recorded_at < cast($as_of as timestamp)
    and labels.value is not null
    and labels.status in ('agreed', 'single')
qualify row_number() over (
    partition by labels.case_id, labels.target
    order by
        case
            when labels.method = 'human' then 0
            when labels.status = 'agreed' then 1
            when labels.method = 'ollama' then 2
            else 3
        end,
        labels.method,
        labels.recorded_at desc,
        labels.label_id
) = 1
order by labels.case_id, labels.target
