-- labels_to_review: one row per Case and Target whose Labels are disputed or unsupported and that no
-- person has judged.
select
    labels.case_id,
    labels.target,
    max(labels.value) filter (labels.method = 'rules') as rules_value,
    max(labels.value) filter (labels.method = 'ollama') as ollama_value,
    string_agg(distinct labels.status, ', ' order by labels.status) as status,
    max(labels.evidence) filter (labels.method = 'rules') as rules_evidence,
    max(labels.evidence) filter (labels.method = 'ollama') as ollama_evidence,
    max(labels.report_hash) as report_hash
from labels
left join case_reports on case_reports.case_id = labels.case_id
where labels.target = $target
    and (case_reports.report_hash is null or labels.report_hash = case_reports.report_hash)
    and labels.case_id not in (
        select best_labels.case_id
        from best_labels
        where best_labels.target = $target
    )
group by labels.case_id, labels.target
having bool_or(labels.status in ('disputed', 'unsupported') and labels.value is not null)
order by labels.case_id
