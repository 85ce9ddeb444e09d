-- slide_overview: one row per Slide, with its Label, quality and Embeddings.
create or replace view slide_overview as
with slide_embeddings as (
    select
        embeddings.slide_key,
        max(embeddings.n_tiles) as n_tiles,
        count(*) as n_embeddings,
        list(embeddings.encoder_id order by embeddings.encoder_id) as encoder_ids
    from embeddings
    group by embeddings.slide_key
)
select
    slides.slide_id,
    slides.case_id,
    slides.patient_id,
    case_reports.reported_on,
    slides.scanned_on,
    slides.specimen,
    slides.stain,
    slides.scanner,
    slides.age_years,
    slides.width_px0,
    slides.height_px0,
    slides.mpp,
    slides.mpp_file,
    slides.mpp_source,
    slide_embeddings.n_tiles,
    slides.tissue_mm2,
    slides.blurred_share,
    slides.pen_share,
    slides.black_share,
    slide_quality.quality,
    best_labels.value as cellularity,
    best_labels.low,
    best_labels.high,
    best_labels.method as label_method,
    best_labels.status as label_status,
    coalesce(slide_embeddings.n_embeddings, 0) as n_embeddings,
    slide_embeddings.encoder_ids,
    slides.slide_key,
    slides.path,
    slides.extra
from live_slides as slides
join slide_quality on slide_quality.slide_id = slides.slide_id
left join case_reports on case_reports.case_id = slides.case_id
left join slide_embeddings on slide_embeddings.slide_key = slides.slide_key
left join best_labels
    on best_labels.case_id = slides.case_id
    and best_labels.target = 'cellularity'
