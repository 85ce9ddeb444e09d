-- kept_labels: one row per Label of the catalog, with all that its ledger file said of it.
select
    labels.*,
    targets.kind as target_kind,
    targets.low as target_low,
    targets.high as target_high
from labels
join targets on targets.target = labels.target
