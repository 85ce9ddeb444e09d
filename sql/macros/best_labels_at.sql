-- best_labels_at(instant): one row per Case and Target: the best of the Labels given before an
-- instant. Human, then agreed, then ollama, then rules, from the Report that was current then; none
-- where a person said last that the Report states none; unsupported never, and no parser's where the
-- last comparison of the two was a dispute; that ends where the rules no longer read the Report for
-- certain.
create or replace macro best_labels_at(instant) as table
with known as (
    select
        labels.*,
        arg_max(labels.status, labels.recorded_at)
            filter (
                labels.status in ('agreed', 'disputed')
                or (labels.method = 'rules' and labels.outcome = 'not read')
            )
            over (partition by labels.case_id, labels.target) as verdict
    from labels
    left join case_reports_at(instant) as current_reports on current_reports.case_id = labels.case_id
    where labels.recorded_at < instant
        and (
            labels.method = 'human'
            or current_reports.report_hash is null
            or labels.report_hash = current_reports.report_hash
        )
),

chosen as (
    select known.* exclude (verdict)
    from known
    where known.status in ('agreed', 'single')
        and (
            known.method = 'human'
            or (known.value is not null and known.verdict is distinct from 'disputed')
        )
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
)

select chosen.*
from chosen
where chosen.value is not null
