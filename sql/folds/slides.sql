-- slides: one row per Slide that is spoken of; the last word holds.
insert or replace into slides by name
select distinct on (slide_id) * exclude (row, sequence)
from said
order by row desc
