-- status: one row: how much of everything the store has.
with owned as (
    select
        slides.slide_id,
        slides.case_id,
        cases.patient_id,
        retired(slides.slide_id, slides.case_id, cases.patient_id) as is_retired
    from slides
    left join cases on cases.case_id = slides.case_id
),

lacking as (
    select coalesce(slides.reader, '') as reader
    from slides
    join owned on owned.slide_id = slides.slide_id
    anti join embeddings on embeddings.slide_key = slides.slide_key
    where not owned.is_retired
)

select
    (select count(*) from owned) as slides,
    (select count(distinct case_id) from owned) as cases,
    (select count(distinct patient_id) from owned) as patients,
    (select count(*) filter (is_retired) from owned) as retired,
    (
        select count(*)
        from slides
        semi join embeddings on embeddings.slide_key = slides.slide_key
    ) as slides_with_arrays,
    (
        select count(*)
        from slides
        semi join embeddings on embeddings.slide_key = slides.slide_key and embeddings.n_tiles > 0
    ) as slides_with_tiles,
    (select count(*) filter (not starts_with(reader, 'import ')) from lacking) as slides_to_embed,
    (select count(*) filter (starts_with(reader, 'import ')) from lacking) as slides_to_import,
    (
        select coalesce(list(encoders order by name), [])
        from encoders
        where encoders.weights in (select replace(lacking.reader, 'import ', 'imported: ') from lacking)
    ) as imported,
    (select count(*) from cohorts) as cohorts,
    (select count(*) from runs) as runs,
    (
        select coalesce(list(struct_pack(n := n, stage := stage, gave_up := gave_up)), [])
        from (
            select
                stage,
                count(*) as n,
                count(*) filter (attempts >= 3) as gave_up
            from failures
            group by stage
            order by stage
        ) as by_stage
    ) as failures,
    (
        select coalesce(list(struct_pack(target := target, method := method, n := n)), [])
        from (
            select
                target,
                method,
                count(*) as n
            from best_labels
            group by target, method
            order by target, method
        ) as by_method
    ) as labels,
    (
        select coalesce(
            list(struct_pack(name := name, encoder_id := encoder_id, slides := slides, tiles := tiles)),
            []
        )
        from (
            select
                encoders.name,
                encoders.encoder_id,
                (
                    select count(*)
                    from slides
                    semi join embeddings as own
                        on own.slide_key = slides.slide_key
                        and own.encoder_id = encoders.encoder_id
                ) as slides,
                sum(embeddings.n_tiles)::bigint as tiles
            from encoders
            join embeddings on embeddings.encoder_id = encoders.encoder_id
            group by all
            order by encoders.name, encoders.encoder_id
        ) as by_encoder
    ) as encoders
