-- slide_facts: one row per Slide that was not taken out, with all that people choose by; every fold
-- writes the rows of the Slides it touches again (touched_facts), so that nobody waits for them.
create or replace table slide_facts as
from touched_facts;

alter table slide_facts add primary key (slide_id)
