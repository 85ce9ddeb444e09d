-- failures: one row per item that failed since it was last mended; attempts are counted.
insert into failures by name
with since as (
    select
        said.*,
        max(said.row) filter (said.mended) over (partition by said.item) as mended_row
    from said
)

select
    item,
    arg_max(stage, row) as stage,
    arg_max(reason, row) as reason,
    count(*) as attempts,
    arg_max_null(slide_id, row) as slide_id,
    min(seen_at) as first_at,
    max(seen_at) as last_at
from since
where row > coalesce(mended_row, -1)
group by item
on conflict do update set
    stage = excluded.stage,
    reason = excluded.reason,
    attempts = failures.attempts + excluded.attempts,
    slide_id = excluded.slide_id,
    last_at = excluded.last_at
