-- kept_cohorts: one row per Slide of a Cohort, with all that its ledger file said of both.
select
    cohorts.*,
    cohort_slides.* exclude (cohort_slides.cohort)
from cohorts
join cohort_slides on cohort_slides.cohort = cohorts.cohort
