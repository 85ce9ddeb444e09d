-- predictions: one row per Slide that the Run $run_id predicted and that was not taken out.
with predicted as (
    select * exclude (run_id)
    from predictions
    where run_id = $run_id
)

select predicted.*
from predicted
left join slides on slides.slide_id = predicted.slide_id
left join cases on cases.case_id = slides.case_id
where not coalesce(retired(predicted.slide_id, slides.case_id, cases.patient_id), false)
order by predicted.slide_id
