-- labels_as_of: one row per Case and Target: the best Label among those given before $as_of.
select
    best.case_id,
    best.target,
    best.value,
    best.low,
    best.high,
    best.method,
    best.status,
    best.recorded_at
from best_labels_at(cast($as_of as timestamp)) as best
order by best.case_id, best.target
