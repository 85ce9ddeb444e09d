-- predictions: one row per Slide that the Run $run_id predicted (`sealed`) and that was not taken out;
-- and its Case and Patient, as its Cohort froze them.
select
    predictions.*,
    coalesce(cohort_slides.case_id, slides.case_id, predictions.slide_id) as case_id,
    coalesce(cohort_slides.patient_id, cases.patient_id, predictions.slide_id) as patient_id
from sealed as predictions
join runs on runs.run_id = $run_id
left join cohort_slides on cohort_slides.cohort = runs.cohort
    and cohort_slides.slide_id = predictions.slide_id
left join slides on slides.slide_id = predictions.slide_id
left join cases on cases.case_id = slides.case_id
where not coalesce(retired(predictions.slide_id, slides.case_id, cases.patient_id), false)
order by predictions.slide_id
