-- case_reports_at(instant): one row per Case with a Report seen before an instant: the latest one.
create or replace macro case_reports_at(instant) as table
select
    reports.case_id,
    arg_max(reports.report_hash, (coalesce(reports.reported_on, date '0001-01-01'), reports.seen_at)) as report_hash,
    max(reports.reported_on) as reported_on
from reports
where reports.seen_at < instant
group by reports.case_id
