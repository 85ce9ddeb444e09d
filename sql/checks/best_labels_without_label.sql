-- best_labels_without_label: one row per best Label that nobody gave, or that says something else.
select
    best_labels.case_id,
    best_labels.target,
    best_labels.label_id
from best_labels
left join labels on labels.label_id = best_labels.label_id
where labels.label_id is null
    or labels.case_id <> best_labels.case_id
    or labels.value is distinct from best_labels.value
order by best_labels.case_id, best_labels.target
