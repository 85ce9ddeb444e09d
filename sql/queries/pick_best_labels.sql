-- pick_best_labels: one row per Case touched by a ledger file and Target: human, then agreed, then
-- ollama, then rules, from the Case's current Report; disputed and unsupported never.
insert into best_labels
select
    labels.case_id,
    labels.target,
    labels.label_id,
    labels.value,
    labels.low,
    labels.high,
    labels.qualifier,
    labels.method,
    labels.status
from labels
left join case_reports on case_reports.case_id = labels.case_id
where labels.case_id in (select case_id from read_parquet($file))
    and labels.value is not null
    and labels.status in ('agreed', 'single')
    and (
        labels.method = 'human'
        or case_reports.report_hash is null
        or labels.report_hash = case_reports.report_hash
    )
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
