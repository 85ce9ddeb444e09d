"""The page's table of Cases: every test Slide with its numbers, and the pictures of some."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from featurestore import FeatureStore
from featurestore.errors import StoreDamaged, TrephineError
from trainer import overlays, runs
from trainer.inference import attending, bags_of, load_model

GROUP = 20  # Slides that are called worst, best and typical
MOST, LEAST = 60, 6  # Slides whose pictures the page holds, in all and of a Run
MARKED = 3  # most and least attended tiles
THUMBNAIL_PX, THUMBNAIL_QUALITY = 900, 76
MANY, SMALLER_PX = 300, 450  # so many pictures are smaller, for the browser must hold them all

# Of a row, in this order: what the table shows first comes first.
FIELDS: tuple[str, ...] = ("slide_id", "truth", "low", "high", "qualifier", "mean", "error")
FIELDS += ("interval_low", "interval_high", "std", "dated", "quality", "scanner", "evidence")
FIELDS += ("n_tiles", "case_id", "method", "specimen", "group")


def table(store: FeatureStore, run: runs.Run, test: pl.DataFrame) -> pl.DataFrame:
    """One row per test Slide, in the order of `test`, with the columns `FIELDS` and slide_key.

    `group` is worst, best or typical for the `GROUP` Slides with the largest errors, the smallest
    and those about the median; empty for the others.
    """
    about = store.named("queries/page_slides", {"cohort": run.record.cohort})
    frame = test.join(about, on="slide_id", how="left", maintain_order="left").with_columns(
        error=pl.col("mean") - pl.col("truth"), dated=pl.col("dated").cast(pl.String)
    )
    rank = pl.struct(-pl.col("error").abs(), "slide_id").rank("ordinal") - 1  # the worst is 0
    middle = max(0, (frame.height - GROUP) // 2)
    group = (
        pl.when(rank < GROUP)
        .then(pl.lit("worst"))
        .when(rank >= frame.height - GROUP)
        .then(pl.lit("best"))
        .when(rank.is_between(middle, middle + GROUP - 1))
        .then(pl.lit("typical"))
        .otherwise(pl.lit(""))
    )
    return frame.with_columns(group=group).select(*FIELDS, "slide_key")


def shown(frame: pl.DataFrame, most: int | None) -> pl.DataFrame:
    """The Slides whose pictures the page holds: all of them if `most` is None, or enough.

    Else of each group a third of them, by size of error; the worst from the top, the best from
    below. Where a group is smaller, the others have its part, from the top.
    """
    if most is None or frame.height <= most:
        return frame
    size = pl.col("error").abs()
    parts = [
        frame.filter(pl.col("group") == name).sort(size, descending=name != "best").head(most // 3)
        for name in ("worst", "typical", "best")
    ]
    every = pl.concat([*parts, frame.sort(size, descending=True)])
    return every.unique("slide_id", keep="first", maintain_order=True).head(most)


def pictures(
    store: FeatureStore, run: runs.Run, frame: pl.DataFrame, thumbnails: dict[str, Any]
) -> dict[str, Any]:
    """Overlays of Slides by slide_id; puts what they lie on into `thumbnails`, by slide_key.

    A Slide without a readable thumbnail has none; one whose tiles have no place, or of a Run that
    has no attention, has a thumbnail alone.
    """
    found: dict[str, Any] = {}
    side = THUMBNAIL_PX if frame.height <= MANY else SMALLER_PX
    for slide_id, slide_key in frame.select("slide_id", "slide_key").iter_rows():
        if slide_key not in thumbnails:
            thumbnails[slide_key] = _thumbnail(store, slide_key, side)
        if thumbnails[slide_key] is not None:
            found[slide_id] = {"thumbnail": slide_key}
    if not found or not load_model(run).attends:
        return found
    side_um = overlays.tile_side_um(store, run.record.tiling_id)
    try:
        bags = bags_of(store, run, list(found))
    except TrephineError:  # they were embedded again, or taken out of the store
        return found
    with attending(store, run, bags) as weigh:
        for i, (slide_id, slide_key) in enumerate(bags.select("slide_id", "slide_key").iter_rows()):
            if slide_key != found[slide_id]["thumbnail"]:
                continue  # another file bears the name now
            try:
                place = overlays.geometry(store, slide_key, side_um, run.record)
                found[slide_id] |= _overlay(place, weigh(i), thumbnails[slide_key])
            except StoreDamaged as error:
                store.note(f"slide {slide_id} has no picture: {error}")
                del found[slide_id]
            except TrephineError:
                continue
    return found


def _overlay(
    place: overlays.Geometry, tiles: pl.DataFrame, thumbnail: Mapping[str, Any]
) -> dict[str, Any]:
    size, relative = (thumbnail["width"], thumbnail["height"]), tiles["relative"].to_numpy()
    boxes = place.boxes(tiles, size)
    order = np.argsort(relative, kind="stable")
    marked = min(MARKED, len(order) // 2)
    marks = [[*boxes[i].tolist(), round(float(relative[i]), 2)] for i in order]
    return {
        "overlay": data_uri(overlays.overlay(boxes, relative, size), "PNG"),
        "most": marks[::-1][:marked],
        "least": marks[:marked],
        "tiles": len(order),
    }


def _thumbnail(store: FeatureStore, slide_key: str, side: int) -> dict[str, Any] | None:
    try:
        pixels = store.thumbnail(slide_key)
    except StoreDamaged as error:
        store.note(str(error))
        return None
    except TrephineError:  # imported Slides have none
        return None
    if min(pixels.shape[:2]) == 0:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), reducing_gap=2.0)
    uri = data_uri(image, "JPEG", quality=THUMBNAIL_QUALITY)
    return {"uri": uri, "width": image.width, "height": image.height}


def data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    """A picture as a part of the page."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def data(
    store: FeatureStore, run: runs.Run, frame: pl.DataFrame, found: Mapping[str, Any]
) -> dict[str, Any]:
    """What the page's script knows of a Run's Slides: as JSON, numbers with four places."""
    target, history = run.record.about(), dict[str, list[Any]]()
    for case_id, *label in store.named(
        "queries/label_history", {"cohort": run.record.cohort}
    ).iter_rows():
        history.setdefault(case_id, []).append([plain(value) for value in label])
    cases = set(frame["case_id"])
    return {
        "fields": FIELDS,
        "rows": [[plain(value) for value in row] for row in frame.select(FIELDS).iter_rows()],
        "pictures": found,
        "history": {case: said for case, said in history.items() if case in cases},
        "bag": run.record.bag_size,
        "digits": runs.digits(target),
        "middle": (target.low + target.high) / 2 if target.kind == "binary" else None,
        "even": run.config.model == "mean",
    }


def plain(value: Any) -> Any:
    """A value as JSON has it, numbers to four places."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
