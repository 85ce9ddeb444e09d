-- tilings: one row per Tiling of the arrays that are spoken of.
insert into tilings by name
select distinct on (tiling_id) columns(lambda c: c in getvariable('own'))
from said
order by row
on conflict do nothing
