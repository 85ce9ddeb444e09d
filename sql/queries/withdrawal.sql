-- withdrawal: one row per Slide that is, or whose Case or Patient is, called $name.
select
    slides.slide_id,
    slides.slide_key,
    slides.case_id,
    cases.patient_id
from slides
left join cases on cases.case_id = slides.case_id
where $name in (slides.slide_id, slides.case_id, cases.patient_id)
order by slides.slide_id
