-- reports: one row per Report that is spoken of; the last date said of it holds.
insert or replace into reports by name
select distinct on (case_id, report_hash) * exclude (row, sequence)
from said
order by row desc
