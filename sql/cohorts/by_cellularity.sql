-- by_cellularity: one row per Slide whose Label lies in [$low, $high] percent.
select distinct
    bags.slide_id,
    bags.patient_id,
    bags.dated,
    bags.cellularity
from bags
where bags.cellularity between $low and $high
order by bags.slide_id
