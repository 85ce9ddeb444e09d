-- label_sources: one row per Case of the Cohort $cohort whose Labels come from two sources: a person
-- and a parser, or two Reports, as they were when it was frozen; variance is that of one Label, from
-- how far the two are apart.
with given as (
    select
        labels.case_id,
        labels.method,
        labels.report_hash,
        arg_max(labels.value, labels.recorded_at) as value
    from labels
    join cohorts on cohorts.target = labels.target
    where cohorts.cohort = $cohort
        and labels.recorded_at <= cohorts.created_at
        and labels.value is not null
        and labels.status <> 'unsupported'
        and labels.case_id in (
            select cohort_slides.case_id
            from cohort_slides
            where cohort_slides.cohort = $cohort
        )
    group by all
)

select
    one.case_id,
    avg((one.value - other.value) ** 2) / 2 as variance
from given as one
join given as other on other.case_id = one.case_id
    and (
        (one.method = 'human' and other.method <> 'human')
        or (other.method = one.method and other.report_hash > one.report_hash)
    )
group by one.case_id
order by one.case_id
