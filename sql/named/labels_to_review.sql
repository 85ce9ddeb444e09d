-- labels_to_review: one row per Case and Target that a person should look at: disputed or
-- unsupported Labels that nobody has judged, and a person's value whose Report was corrected since.
with judged as (
    select
        best_labels.case_id,
        best_labels.value,
        best_labels.method = 'human' and (
            labels.report_hash <> case_reports.report_hash
            or (labels.report_hash is null and versions.n > 1)  -- it came before any report
        ) as is_outdated
    from best_labels
    inner join labels on labels.label_id = best_labels.label_id
    left join case_reports on case_reports.case_id = best_labels.case_id
    left join (
        select
            case_id,
            count(*) as n
        from reports
        group by case_id
    ) as versions on versions.case_id = best_labels.case_id
    where best_labels.target = $target
)

select
    labels.case_id,
    labels.target,
    max(labels.value) filter (labels.method = 'rules') as rules_value,
    max(labels.value) filter (labels.method = 'ollama') as ollama_value,
    max(judged.value) as human_value,
    case
        when bool_or(judged.is_outdated) then 'report corrected'
        else string_agg(distinct labels.status, ', ' order by labels.status)
    end as status,
    max(labels.evidence) filter (labels.method = 'rules') as rules_evidence,
    max(labels.evidence) filter (labels.method = 'ollama') as ollama_evidence,
    coalesce(max(case_reports.report_hash), max(labels.report_hash)) as report_hash
from labels
left join case_reports on case_reports.case_id = labels.case_id
left join judged on judged.case_id = labels.case_id
where labels.target = $target
    and (
        labels.method = 'human'
        or case_reports.report_hash is null
        or labels.report_hash = case_reports.report_hash
    )
    and (judged.case_id is null or judged.is_outdated)
group by labels.case_id, labels.target
having bool_or(judged.is_outdated)
    or bool_or(labels.status in ('disputed', 'unsupported') and labels.value is not null)
order by labels.case_id
