"""A Slide's attention as pictures and tables: tiles coloured by multiples of an even share."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from featurestore import FeatureStore
from featurestore.errors import ConfigError, StoreDamaged, TrephineError, write_beside
from featurestore.types import RunRecord, content_id
from featurestore.words import Told, counted
from trainer import runs
from trainer.inference import attending, bags_of

REACH = 4.0  # colours end at a quarter of an even share, and at four times it
MULTIPLES = ("1/4", "1/2", "1", "2", "4")  # of an even share, evenly along the colours
LEVELS = 65  # of colour; the middle one is an even share
# Blue under an even share, orange over it: told apart by colour-blind readers, and neither is a
# colour of H&E. Near an even share tiles are all but clear, so that tissue is seen.
_ANCHORS = ("08519c", "6baed6", "f4f4f4", "fdae61", "d94801")
_FAINTEST = 0.3  # alpha of an even share, beside 1 at both ends
OPACITY = 0.65  # of an overlay in a file
BLANK_PX = 1024  # long side of what stands in for a thumbnail
LEGEND_PX = 56  # height of the strip under a picture
MARKED = 3  # most and least attended tiles that the page marks
THUMBNAIL_PX, THUMBNAIL_QUALITY = 900, 76  # on the page
MANY, SMALLER_PX = 300, 450  # so many pictures are smaller, for the browser must hold them all


def palette() -> np.ndarray:
    """Red, green, blue and alpha of each level, uint8 (LEVELS, 4)."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _ANCHORS], np.float64)
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    rgb = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    alpha = 255 * (_FAINTEST + (1 - _FAINTEST) * np.abs(np.linspace(-1, 1, LEVELS)))
    return np.asarray(np.rint(np.stack([*rgb, alpha], axis=1)), np.uint8)


def levels(relative: np.ndarray) -> np.ndarray:
    """The level of each multiple of an even share, int64 (N,): even steps of its logarithm."""
    with np.errstate(divide="ignore"):
        part = np.log2(np.asarray(relative, np.float64)) / np.log2(REACH)
    return np.asarray(np.rint((part.clip(-1, 1) + 1) / 2 * (LEVELS - 1)), np.int64)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Where a Slide's tiles lie, in level-0 pixels."""

    size_px0: tuple[int, int]  # width, height
    side_px0: float  # of a tile; seldom whole

    def corners(self, tiles: pl.DataFrame) -> np.ndarray:
        """Left, top, right and bottom of each tile (columns x_px0, y_px0), int64 (N, 4)."""
        start = tiles.select("x_px0", "y_px0").to_numpy().astype(np.float64)
        ends = np.concatenate([start, start + self.side_px0], axis=1)
        return np.asarray(np.rint(ends), np.int64)

    def boxes(self, tiles: pl.DataFrame, size: tuple[int, int]) -> np.ndarray:
        """The same in pixels of a thumbnail of that (width, height), int64 (N, 4).

        Corners were rounded when tiles were laid; a pixel more leaves no gap between neighbours.
        """
        corners = self.corners(tiles) + np.array([0, 0, 1, 1])
        scaled = corners * (np.array(size * 2) / (self.size_px0 * 2))
        return np.asarray(np.rint(scaled).clip(0, size * 2), np.int64)


def _tile_side_um(store: FeatureStore, tiling_id: str) -> float | None:
    """Side of a Tiling's tiles in microns; None where another tool, which cut them, says none."""
    text = "select tile_px * tile_mpp from tilings where tiling_id = $id"
    return next(iter(store.ask(text, {"id": tiling_id}).to_series()), None)


def _geometry(
    store: FeatureStore, slide_key: str, side_um: float | None, record: RunRecord
) -> Geometry:
    """Where the tiles of a Run's Slide, so many microns wide, lie; ConfigError if it is unknown."""
    about = store.slide_attributes(slide_key)
    if not about.get("size_px0") or not about.get("mpp"):  # a manifest may have said it later
        text = "select width_px0, height_px0, mpp from slides where slide_key = $key"
        for *size, mpp in store.ask(f"{text} order by slide_id limit 1", {"key": slide_key}).rows():
            about |= {"size_px0": size if all(size) else None, "mpp": mpp}
    array = f"{record.tiling_id}/embeddings/{record.encoder_id}"
    said = store.slide_attributes(slide_key, array).get("imported", {})
    side_um = side_um or said.get("tile_um")
    is_placed = about.get("size_px0") and said.get("unit", "level0_px") == "level0_px"
    side = side_um / about["mpp"] if side_um and about.get("mpp") else said.get("tile_px0")
    if not is_placed or not side:
        raise ConfigError(
            f"the store knows no size or mpp of slide {slide_key}, so its tiles have no place. "
            "Ingest the slide itself with: trephine ingest SLIDES"
        )
    width, height = about["size_px0"]
    return Geometry(size_px0=(width, height), side_px0=side)


