-- drop_embeddings: the arrays that were set aside, by the last word of them.
delete from embeddings
where (embeddings.slide_key, embeddings.tiling_id, embeddings.encoder_id) in (
    select (last_word.slide_key, last_word.tiling_id, last_word.encoder_id)
    from (
        select distinct on (slide_key, tiling_id, encoder_id) *
        from said
        order by row desc
    ) as last_word
    where last_word.gone
)
