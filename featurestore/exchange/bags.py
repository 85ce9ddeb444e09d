"""The rows of one Slide from another tool's files: read, and put into the store's format."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore import arrays
from featurestore.errors import FeaturesRefused
from featurestore.exchange import files, tools
from featurestore.exchange.finding import Features
from featurestore.fields import to_json
from featurestore.types import SCORES, ArrayIds, EncoderDescription, Slide, Tiling, content_id

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

NAMES = ("tool", "name", "folder")  # what tells one foreign Encoder from another
KEPT = ("version", "unit", "tile_px", "tile_px0", "tile_um")  # by arrays, of where they came from
NEAR = 1e-2  # of the largest value: how far two embeddings of one tile may be apart


@dataclass(frozen=True, kw_only=True)
class ForeignTiling(Tiling):
    """How another tool cut a Slide; None is what it does not say."""

    tile_px: int | None = None  # type: ignore[assignment]
    tile_mpp: float | None = None  # type: ignore[assignment]
    min_tissue: float | None = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class ForeignBag:
    """The rows of one Slide, in the file's order; None is what nobody says."""

    rows: np.ndarray  # floats (N, D), once placed float16; (0, 0): an empty Slide without a width
    coords: np.ndarray  # float64 (N, 2), once placed int32: top left corners (x, y)
    unit: tools.Unit = "level0_px"
    tile_px: int | None = None
    tile_mpp: float | None = None  # microns per tile pixel, where the tool cuts by microns
    tile_px0: float | None = None  # side in level-0 pixels
    tile_um: float | None = None  # side in microns
    min_tissue: float | None = None
    mpp: float | None = None  # microns per level-0 pixel
    size_px0: tuple[int, int] | None = None
    encoder: str | None = None
    version: str | None = None  # of the tool
    tissue: np.ndarray | None = None  # (N,)
    said: Mapping[str, Any] = field(default_factory=dict)  # what else an export can use
    twice: int = 0  # tiles that stood there twice, and stand here once

    def __post_init__(self) -> None:
        n = len(self.rows)
        if self.coords.shape != (n, 2):
            raise FeaturesRefused(
                f"has {n:,} rows of features, but coordinates of shape {self.coords.shape}: one of "
                "the two is unfinished or of another extraction. Extract the slide again"
            )
        whole = self.unit == "level0_px"
        is_place = (self.coords >= 0) & (self.coords < 2**31)  # NaN is none
        wrong = ~(is_place & (not whole or self.coords % 1 == 0)).all(axis=1)
        if wrong.any():
            raise FeaturesRefused(
                "has coordinates that are no places in a slide, as "
                f"{self.coords[wrong][0].tolist()}: expected "
                f"{'whole level-0 pixels' if whole else 'numbers'} from 0. Extract the slide again"
            )

    @property
    def by_place(self) -> np.ndarray:
        """Its order by x, then y."""
        return np.lexsort((self.coords[:, 1], self.coords[:, 0]))

    @property
    def fingerprint(self) -> str:
        """Thirty-two hex digits over places and rows, in whatever order; empty without a row."""
        order = self.by_place
        content = hashlib.blake2b(self.coords[order].tobytes(), digest_size=16)
        content.update(self.rows[order].tobytes())
        return content.hexdigest() if len(order) else ""


def unplaced(rows: np.ndarray) -> ForeignBag:
    """Rows of which nobody says where they lie: their places are their numbers."""
    coords = np.stack([np.arange(len(rows)), np.zeros(len(rows))], axis=1)
    return ForeignBag(rows=rows, coords=coords, unit="row")


