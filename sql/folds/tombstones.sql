-- tombstones: one row per thing that a ledger file takes out.
insert into tombstones by name
select distinct on (kind, name, sequence) * exclude (row)
from said
order by erase desc
on conflict do nothing
