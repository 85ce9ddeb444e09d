-- best_labels: one row per Case that a ledger file touches and Target: its best Label so far.
insert into best_labels by name
select columns(lambda c: c in getvariable('own'))
from best_labels_at('infinity'::timestamp) as best
where best.case_id in (select said.case_id from said)
