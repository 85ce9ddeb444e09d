-- label_coverage: one row: how Cases, their Reports and the Labels of $target meet.
with told as (
    select distinct case_id
    from reports
)

select
    count(*) filter (cases.case_id is null) as reports_without_slide,
    count(*) filter (told.case_id is null) as cases_without_report,
    count(*) filter (cases.case_id is not null and best_labels.case_id is null) as cases_without_label
from cases
full join told on told.case_id = cases.case_id
left join best_labels on best_labels.case_id = cases.case_id and best_labels.target = $target
