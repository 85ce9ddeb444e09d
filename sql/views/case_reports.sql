-- case_reports: one row per Case with a Report: its current, that is latest, one.
create or replace view case_reports as
select *
from case_reports_at('infinity'::timestamp)
