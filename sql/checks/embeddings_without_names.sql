-- embeddings_without_names: one row per Embedding array whose Tiling or Encoder is unknown.
select
    embeddings.slide_key,
    embeddings.tiling_id,
    embeddings.encoder_id
from embeddings
left join tilings on tilings.tiling_id = embeddings.tiling_id
left join encoders on encoders.encoder_id = embeddings.encoder_id
where tilings.tiling_id is null
    or encoders.encoder_id is null
    or encoders.dim <> embeddings.dim
order by all
