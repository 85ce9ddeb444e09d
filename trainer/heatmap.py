"""Write a Run's attention of Slides as pictures and as tables that other programs open."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image, ImageDraw, ImageFont

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrephineError, write_beside
from featurestore.types import content_id
from featurestore.words import counted
from trainer import overlays, runs
from trainer.inference import attending, bags_of

OPACITY = 0.65
BLANK_PX = 1024  # long side of what stands in for a thumbnail
LEGEND_PX = 56  # height of the strip under a picture


@dataclass(frozen=True, kw_only=True)
class Heatmaps:
    """What `heatmap` wrote."""

    run_id: str
    folder: Path
    slides: tuple[str, ...]  # names of the files, without suffix
    failures: Mapping[str, str] = field(default_factory=dict)  # reason by slide_id

    def text(self) -> str:
        """What was written, and what was not."""
        lines = [f"{name}.png, .csv and .geojson" for name in self.slides]
        lines += [f"failed      {slide}: {why}" for slide, why in self.failures.items()]
        lines.append(
            f"The attention of run {self.run_id} on {counted(len(self.slides), 'slide')} is in "
            f"{self.folder}. In QuPath: File, Import objects from file, the .geojson."
        )
        return "\n".join(lines)


def heatmap(store: FeatureStore, run_id: str, slide_ids: Sequence[str], folder: Path) -> Heatmaps:
    """Write for each Slide a PNG overlay, and its tiles' weights as CSV and as GeoJSON.

    Reads the store alone: the slides may be gone. A Slide that fails is told and stops none. Files
    of the same names are replaced.

    Raises:
        SlideNotFound: some have no Embeddings of the Run's Encoder.
        ConfigError: the Run's pooling has no attention.
    """
    run = runs.load(store, run_id)
    bags = bags_of(store, run, slide_ids)
    side_um = overlays.tile_side_um(store, run.record.tiling_id)
    written: list[str] = []
    failures: dict[str, TrephineError] = {}
    with attending(store, run, bags) as weigh:
        for i, row in enumerate(bags.iter_rows(named=True)):
            name = file_name(row["slide_id"])
            try:
                place = overlays.geometry(store, row["slide_key"], side_um, run.record)
                tiles = weigh(i)
                thumbnail = _thumbnail(store, row["slide_key"], place)
            except TrephineError as error:
                failures[row["slide_id"]] = error
                continue
            text = json.dumps(features(place, tiles))
            drawn = picture(thumbnail, place, tiles)
            with write_beside(folder / f"{name}.png") as file:
                drawn.save(file, format="png")
            with write_beside(folder / f"{name}.csv") as file:
                tiles.with_columns(side_px0=pl.lit(place.side_px0)).write_csv(file)
            with write_beside(folder / f"{name}.geojson") as file:
                file.write_text(text, encoding="utf-8")
            written.append(name)
    if not written:
        raise next(iter(failures.values()))
    reasons = {slide_id: str(error) for slide_id, error in failures.items()}
    return Heatmaps(run_id=run.run_id, folder=folder, slides=tuple(written), failures=reasons)


def _thumbnail(store: FeatureStore, slide_key: str, place: overlays.Geometry) -> Image.Image:
    """What is drawn on: white, for a Slide whose Embeddings were imported."""
    try:
        return Image.fromarray(store.thumbnail(slide_key))
    except ConfigError:
        scale = BLANK_PX / max(place.size_px0)
        width, height = (max(1, round(n * scale)) for n in place.size_px0)
        return Image.new("RGB", (width, height), "white")


def file_name(slide_id: str) -> str:
    """A name that any file system takes, the same for the same Slide and for no other."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", slide_id)[:80]
    return plain if plain == slide_id != "" else f"{plain}-{content_id(slide_id, 6)}"


def picture(thumbnail: Image.Image, place: overlays.Geometry, tiles: pl.DataFrame) -> Image.Image:
    """The thumbnail under its overlay, with a legend beneath."""
    boxes = place.boxes(tiles, thumbnail.size)
    drawn = overlays.overlay(boxes, tiles["relative"].to_numpy(), thumbnail.size).convert("RGBA")
    drawn.putalpha(drawn.getchannel("A").point(lambda alpha: round(alpha * OPACITY)))
    strip = legend(max(thumbnail.width, 320))
    whole = Image.new("RGB", (strip.width, thumbnail.height + strip.height), "white")
    left = (strip.width - thumbnail.width) // 2
    whole.paste(Image.alpha_composite(thumbnail.convert("RGBA"), drawn).convert("RGB"), (left, 0))
    whole.paste(strip, (0, thumbnail.height))
    return whole


def legend(width: int) -> Image.Image:
    """The colours of multiples of an even share, named."""
    strip = Image.new("RGB", (width, LEGEND_PX), "white")
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    bar = Image.fromarray(overlays.palette()[None, :, :3]).resize((240, 12))
    left = (width - bar.width) // 2
    strip.paste(bar, (left, 10))
    for part, name in enumerate(overlays.MULTIPLES):
        x = left + part * bar.width / (len(overlays.MULTIPLES) - 1)
        pen.text((x, 24), name, fill="#333", font=font, anchor="ma")
    pen.text((width / 2, 39), "times an even share of attention", "#333", font, anchor="ma")
    return strip


def features(place: overlays.Geometry, tiles: pl.DataFrame) -> dict[str, Any]:
    """The tiles as GeoJSON for QuPath: level-0 pixels, y down, tile objects with measurements."""
    colours = overlays.palette()[overlays.levels(tiles["relative"].to_numpy()), :3].tolist()
    shares = tiles.select("attention", pl.col("relative").alias("times an even share"))
    rows = zip(place.corners(tiles).tolist(), colours, shares.rows(named=True), strict=True)
    found = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]],
            },
            "properties": {"objectType": "tile", "color": colour, "measurements": share},
        }
        for (x0, y0, x1, y1), colour, share in rows
    ]
    return {"type": "FeatureCollection", "features": found}
