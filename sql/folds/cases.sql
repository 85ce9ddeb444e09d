-- cases: one row per Case of a ledger file; the last word holds.
insert into cases
select
    case_id,
    last(patient_id) as patient_id,
    last(patient_made_up) as patient_made_up,
    last(age_years) as age_years
from read_parquet($file)
group by case_id
on conflict do update set
    patient_id = excluded.patient_id,
    patient_made_up = excluded.patient_made_up,
    age_years = excluded.age_years
