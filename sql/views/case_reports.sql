-- case_reports: one row per Case with a Report: its current, that is latest, one.
create or replace macro case_reports_at(instant) as table
select
    reports.case_id,
    arg_max(reports.report_hash, (coalesce(reports.reported_on, date '0001-01-01'), reports.seen_at)) as report_hash,
    max(reports.reported_on) as reported_on
from reports
where reports.seen_at < instant
group by reports.case_id;

create or replace view case_reports as
select *
from case_reports_at('infinity'::timestamp)
