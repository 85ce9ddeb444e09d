-- encoders: one row per Encoder of the arrays that are spoken of.
insert into encoders by name
select distinct on (encoder_id)
    encoder_id,
    encoder_name as name,
    dim,
    weights,
    weights_hash,
    identity
from said
order by row
on conflict do nothing
