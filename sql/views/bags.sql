-- bags: one row per Slide, Tiling and Encoder with n_tiles > 0; cellularity is null without a Label.
create or replace view bags as
select
    slides.slide_id,
    slides.slide_key,
    slides.case_id,
    slides.patient_id,
    slides.patient_made_up,
    slides.age_years,
    case_reports.reported_on,
    slides.scanned_on,
    coalesce(case_reports.reported_on, slides.scanned_on) as dated,
    slides.specimen,
    slides.stain,
    slides.scanner,
    slides.mpp,
    slide_quality.quality,
    best_labels.value as cellularity,
    best_labels.low,
    best_labels.high,
    best_labels.method as label_method,
    best_labels.status as label_status,
    embeddings.tiling_id,
    embeddings.encoder_id,
    embeddings.n_tiles,
    embeddings.dim,
    slides.extra
from embeddings
join live_slides as slides on slides.slide_key = embeddings.slide_key
join slide_quality on slide_quality.slide_id = slides.slide_id
left join case_reports on case_reports.case_id = slides.case_id
left join best_labels
    on best_labels.case_id = slides.case_id
    and best_labels.target = 'cellularity'
where embeddings.n_tiles > 0
