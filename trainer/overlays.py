"""A Slide's attention on its thumbnail: tiles coloured by multiples of an even share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import RunRecord

REACH = 4.0  # colours end at a quarter of an even share, and at four times it
MULTIPLES = ("1/4", "1/2", "1", "2", "4")  # of an even share, evenly along the colours
LEVELS = 65  # of colour; the middle one is an even share
# Blue under an even share, orange over it: told apart by colour-blind readers, and neither is a
# colour of H&E. Near an even share tiles are all but clear, so that tissue is seen.
_ANCHORS = ("08519c", "6baed6", "f4f4f4", "fdae61", "d94801")
_FAINTEST = 0.3  # alpha of an even share, beside 1 at both ends


def palette() -> np.ndarray:
    """Red, green, blue and alpha of each level, uint8 (LEVELS, 4)."""
    anchors = np.array([list(bytes.fromhex(colour)) for colour in _ANCHORS], np.float64)
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    rgb = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    away = np.abs(np.linspace(-1, 1, LEVELS))
    alpha = 255 * (_FAINTEST + (1 - _FAINTEST) * away)
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


def tile_side_um(store: FeatureStore, tiling_id: str) -> float | None:
    """Side of a Tiling's tiles in microns; None where another tool, which cut them, says none."""
    found = store.ask(
        "select tile_px * tile_mpp from tilings where tiling_id = $id", {"id": tiling_id}
    )
    return None if found.is_empty() else found.item()


def geometry(
    store: FeatureStore, slide_key: str, side_um: float | None, record: RunRecord
) -> Geometry:
    """Read where the tiles of a Run's Slide, so many microns wide, lie.

    Raises:
        ConfigError: the store does not know, as of Slides whose Embeddings were imported.
        StoreDamaged: its arrays cannot be read.
    """
    about = store.slide_attributes(slide_key)
    if not about.get("size_px0") or not about.get("mpp"):  # a manifest may have said it later
        about |= _told(store, slide_key)
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


def _told(store: FeatureStore, slide_key: str) -> dict[str, Any]:
    """Size and mpp as the catalog has them, where it does."""
    text = "select width_px0, height_px0, mpp from slides where slide_key = $key order by slide_id"
    for width, height, mpp in store.ask(text, {"key": slide_key}).iter_rows():
        return {"size_px0": (width, height) if width and height else None, "mpp": mpp}
    return {}


def overlay(boxes: np.ndarray, relative: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Draw tiles as an indexed picture of `size`, (width, height), clear where there is no tile.

    A tile is one of `boxes`, (N, 4), of `Geometry.boxes`, and of `relative`, (N,), multiples of an
    even share.
    """
    index = np.zeros(size[::-1], np.uint8)
    for (left, top, right, bottom), level in zip(boxes, levels(relative), strict=True):
        index[top:bottom, left:right] = level + 1
    colours = np.concatenate([np.zeros((1, 4), np.uint8), palette()])
    picture = Image.fromarray(index, "P")
    picture.putpalette(colours[:, :3].tobytes())
    picture.info["transparency"] = colours[:, 3].tobytes()
    return picture
