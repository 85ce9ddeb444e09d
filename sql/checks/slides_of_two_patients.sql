-- slides_of_two_patients: one row per content that is listed under several Patients: a split would
-- have it on both sides.
select
    slides.fingerprint,
    list(slides.slide_id order by slides.slide_id) as slide_ids,
    list(distinct cases.patient_id order by cases.patient_id) as patient_ids
from slides
join cases on cases.case_id = slides.case_id
where slides.fingerprint <> ''
group by slides.fingerprint
having count(distinct cases.patient_id) > 1
order by slides.fingerprint
