-- drop_cohort_slides: the Slides of Cohorts that are no more.
delete from cohort_slides
where cohort_slides.cohort not in (select cohorts.cohort from cohorts)
