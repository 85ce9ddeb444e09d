-- label_coverage: one row: how Cases with a Slide, their Reports and the Labels of $target meet.
with told as (
    select distinct case_id
    from reports
),

owned as (
    select distinct case_id
    from slides
)

select
    count(*) filter (owned.case_id is null) as reports_without_slide,
    count(*) filter (told.case_id is null) as cases_without_report,
    count(*) filter (owned.case_id is not null and best_labels.case_id is null) as cases_without_label
from owned
full join told on told.case_id = owned.case_id
left join best_labels on best_labels.case_id = owned.case_id and best_labels.target = $target
