-- cohort_labels: one row per Slide with tiles and a Label of $target.
select distinct
    bags.slide_id,
    bags.slide_key,
    coalesce(nullif(slides.fingerprint, ''), slides.slide_key) as content,
    bags.case_id,
    bags.patient_id,
    bags.patient_made_up,
    bags.specimen,
    bags.dated,
    best_labels.value,
    best_labels.low,
    best_labels.high
from bags
join slides on slides.slide_id = bags.slide_id
left join best_labels
    on best_labels.case_id = bags.case_id
    and best_labels.target = $target
order by bags.slide_id
