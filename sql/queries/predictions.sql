-- predictions: one row per Slide that the Run $run_id predicted and that was not taken out.
select predictions.* exclude (run_id)
from predictions
left join slides on slides.slide_id = predictions.slide_id
left join cases on cases.case_id = slides.case_id
where predictions.run_id = $run_id
    and not coalesce(retired(predictions.slide_id, slides.case_id, cases.patient_id), false)
order by predictions.slide_id
