-- slides: one row per Slide of a ledger file; the last word holds.
insert into slides by name
select distinct on (slide_id)
    *
from read_parquet($file)
order by ingested_at desc
on conflict do update set
    case_id = excluded.case_id,
    path = excluded.path,
    size_bytes = excluded.size_bytes,
    mtime_ns = excluded.mtime_ns,
    fingerprint = excluded.fingerprint,
    slide_key = excluded.slide_key,
    scanned_on = excluded.scanned_on,
    specimen = excluded.specimen,
    stain = excluded.stain,
    scanner = excluded.scanner,
    reader = excluded.reader,
    width_px0 = excluded.width_px0,
    height_px0 = excluded.height_px0,
    mpp = excluded.mpp,
    mpp_given = excluded.mpp_given,
    tissue_mm2 = excluded.tissue_mm2,
    blurred_share = excluded.blurred_share,
    pen_share = excluded.pen_share,
    black_share = excluded.black_share,
    extra = excluded.extra,
    ingested_at = excluded.ingested_at