def read(found: Features) -> ForeignBag:
    """Read the files of one Slide."""
    bag, said = (_of_hdf5 if found.path.suffix == ".h5" else _of_arrays)(found)
    for twin in found.twins:
        _check_twin(bag.rows, twin)
    size = (said.get("level0_width"), said.get("level0_height"))
    if all(size) and (n_out := int((bag.coords >= size).any(axis=1).sum())):
        raise FeaturesRefused(
            f"has {n_out:,} of {len(bag.coords):,} tiles outside of its slide of {size[0]:,} x "
            f"{size[1]:,} px: its coordinates are of another slide. Extract it again"
        )
    of_slide = said.get("patch_level") == 0 and said.get("level_dim")
    width, height = (
        files.number({"": side}, "") for side in said.get("dimensions") or of_slide or size
    )
    facts: dict[str, Any] = {name: files.number(said, *of) for name, of in tools.NUMBERS.items()}
    px, um, down = facts["tile_px"], facts["tile_um"], files.number(said, "downsample")
    level0, target = (files.number(said, name) for name in tools.KEPT[:2])
    if px and down:
        facts["tile_px0"] = facts["tile_px0"] or px * down
    elif px and level0 and target:
        facts["tile_px0"] = facts["tile_px0"] or float(round(px * level0 / target))
    if um and px:
        facts["tile_mpp"] = facts["tile_mpp"] or um / px
    words = (said.get(name) for name in tools.ENCODER)
    return replace(
        bag,
        **facts | {"tile_px": px and round(px)},
        size_px0=(round(width), round(height)) if width and height else None,
        encoder=next((w for w in words if isinstance(w, str) and w and w.isprintable()), None),
        version=tools.TOOLS[found.tool].version(said),
        said={name: said[name] for name in tools.KEPT if files.number(said, name)},
    )


def _check_twin(rows: np.ndarray, twin: Path) -> None:
    """Refuse a Slide of which a second file has other rows, but for order and precision.

    Rows in one order may be a step of the coarser precision apart: both may be rounded.
    """
    tensor, is_bfloat16 = files.tensor(twin)
    other = files.rows_of(tensor)
    with np.errstate(over="ignore"):
        ours, theirs = (some.astype(np.float32) + np.float32(0) for some in (rows, other))  # no -0
        step = 2.0**-7 if is_bfloat16 else 2.0**-10
        if rows.shape == other.shape and np.allclose(ours, theirs, rtol=step, atol=2.0**-24):
            return
        halves = (
            files.bfloat16(some) if is_bfloat16 else some.astype(np.float16) + np.float16(0)
            for some in (ours, theirs)
        )
        one, two = (Counter(row.tobytes() for row in half) for half in halves)
    if one != two:
        raise FeaturesRefused(
            f"has {len(rows):,} rows of features, of which {(one - two).total():,} are not among "
            f"the {len(other):,} of {twin.parent.name}/{twin.name}: one of the two is of another "
            "extraction. Extract the slide again, or take the wrong one away"
        )


def _check(said: Mapping[str, Any]) -> None:
    for name, expected in (tools.KINDS | tools.UNITS).items():
        got = said.get(name, expected)
        if got != expected and name in tools.KINDS:
            raise FeaturesRefused(f"holds {got} features, expected a row a tile")
        if got != expected:
            raise FeaturesRefused(f"has coordinates in {got!r}, expected {expected!r}")


def _beside(found: Features) -> dict[str, Any]:
    """What JSON files beside say, all their sections as one."""
    said: dict[str, Any] = {}
    for path in (one for one in found.beside if one.suffix == ".json"):
        with files.told(path):
            told = dict(json.loads(path.read_text(encoding="utf-8")))
        for part in (*told.values(), told):
            said |= part if isinstance(part, dict) else {}
    return said


