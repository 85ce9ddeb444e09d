-- tilings: one row per Tiling of the arrays that are spoken of.
insert into tilings by name
select distinct on (tiling_id)
    tiling_id,
    tile_px,
    tile_mpp,
    min_tissue,
    filter_version
from said
order by row
on conflict do nothing
