-- drop_cohorts: the Cohorts that were deleted after they were made.
delete from cohorts
where exists (
    select 1
    from tombstones
    where tombstones.kind = 'cohort'
        and tombstones.name = cohorts.cohort
        and tombstones.sequence > coalesce(cohorts.sequence, 0)
)
