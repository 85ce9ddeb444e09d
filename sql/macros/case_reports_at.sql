-- case_reports_at(instant): one row per Case with a Report seen before an instant: the latest one.
-- A Report without a date counts as of the day it was handed in: nobody can say that it is older.
create or replace macro case_reports_at(instant) as table
select
    reports.case_id,
    arg_max(
        reports.report_hash,
        (coalesce(reports.reported_on, cast(reports.seen_at as date)), reports.seen_at)
    ) as report_hash,
    max(reports.reported_on) as reported_on
from reports
where reports.seen_at < instant
group by reports.case_id
