-- cases: one row per Case that is spoken of; the last word holds.
insert or replace into cases by name
select distinct on (case_id) * exclude (row, sequence)
from said
order by row desc
