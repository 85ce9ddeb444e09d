-- slides: one row per Slide of a ledger file; the last word holds.
insert or replace into slides by name
select distinct on (slide_id) *
from said
order by ingested_at desc
