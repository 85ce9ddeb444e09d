-- slide_quality: one row per Slide with the verdict on its scan; ok, or the worst that was found.
create or replace view slide_quality as
select
    slide_facts.slide_id,
    slide_facts.quality
from slide_facts
