-- runs_without_cohort: one row per Run whose Cohort or Encoder is unknown.
select
    runs.run_id,
    runs.cohort,
    runs.encoder_id
from runs
left join cohorts on cohorts.cohort = runs.cohort
left join encoders on encoders.encoder_id = runs.encoder_id
where cohorts.cohort is null
    or encoders.encoder_id is null
order by runs.run_id
