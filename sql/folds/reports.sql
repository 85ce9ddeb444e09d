-- reports: one row per Report of a ledger file; the last date said of it holds.
insert or replace into reports by name
select
    case_id,
    report_hash,
    last(reported_on) as reported_on,
    max(seen_at) as seen_at
from said
group by case_id, report_hash
