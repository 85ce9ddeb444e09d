-- labels_as_of: one row per Case and Target: the best Label among those given before $as_of, in UTC;
-- of a day without a time, before its end.
select
    best.case_id,
    best.target,
    best.value,
    best.low,
    best.high,
    best.method,
    best.status,
    best.recorded_at
from best_labels_at(
        cast($as_of as timestamp)
        + case when contains(cast($as_of as varchar), ':') then interval 0 day else interval 1 day end
    ) as best
order by best.case_id, best.target
