-- labels_of_cases: one row per Case of $cases with a Label of $target, for a person to judge.
select
    labels.case_id,
    'suspect' as status,
    max(labels.value) filter (labels.method = 'rules') as rules_value,
    max(labels.value) filter (labels.method = 'ollama') as ollama_value,
    max(labels.value) filter (labels.method = 'human') as human_value,
    max(labels.evidence) filter (labels.method = 'rules') as rules_evidence,
    max(labels.evidence) filter (labels.method = 'ollama') as ollama_evidence,
    coalesce(max(case_reports.report_hash), max(labels.report_hash)) as report_hash
from labels
left join case_reports on case_reports.case_id = labels.case_id
where labels.target = $target
    and list_contains($cases, labels.case_id)
group by labels.case_id
order by labels.case_id
