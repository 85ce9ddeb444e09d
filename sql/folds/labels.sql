-- labels: one row per Label of a ledger file; a Label said twice is one Label.
insert into labels
select distinct on (label_id)
    label_id,
    case_id,
    target,
    value,
    low,
    high,
    qualifier,
    method,
    status,
    evidence,
    report_hash,
    rule,
    model_digest,
    prompt_hash,
    recorded_at
from read_parquet($file)
order by recorded_at
on conflict do nothing
