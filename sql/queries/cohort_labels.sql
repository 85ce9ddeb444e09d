-- cohort_labels: one row per Slide of `chosen` with tiles, and its Label of $target.
select
    slides.slide_id,
    slides.slide_key,
    slides.content,
    slides.case_id,
    slides.patient_id,
    slides.patient_made_up,
    slides.specimen,
    slides.dated,
    best_labels.value,
    best_labels.low,
    best_labels.high
from slide_facts as slides
left join best_labels
    on best_labels.case_id = slides.case_id
    and best_labels.target = $target
where slides.n_tiles > 0
    and slides.slide_id in (select chosen.slide_id from chosen)
order by slides.slide_id
