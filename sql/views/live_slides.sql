-- live_slides: one row per Slide that was not taken out, with its Case.
create or replace view live_slides as
select
    slides.*,
    cases.patient_id,
    cases.patient_made_up,
    cases.age_years
from slides
join cases on cases.case_id = slides.case_id
where not retired(slides.slide_id, slides.case_id, cases.patient_id)
