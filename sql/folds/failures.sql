-- failures: one row per item that failed in a ledger file; attempts are counted.
insert into failures by name
select
    item,
    last(stage) as stage,
    last(reason) as reason,
    count(*) as attempts,
    last(slide_id) as slide_id,
    min(seen_at) as first_at,
    max(seen_at) as last_at
from said
where not mended
group by item
on conflict do update set
    stage = excluded.stage,
    reason = excluded.reason,
    attempts = failures.attempts + excluded.attempts,
    slide_id = excluded.slide_id,
    last_at = excluded.last_at
