-- withdrawn: one row per Slide of $ids that was taken out, or whose Case or Patient was.
with ids as (select unnest($ids) as slide_id)

select ids.slide_id
from ids
left join slides on slides.slide_id = ids.slide_id
left join cases on cases.case_id = slides.case_id
where retired(ids.slide_id, slides.case_id, cases.patient_id)
order by ids.slide_id
