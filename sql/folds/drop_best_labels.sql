-- drop_best_labels: the best Labels of the Cases touched by a ledger file.
delete from best_labels
where best_labels.case_id in (
    select case_id
    from said
)
