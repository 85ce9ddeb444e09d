-- case_reports: one row per Case with a Report: its current, that is latest, one.
create or replace view case_reports as
select
    reports.case_id,
    arg_max(reports.report_hash, (coalesce(reports.reported_on, date '0001-01-01'), reports.seen_at)) as report_hash,
    max(reports.reported_on) as reported_on
from reports
group by reports.case_id
