-- array_digests: one row per array of Embeddings of `wanted`, in its order: what it must be, and
-- what `verify` saw within a week.
select
    embeddings.digest,
    checked_arrays.size_bytes,
    checked_arrays.mtime_ns,
    checked_arrays.inode
from wanted
left join embeddings
    on embeddings.slide_key = wanted.slide_key
    and embeddings.tiling_id = wanted.tiling_id
    and embeddings.encoder_id = wanted.encoder_id
left join checked_arrays
    on checked_arrays.slide_key = wanted.slide_key
    and checked_arrays.tiling_id = wanted.tiling_id
    and checked_arrays.encoder_id = wanted.encoder_id
    and checked_arrays.checked_at > $since
order by wanted.number
