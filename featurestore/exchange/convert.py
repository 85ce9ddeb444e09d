"""Put the rows of a foreign Slide into the store's order and format."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from featurestore import arrays
from featurestore.errors import FeaturesRefused
from featurestore.exchange.bags import ForeignBag, ForeignTiling
from featurestore.types import SCORES, ArrayIds, EncoderDescription, Slide, content_id

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

NAMES = ("tool", "name", "folder")  # what tells one foreign Encoder from another
KEPT = ("version", "unit", "tile_px", "tile_px0", "tile_um")  # by arrays, of where they came from
NEAR = 1e-2  # of the largest value: how far two embeddings of one tile may be apart


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Rows as the store takes them, in the file's order."""

    coords: np.ndarray  # int32 (N, 2)
    rows: np.ndarray  # float16 (N, D)
    tissue: np.ndarray | None  # (N,)
    bag: ForeignBag  # without its arrays
    twice: int = 0  # tiles that stood there twice, and stand here once

    @property
    def fingerprint(self) -> str:
        """Thirty-two hex digits over places and rows, in whatever order; empty without a row."""
        order = _by_place(self.coords)
        if not len(order):
            return ""
        content = hashlib.blake2b(self.coords[order].tobytes(), digest_size=16)
        content.update(self.rows[order].tobytes())
        return content.hexdigest()


def placed(bag: ForeignBag, mpp: float | None, dim: int | None) -> Placed:
    """Bring the rows of a file to float16, and their places to level-0 pixels if mpp is known."""
    rows, coords, unit = bag.rows, bag.coords, bag.unit
    if not len(rows) and dim is not None:
        rows = rows.reshape(0, dim)
    if rows.shape[1] == 0:
        raise FeaturesRefused("has no tiles, and nothing says how wide its features are")
    if dim is not None and rows.shape[1] != dim:
        raise FeaturesRefused(
            f"has features of {rows.shape[1]:,} columns, the others of its encoder {dim:,}"
        )
    if broken := int((~np.isfinite(rows)).any(axis=1).sum()):
        raise FeaturesRefused(f"has values that are no numbers in {broken:,} of {len(rows):,} rows")
    with np.errstate(over="ignore"):
        half = rows.astype(np.float16)
    if beyond := int((~np.isfinite(half)).any(axis=1).sum()):
        raise FeaturesRefused(
            f"has values beyond float16 (65,504), the largest {np.abs(rows).max():g}, in "
            f"{beyond:,} of {len(rows):,} rows: the store keeps float16"
        )
    if unit == "um" and mpp is not None:
        coords, unit = bag.coords / mpp, "level0_px"
    elif unit == "um" and (coords % 1).any() and coords.max() * 1000 < 2**31:
        coords, unit = coords * 1000, "nm"
    kept = _once(np.rint(coords).astype(np.int32), half)
    return Placed(
        coords=np.rint(coords[kept]).astype(np.int32),
        rows=half[kept],
        tissue=None if bag.tissue is None else bag.tissue[kept],
        bag=replace(bag, unit=unit, rows=half[:0], coords=coords[:0], tissue=None),
        twice=len(half) - len(kept),
    )