def _of_hdf5(found: Features) -> tuple[ForeignBag, dict[str, Any]]:
    """Rows and coordinates of one file; places beside, if they are there, must be the same."""
    tool, said = tools.TOOLS[found.tool], _beside(found)
    with files.hdf5(found.path) as file:
        for holder in (file, *(file[name] for name in (tool.rows, "coords") if name in file)):
            said |= files.said_of(holder, tools.ATTRIBUTES)
        _check(said)
        none = np.empty((0, 0), np.float32)
        rows = none if found.is_empty else files.rows_of(files.array_of(file, tool.rows))
        coords = files.places_of(files.array_of(file, "coords"))
        if "augmented" in file:
            kept = ~files.array_of(file, "augmented").astype(bool).reshape(-1)
            if len(kept) != len(rows) or len(kept) != len(coords):
                raise FeaturesRefused("says of another number of rows whether they are augmented")
            rows, coords = rows[kept], coords[kept]
    if tool.unit == "um" and "unit" not in said:
        um, px = (files.number(said, *tools.NUMBERS[name]) for name in ("tile_um", "tile_px"))
        if um is None or px is None or "stamp_version" in said:
            raise FeaturesRefused(
                "does not say how large its tiles are, and no info.json beside it does. Put back "
                "the info.json of STAMP 1, or extract with STAMP 2"
            )
        coords = coords * (um / px)  # the slide was read in pixels of its tiles
    patches = [path for path in found.beside if path.suffix == ".h5"]
    said = files.agreeing(patches, coords, tools.ATTRIBUTES) | said
    return ForeignBag(rows=rows, coords=coords, unit=tool.unit), said


def _of_arrays(found: Features) -> tuple[ForeignBag, dict[str, Any]]:
    """Rows of a tensor or an archive of NumPy, and places of the file beside, by tile number."""
    said, index = _beside(found), None
    _check(said)
    if found.is_empty:
        if said.get("num_tiles") != 0:
            raise FeaturesRefused("says that there are tiles, but their features are missing")
        rows = np.empty((0, int(said.get("feature_dim") or 0)), np.float32)
    elif found.path.suffix == ".pt":
        rows = files.rows_of(files.tensor(found.path)[0])
    else:
        held = files.arrays(found.path)
        if "features" not in held:
            raise FeaturesRefused(f"has no 'features': it holds {', '.join(held) or 'nothing'}")
        rows, index = files.rows_of(held["features"]), held.get("tile_index")
    path = next((one for one in found.beside if one.suffix in (".npz", ".npy")), None)
    if path is not None:
        return _with_places(rows, index, path, said)
    if not tools.TOOLS[found.tool].needs_places:
        return unplaced(rows), said
    if len(rows):
        raise FeaturesRefused("has no file beside it that says where its tiles lie")
    return ForeignBag(rows=rows, coords=np.empty((0, 2))), said


def _with_places(
    rows: np.ndarray, index: np.ndarray | None, path: Path, said: dict[str, Any]
) -> tuple[ForeignBag, dict[str, Any]]:
    """Rows with coordinates and tissue of a file of places, by the number of each tile."""
    held, n = files.arrays(path), len(rows)
    if (table := held.get("npy")) is not None:
        held = {name: table[name] for name in table.dtype.names or ()}
        said = {name: column[0].item() for name, column in held.items() if len(table)} | said
    if not {"x", "y"} <= held.keys():
        raise FeaturesRefused(f"{path.name} has no x and y")
    coords = np.stack([held["x"], held["y"]], axis=1).astype(np.float64)
    tissue = held.get("tissue_fractions", held.get("tissue_fraction"))
    if tissue is not None and len(tissue) != len(coords):
        raise FeaturesRefused(f"{path.name} has {len(tissue):,} shares of tissue of other tiles")
    if len(coords) == n:  # else the pair is refused where it is made
        theirs = held.get("tile_index", np.arange(n))
        ours = np.arange(n) if index is None else index
        if not np.array_equal(np.sort(theirs), np.sort(ours)) or len(np.unique(ours)) != n:
            raise FeaturesRefused("numbers its tiles otherwise than its file of coordinates")
        by_number = np.argsort(theirs)
        order = by_number[np.searchsorted(theirs, ours, sorter=by_number)]
        coords, tissue = coords[order], None if tissue is None else tissue[order]
    return ForeignBag(rows=rows, coords=coords, tissue=tissue), said


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
        attributes=slide.of_group(),
        thumbnail=None,
        tiling=tiling,
        coords=it.coords[order],
        scores=dict.fromkeys(SCORES, unknown)
        | {"tissue": unknown if it.tissue is None else it.tissue[order]},
        encoder_id=encoder.encoder_id,
        embeddings=rows,
        provenance={  # no path, no name of a person
            "encoder": to_json(encoder),
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
