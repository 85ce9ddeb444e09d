-- pick_best_labels: one row per Case touched by a ledger file and Target: human, then agreed, then
-- ollama, then rules, from the Case's current Report; unsupported never, and no parser's where the
-- last comparison of the two was a dispute.
insert into best_labels
with known as (
    select
        labels.*,
        arg_max(labels.status, labels.recorded_at)
            filter (labels.status in ('agreed', 'disputed'))
            over (partition by labels.case_id, labels.target) as verdict
    from labels
    left join case_reports on case_reports.case_id = labels.case_id
    where labels.case_id in (select case_id from read_parquet($file))
        and (
            labels.method = 'human'
            or case_reports.report_hash is null
            or labels.report_hash = case_reports.report_hash
        )
)
select
    known.case_id,
    known.target,
    known.label_id,
    known.value,
    known.low,
    known.high,
    known.qualifier,
    known.method,
    known.status
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
