-- cohort_slides: one row per Slide of the Cohort in a ledger file.
insert into cohort_slides by name
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
from said
on conflict do nothing
