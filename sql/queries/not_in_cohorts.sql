-- not_in_cohorts: one row: what no Cohort of a Target can have, and a reader of its Runs must know.
select
    (
        select count(distinct labels.case_id)
        from labels
        left join best_labels
            on best_labels.case_id = labels.case_id
            and best_labels.target = labels.target
        where labels.target = $target
            and labels.status in ('disputed', 'unsupported')
            and labels.value is not null
            and best_labels.case_id is null
    ) as disputed,
    (
        select count(*)
        from failures
        where stage not in ('label', 'ledger')
    ) as failed
