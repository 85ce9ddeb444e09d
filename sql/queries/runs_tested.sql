-- runs_tested: one row per Prediction of the Runs $ids for a Slide of their Cohort.
select
    predictions.run_id,
    predictions.slide_id,
    cohort_slides.case_id,
    cohort_slides.patient_id,
    predictions.split,
    predictions.label,
    predictions.mean
from predictions
join runs on runs.run_id = predictions.run_id
join cohort_slides
    on cohort_slides.cohort = runs.cohort
    and cohort_slides.slide_id = predictions.slide_id
where list_contains($ids, predictions.run_id)
order by predictions.slide_id
