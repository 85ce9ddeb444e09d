-- run_encoders: one row per Encoder of the Runs $ids, by name.
select distinct
    encoders.encoder_id,
    encoders.name
from runs
join encoders on encoders.encoder_id = runs.encoder_id
where list_contains($ids, runs.run_id)
order by encoders.name, encoders.encoder_id
