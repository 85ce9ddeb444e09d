-- slides_without_case: one row per Slide whose Case is unknown.
select
    slides.slide_id,
    slides.case_id
from slides
anti join cases on cases.case_id = slides.case_id
order by slides.slide_id
