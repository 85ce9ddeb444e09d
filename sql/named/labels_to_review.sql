-- labels_to_review: one row per Case and Target that a person should look at: disputed or
-- unsupported Labels that nobody has judged, Reports that nobody who was asked could read for
-- certain, and what a person said of a Report that was corrected since.
with versions as (
    select
        case_id,
        count(*) as n
    from reports
    group by case_id
),

judged as (
    select
        labels.case_id,
        labels.value,
        labels.method = 'human' and (
            labels.report_hash <> case_reports.report_hash
            or (labels.report_hash is null and versions.n > 1)  -- it came before any report
        ) as is_outdated
    from labels
    left join case_reports on case_reports.case_id = labels.case_id
    left join versions on versions.case_id = labels.case_id
    where labels.label_id in (
        select best_labels.label_id
        from best_labels
        where best_labels.target = $target
        union all
        select arg_max(said.label_id, said.recorded_at)  -- that it states none, too
        from labels as said
        where said.method = 'human'
            and said.target = $target
        group by said.case_id
    )
),

last_said as (
    select
        case_id,
        target,
        method,
        report_hash,
        arg_max(coalesce(outcome, 'states none'), recorded_at) as outcome
    from labels
    group by all
)

select
    labels.case_id,
    labels.target,
    max(labels.value) filter (labels.method = 'rules') as rules_value,
    max(labels.value) filter (labels.method = 'ollama') as ollama_value,
    max(judged.value) as human_value,
    case
        when bool_or(judged.is_outdated) then 'report corrected'
        else coalesce(
            string_agg(distinct labels.status, ', ' order by labels.status)
                filter (labels.value is not null),
            'not read'
        )
    end as status,
    string_agg(distinct labels.reason, ', ' order by labels.reason) as reason,
    max(labels.evidence) filter (labels.method = 'rules') as rules_evidence,
    max(labels.evidence) filter (labels.method = 'ollama') as ollama_evidence,
    coalesce(max(case_reports.report_hash), max(labels.report_hash)) as report_hash
from labels
left join case_reports on case_reports.case_id = labels.case_id
left join judged on judged.case_id = labels.case_id
left join last_said
    on last_said.case_id = labels.case_id
    and last_said.target = labels.target
    and last_said.method = labels.method
    and last_said.report_hash = labels.report_hash
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
    or (
        bool_or(labels.outcome = 'not read')
        and coalesce(max(last_said.outcome) filter (labels.method = 'rules'), 'not read') = 'not read'
        and coalesce(max(last_said.outcome) filter (labels.method = 'ollama'), 'not read') = 'not read'
    )
order by labels.case_id
