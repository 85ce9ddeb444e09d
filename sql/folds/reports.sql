-- reports: one row per Report of a ledger file.
insert into reports
select
    case_id,
    report_hash,
    last(reported_on) as reported_on,
    max(seen_at) as seen_at
from read_parquet($file)
group by case_id, report_hash
on conflict do update set
    reported_on = excluded.reported_on,
    seen_at = excluded.seen_at
