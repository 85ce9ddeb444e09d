-- cohort_slides: one row per Slide of the Cohort in a ledger file.
insert into cohort_slides
select
    cohort,
    slide_id,
    slide_key,
    case_id,
    patient_id,
    dated,
    split,
    value,
    low,
    high
from read_parquet($file)
on conflict do nothing