def overlay(boxes: np.ndarray, relative: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Draw tiles as an indexed picture of `size`, (width, height), clear where there is no tile.

    Tiles are `Geometry.boxes`, (N, 4), and `relative`, (N,), multiples of an even share.
    """
    index = np.zeros(size[::-1], np.uint8)
    for (left, top, right, bottom), level in zip(boxes, levels(relative), strict=True):
        index[top:bottom, left:right] = level + 1
    colours = np.concatenate([np.zeros((1, 4), np.uint8), palette()])
    picture = Image.fromarray(index, "P")
    picture.putpalette(colours[:, :3].tobytes())
    picture.info["transparency"] = colours[:, 3].tobytes()
    return picture


def heatmap(store: FeatureStore, run_id: str, slide_ids: Sequence[str], folder: Path) -> Told:
    """Write for each Slide a PNG overlay, and its tiles' weights as CSV and as GeoJSON.

    Reads the store alone: the slides may be gone. A Slide that fails is told and stops none. Files
    of the same names are replaced. Raises as `bags_of` and `attending` do.
    """
    run = runs.load(store, run_id)
    bags = bags_of(store, run, slide_ids)
    side_um = _tile_side_um(store, run.record.tiling_id)
    written: list[str] = []
    failures: dict[str, TrephineError] = {}
    with attending(store, run, bags) as weigh:
        for i, (slide_id, slide_key) in enumerate(bags.select("slide_id", "slide_key").rows()):
            name = file_name(slide_id)
            try:
                place = _geometry(store, slide_key, side_um, run.record)
                tiles = weigh(i)
                drawn = _picture(_drawn_on(store, slide_key, place), place, tiles)
            except TrephineError as error:
                failures[slide_id] = error
                continue
            text = json.dumps(features(place, tiles))
            with write_beside(folder / f"{name}.png") as file:
                drawn.save(file, format="png")
            with write_beside(folder / f"{name}.csv") as file:
                tiles.with_columns(side_px0=pl.lit(place.side_px0)).write_csv(file)
            with write_beside(folder / f"{name}.geojson") as file:
                file.write_text(text, encoding="utf-8")
            written.append(name)
    if not written:
        raise next(iter(failures.values()))
    lines = [f"{name}.png, .csv and .geojson" for name in written]
    lines += [f"failed      {slide_id}: {why}" for slide_id, why in failures.items()]
    lines.append(
        f"The attention of run {run.run_id} on {counted(len(written), 'slide')} is in {folder}. "
        "In QuPath: File, Import objects from file, the .geojson."
    )
    reasons = {slide_id: str(why) for slide_id, why in failures.items()}
    said = {"run_id": run.run_id, "folder": str(folder), "slides": written, "failures": reasons}
    return Told("\n".join(lines), said, gave_up=bool(failures))


def _drawn_on(store: FeatureStore, slide_key: str, place: Geometry) -> Image.Image:
    """The thumbnail; white, for a Slide whose Embeddings were imported."""
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


def _picture(thumbnail: Image.Image, place: Geometry, tiles: pl.DataFrame) -> Image.Image:
    """The thumbnail under its overlay, with a legend beneath."""
    boxes = place.boxes(tiles, thumbnail.size)
    drawn = overlay(boxes, tiles["relative"].to_numpy(), thumbnail.size).convert("RGBA")
    drawn.putalpha(drawn.getchannel("A").point(lambda alpha: round(alpha * OPACITY)))
    strip = _legend(max(thumbnail.width, 320))
    whole = Image.new("RGB", (strip.width, thumbnail.height + strip.height), "white")
    left = (strip.width - thumbnail.width) // 2
    whole.paste(Image.alpha_composite(thumbnail.convert("RGBA"), drawn).convert("RGB"), (left, 0))
    whole.paste(strip, (0, thumbnail.height))
    return whole


def _legend(width: int) -> Image.Image:
    """The colours of multiples of an even share, named."""
    strip = Image.new("RGB", (width, LEGEND_PX), "white")
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(13)
    bar = Image.fromarray(palette()[None, :, :3]).resize((240, 12))
    left = (width - bar.width) // 2
    strip.paste(bar, (left, 10))
    for x, name in zip(np.linspace(left, left + bar.width, len(MULTIPLES)), MULTIPLES, strict=True):
        pen.text((x, 24), name, fill="#333", font=font, anchor="ma")
    pen.text((width / 2, 39), "times an even share of attention", "#333", font, anchor="ma")
    return strip


def features(place: Geometry, tiles: pl.DataFrame) -> dict[str, Any]:
    """The tiles as GeoJSON for QuPath: level-0 pixels, y down, tile objects with measurements."""
    colours = palette()[levels(tiles["relative"].to_numpy()), :3].tolist()
    shares = tiles.select("attention", pl.col("relative").alias("times an even share"))
    rows = zip(place.corners(tiles).tolist(), colours, shares.rows(named=True), strict=True)
    found = []
    for (x0, y0, x1, y1), colour, share in rows:
        ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]
        said = {"objectType": "tile", "color": colour, "measurements": share}
        shape = {"type": "Polygon", "coordinates": [ring]}
        found.append({"type": "Feature", "geometry": shape, "properties": said})
    return {"type": "FeatureCollection", "features": found}


def pictures(
    store: FeatureStore,
    run: runs.Run,
    frame: pl.DataFrame,
    thumbnails: dict[str, Any],
    attends: bool,
) -> dict[str, Any]:
    """Overlays of Slides by slide_id; puts what they lie on into `thumbnails`, by slide_key.

    Without a readable thumbnail there is none; without a place of tiles, or attention, it is alone.
    """
    found: dict[str, Any] = {}
    side = THUMBNAIL_PX if frame.height <= MANY else SMALLER_PX
    for slide_id, slide_key in frame.select("slide_id", "slide_key").iter_rows():
        if slide_key not in thumbnails:
            thumbnails[slide_key] = _thumbnail(store, slide_key, side)
        if thumbnails[slide_key] is not None:
            found[slide_id] = {"thumbnail": slide_key}
    if not found or not attends:
        return found
    side_um = _tile_side_um(store, run.record.tiling_id)
    try:
        bags = bags_of(store, run, list(found))
    except TrephineError:  # they were embedded again, or taken out of the store
        return found
    with attending(store, run, bags) as weigh:
        for i, (slide_id, slide_key) in enumerate(bags.select("slide_id", "slide_key").iter_rows()):
            if slide_key != found[slide_id]["thumbnail"]:
                continue  # another file bears the name now
            try:
                place = _geometry(store, slide_key, side_um, run.record)
                found[slide_id] |= _marked(place, weigh(i), thumbnails[slide_key])
            except StoreDamaged as error:
                store.note(f"slide {slide_id} has no picture: {error}")
                del found[slide_id]
            except TrephineError:
                continue
    return found


def _marked(place: Geometry, tiles: pl.DataFrame, thumbnail: Mapping[str, Any]) -> dict[str, Any]:
    """The overlay of a thumbnail, and where the most and the least attended tiles lie."""
    size, relative = (thumbnail["width"], thumbnail["height"]), tiles["relative"].to_numpy()
    boxes = place.boxes(tiles, size)
    order = np.argsort(relative, kind="stable")
    marked = min(MARKED, len(order) // 2)
    marks = [[*boxes[i].tolist(), round(float(relative[i]), 2)] for i in order]
    return {
        "overlay": _data_uri(overlay(boxes, relative, size), "PNG"),
        "most": marks[::-1][:marked],
        "least": marks[:marked],
        "tiles": len(order),
    }


def _thumbnail(store: FeatureStore, slide_key: str, side: int) -> dict[str, Any] | None:
    try:
        pixels = store.thumbnail(slide_key)
    except TrephineError as error:  # imported Slides have none
        if isinstance(error, StoreDamaged):
            store.note(str(error))
        return None
    if min(pixels.shape[:2]) == 0:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((side, side), reducing_gap=2.0)
    uri = _data_uri(image, "JPEG", quality=THUMBNAIL_QUALITY)
    return {"uri": uri, "width": image.width, "height": image.height}


def _data_uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
