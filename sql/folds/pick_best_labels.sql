-- pick_best_labels: one row per Case that a ledger file touches and Target: its best Label so far.
insert into best_labels by name
select
    best.case_id,
    best.target,
    best.label_id,
    best.value,
    best.low,
    best.high,
    best.qualifier,
    best.method,
    best.status
from best_labels_at('infinity'::timestamp) as best
where best.case_id in (select said.case_id from said)
