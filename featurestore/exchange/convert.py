"""Put the rows of a foreign Slide into the store's order and format."""

from __future__ import annotations

from dataclasses import asdict, replace
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


def placed(bag: ForeignBag, mpp: float | None, dim: int | None) -> ForeignBag:
    """Bring rows to float16, and places to int32 of level-0 pixels if mpp is known."""
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
        coords, unit = coords / mpp, "level0_px"
    elif unit == "um" and (coords % 1).any() and coords.max() * 1000 < 2**31:
        coords, unit = coords * 1000, "nm"
    coords = np.rint(coords).astype(np.int32)
    kept = _once(coords, half)
    return replace(
        bag,
        unit=unit,
        coords=coords[kept],
        rows=half[kept],
        tissue=None if bag.tissue is None else bag.tissue[kept],
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
    it: ForeignBag,
    before: float | None,
) -> ForeignBag:
    """Tiles told in microns as the store has them: it keeps microns where it had no mpp then.

    `it` is `bag` placed, `before` the mpp that the store knew.
    """
    ids = (slide.slide_key, tiling.tiling_id)
    if bag.unit != "um" or it.unit != "level0_px" or not store.has(*ids):
        return it
    stored = store.tiles(*ids)["coords"]
    for mpp in (None, before):
        other = placed(bag, mpp, it.rows.shape[1])
        if mpp == slide.mpp or _paired(stored, other) is None:
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
    it: ForeignBag,
    encoder: EncoderDescription,
    tiling: ForeignTiling,
) -> arrays.SlideArrays | None:
    """What to publish of a placed Slide; None where the store has it already.

    Rows stand in the order of the tiles that the store has of this Slide and Tiling, paired by
    coordinate, else in the store's own random order.
    """
    ids = ArrayIds(slide.slide_key, tiling.tiling_id, encoder.encoder_id)
    if store.has(*ids[:2]):
        stored = store.tiles(*ids[:2])["coords"]
        order = _paired(stored, it)
        if order is None:
            raise FeaturesRefused(
                f"has {len(it.coords):,} tiles at other places than the {len(stored):,} that the "
                "store has of this slide, cut the same way. Import it under another --cut"
            )
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
    unknown = np.full(len(rows), np.nan, np.float16)
    said = {name: getattr(it, name) for name in KEPT} | {"said": dict(it.said)}
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
        scores=dict.fromkeys(SCORES, unknown)
        | {"tissue": unknown if it.tissue is None else it.tissue[order]},
        encoder_id=encoder.encoder_id,
        embeddings=rows,
        provenance={  # no path, no name of a person
            "encoder": asdict(encoder),
            "precision": None,
            "device": None,
            "imported": said,
        },
    )


def _paired(stored: np.ndarray, it: ForeignBag) -> np.ndarray | None:
    """Which row belongs to each stored tile, by its place; None where the places are others."""
    theirs, ours = np.lexsort((stored[:, 1], stored[:, 0])), it.by_place
    if not np.array_equal(stored[theirs], it.coords[ours]):
        return None
    order = np.empty_like(ours)
    order[theirs] = ours
    return order


def description(tool: str, name: str, folder: str, version: str | None) -> EncoderDescription:
    """An Encoder that another tool ran: nothing is known of it but its names."""
    return EncoderDescription(
        name=name,
        weights=f"imported: {tool}",
        weights_hash=content_id([tool, name, folder], 32),
        identity={"tool": tool, "name": name, "version": version, "folder": folder},
    )
