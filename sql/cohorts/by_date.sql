-- by_date: one row per Slide reported, or else scanned, in [$since, $until).
select distinct
    bags.slide_id,
    bags.patient_id,
    bags.dated,
    bags.cellularity
from bags
where bags.dated >= cast($since as date)
    and bags.dated < cast($until as date)
order by bags.slide_id
