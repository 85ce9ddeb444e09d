-- page_slides: one row per Slide of a Cohort: its quality, and who gave its frozen Label on what words.
select
    cohort_slides.slide_id,
    slide_quality.quality,
    slides.specimen,
    arg_max(labels.method, labels.recorded_at) as method,
    arg_max(labels.qualifier, labels.recorded_at) as qualifier,
    arg_max(labels.evidence, labels.recorded_at) as evidence
from cohort_slides
join cohorts on cohorts.cohort = cohort_slides.cohort
left join slides on slides.slide_id = cohort_slides.slide_id
left join slide_quality on slide_quality.slide_id = cohort_slides.slide_id
left join labels
    on labels.case_id = cohort_slides.case_id
    and labels.target = cohorts.target
    and labels.value = cohort_slides.value
where cohort_slides.cohort = $cohort
group by all
