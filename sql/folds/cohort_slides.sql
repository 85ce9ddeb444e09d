-- cohort_slides: one row per Slide of the Cohort in a ledger file, of the one that has the name.
insert into cohort_slides by name
select
    said.cohort,
    said.slide_id,
    said.slide_key,
    said.case_id,
    said.patient_id,
    said.dated,
    said.split,
    said.value,
    said.low,
    said.high
from said
join cohorts on cohorts.cohort = said.cohort and cohorts.cohort_id = said.cohort_id
on conflict do nothing