def _once(coords: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which rows stay, so that every place is there once: contours may share tiles."""
    _, first, which = np.unique(coords, axis=0, return_index=True, return_inverse=True)
    first_of = first[which.reshape(-1)]
    apart = np.abs(rows.astype(np.float32) - rows[first_of])
    again = first_of != np.arange(len(rows))
    if again.any() and apart[again].max() > NEAR * max(1e-6, float(np.abs(rows).max())):
        raise FeaturesRefused("has two different rows for one place: which holds is not told")
    return np.flatnonzero(~again)


def as_stored(
    store: FeatureStore,
    slide: Slide,
    tiling: ForeignTiling,
    bag: ForeignBag,
    it: Placed,
    before: float | None,
) -> Placed:
    """Tiles told in microns as the store has them: it keeps microns where it had no mpp then.

    `before` is the mpp that the store knew.
    """
    ids = (slide.slide_key, tiling.tiling_id)
    if bag.unit != "um" or it.bag.unit != "level0_px" or not store.has(*ids):
        return it
    stored = store.tiles(*ids)["coords"]
    for mpp in (None, before):
        other = placed(bag, mpp, it.rows.shape[1])
        if not _are_same(stored, other.coords) or mpp == slide.mpp:
            continue
        if mpp is None:
            return other
        raise FeaturesRefused(
            f"has its tiles in the store at places of {mpp:g} microns per pixel, and its slide has "
            f"{slide.mpp:g} now. Take them in at their new places with: --cut {slide.mpp:g}mpp"
        )
    return it


def slide_arrays(
    store: FeatureStore,
    slide: Slide,
    it: Placed,
    encoder: EncoderDescription,
    tiling: ForeignTiling,
) -> arrays.SlideArrays | None:
    """What to publish of a Slide; None where the store has it already.

    Rows stand in the order of the tiles that the store has of this Slide and Tiling, paired by
    coordinate, else in the store's own random order.
    """
    ids = ArrayIds(slide.slide_key, tiling.tiling_id, encoder.encoder_id)
    if store.has(ids.slide_key, ids.tiling_id):
        order = _paired(store.tiles(ids.slide_key, ids.tiling_id)["coords"], it.coords)
    else:
        order = arrays.row_order(slide.slide_key, it.coords)
    rows = it.rows[order]
    if store.has(*ids):
        if np.array_equal(store.embeddings(*ids), rows):
            return None
        raise FeaturesRefused(
            f"has other values than what was imported before as slide {slide.slide_id!r} of "
            f"encoder {encoder.name!r}. Give this extraction another --name"
        )
    unknown = np.full(len(order), np.nan, np.float16)
    tissue = unknown if it.tissue is None else it.tissue[order]
    return arrays.SlideArrays(
        slide_key=slide.slide_key,
        attributes={
            "fingerprint": slide.fingerprint,
            "size_px0": [slide.width_px0, slide.height_px0] if slide.width_px0 else None,
            "mpp": slide.mpp,
            "reader": slide.reader,
        },
        thumbnail=None,
        tiling=tiling,
        coords=it.coords[order],
        scores=dict.fromkeys(SCORES, unknown) | {"tissue": tissue},
        encoder_id=encoder.encoder_id,
        embeddings=rows,
        provenance={
            "encoder": asdict(encoder),
            "precision": None,
            "device": None,
            # no path, no name of a person
            "imported": {name: getattr(it.bag, name) for name in KEPT}
            | {"said": dict(it.bag.said)},
        },
    )


def _paired(stored: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Which given row belongs to each stored tile, by its place."""
    if not _are_same(stored, given):
        raise FeaturesRefused(
            f"has {len(given):,} tiles at other places than the {len(stored):,} that the store has "
            "of this slide, cut the same way. Import it under another --cut"
        )
    order = np.empty(len(stored), np.int64)
    order[_by_place(stored)] = _by_place(given)
    return order


def _by_place(coords: np.ndarray) -> np.ndarray:
    return np.lexsort((coords[:, 1], coords[:, 0]))


def _are_same(stored: np.ndarray, given: np.ndarray) -> bool:
    """Whether two are the same places, in whatever order."""
    return np.array_equal(stored[_by_place(stored)], given[_by_place(given)])


def description(tool: str, name: str, folder: str, version: str | None) -> EncoderDescription:
    """An Encoder that another tool ran: nothing is known of it but its names."""
    return EncoderDescription(
        name=name,
        weights=f"imported: {tool}",
        weights_hash=content_id([tool, name, folder], 32),
        identity={"tool": tool, "name": name, "version": version, "folder": folder},
    )
