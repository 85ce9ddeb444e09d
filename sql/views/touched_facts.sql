-- touched_facts: one row per Slide of `touched` that was not taken out, its Case neither, with what
-- slide_facts has of it: all of `slides` but what only an ingest asks for, all of `cases`, and more.
create or replace temp view touched_facts as
with touched_slides as (
    select
        slides.*,
        cases.* exclude (cases.case_id)
    from slides
    join cases on cases.case_id = slides.case_id
    where slides.slide_id in (select touched.slide_id from touched)
        and not retired(slides.slide_id, slides.case_id, cases.patient_id)
),

dates as (
    select
        reports.case_id,
        max(reports.reported_on) as reported_on
    from reports
    where reports.case_id in (select touched_slides.case_id from touched_slides)
    group by reports.case_id
),

arrays as (
    select
        embeddings.slide_key,
        max(embeddings.n_tiles) as n_tiles,
        list(
            struct_pack(
                tiling_id := embeddings.tiling_id,
                encoder_id := embeddings.encoder_id,
                n_tiles := embeddings.n_tiles,
                dim := embeddings.dim
            )
            order by embeddings.encoder_id, embeddings.tiling_id
        ) as arrays
    from embeddings
    where embeddings.slide_key in (select touched_slides.slide_key from touched_slides)
    group by embeddings.slide_key
)

select
    slides.* exclude (
        slides.size_bytes,
        slides.mtime_ns,
        slides.fingerprint,
        slides.reader,
        slides.mpp_given,
        slides.ingested_at
    ),
    coalesce(nullif(slides.fingerprint, ''), slides.slide_key) as content,
    dates.reported_on,
    coalesce(dates.reported_on, slides.scanned_on) as dated,
    arrays.n_tiles,
    case
        when coalesce(arrays.n_tiles, 0) = 0 then 'no tissue'
        when slides.black_share > 0.1 then 'black border'
        when slides.blurred_share > 0.3 then 'out of focus'
        when slides.pen_share > 0.2 then 'pen'
        else 'ok'
    end as quality,
    best_labels.value as cellularity,
    best_labels.low,
    best_labels.high,
    best_labels.method as label_method,
    best_labels.status as label_status,
    arrays.arrays
from touched_slides as slides
left join dates on dates.case_id = slides.case_id
left join arrays on arrays.slide_key = slides.slide_key
left join best_labels
    on best_labels.case_id = slides.case_id
    and best_labels.target = 'cellularity'
