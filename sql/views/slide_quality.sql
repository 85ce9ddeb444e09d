-- slide_quality: one row per Slide with the verdict on its scan; ok, or the worst that was found.
create or replace view slide_quality as
select
    slides.slide_id,
    case
        when coalesce(max(embeddings.n_tiles), 0) = 0 then 'no tissue'
        when max(slides.black_share) > 0.1 then 'black border'
        when max(slides.blurred_share) > 0.3 then 'out of focus'
        when max(slides.pen_share) > 0.2 then 'pen'
        else 'ok'
    end as quality
from slides
left join embeddings on embeddings.slide_key = slides.slide_key
group by slides.slide_id
