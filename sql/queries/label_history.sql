-- label_history: one row per Label ever given of a Cohort's Target and Cases, the newest first.
select
    labels.case_id,
    labels.recorded_at::date as given_on,
    labels.method,
    labels.status,
    labels.value,
    labels.low,
    labels.high,
    labels.evidence,
    labels.reason
from labels
join cohorts on cohorts.target = labels.target
where cohorts.cohort = $cohort
    and labels.case_id in (
        select cohort_slides.case_id
        from cohort_slides
        where cohort_slides.cohort = $cohort
    )
order by labels.case_id, labels.recorded_at desc
