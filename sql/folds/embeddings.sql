-- embeddings: one row per array that is spoken of; the last word holds, also of those set aside.
insert or replace into embeddings by name
select distinct on (slide_key, tiling_id, encoder_id) columns(lambda c: c in getvariable('own'))
from said
order by row desc
