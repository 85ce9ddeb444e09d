-- cases: one row per Case of a ledger file; the last word holds.
insert or replace into cases by name
select
    case_id,
    last(columns(* exclude (case_id)))
from said
group by case_id
