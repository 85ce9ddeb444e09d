-- drop_slide_facts: the Slides of the Cases and arrays that a fold touched.
delete from slide_facts
where slide_facts.slide_id in (select touched.slide_id from touched)
