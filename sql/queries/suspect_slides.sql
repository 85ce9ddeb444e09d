-- suspect_slides: one row per Slide of $cohort: its scan's quality, and its Label as it is now.
select
    cohort_slides.slide_id,
    cohort_slides.case_id,
    slide_quality.quality,
    best_labels.method,
    labels.evidence
from cohort_slides
join cohorts on cohorts.cohort = cohort_slides.cohort
left join slide_quality on slide_quality.slide_id = cohort_slides.slide_id
left join best_labels
    on best_labels.case_id = cohort_slides.case_id
    and best_labels.target = cohorts.target
left join labels on labels.label_id = best_labels.label_id
where cohort_slides.cohort = $cohort
order by cohort_slides.slide_id
