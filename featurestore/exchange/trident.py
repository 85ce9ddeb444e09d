"""TRIDENT: `<mag>x_<px>px_<overlap>px_overlap/{patches/<S>_patches.h5, features_<enc>/<S>.h5}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, Found, Listing, Outgoing, whole
from featurestore.exchange.isolated import Peek

PATCHES = "_patches.h5"
KEPT = ("level0_magnification", "target_magnification", "overlap")
SAID = ("patch_size", "patch_size_level0", *KEPT, "level0_width", "level0_height")
SLIDES = "slide_features_"
LOCKED = "is unfinished: its lock is still there. Extract the slide again"


def find(listing: Listing, peek: Peek) -> tuple[list[Found], dict[Path, str]]:
    """List the features of a job folder or a part of it; and what is unfinished, and why."""
    refused = dict.fromkeys(listing.ending(".h5.lock", ".pt.lock"), LOCKED)
    locked = {path.with_suffix("") for path in refused}
    patches = listing.ending(PATCHES)
    of_features = [
        path
        for path in listing.ending(".h5")
        if not path.name.endswith(PATCHES) and path not in locked and not _is_of_slides(path)
    ]
    found = [
        Found(
            path=path,
            name=path.stem,
            folder=path.parent.name,
            encoder=path.parent.name.removeprefix("features_"),
            cut=path.parent.parent.name if "overlap" in path.parent.parent.name else "",
            coords=tuple(one for one in (_patches(path),) if one.exists()),
        )
        for path in of_features
    ]
    found += _empty(patches, found, peek)
    for path in listing.ending(".pt"):
        if not (path.with_suffix(".h5").exists() or _is_of_slides(path) or path in locked):
            refused[path] = "is a pickled array, which is not opened: extract with --saveas h5"
    return found, refused


def _is_of_slides(path: Path) -> bool:
    return path.parent.name.startswith(SLIDES)


def _patches(features: Path) -> Path:
    return features.parent.parent / "patches" / f"{features.stem}{PATCHES}"


def _empty(patches: list[Path], found: list[Found], peek: Peek) -> list[Found]:
    """Slides without a tile, of which some versions write no features: one for each Encoder."""
    there = {one.coords for one in found}
    empty = []
    for path in patches:
        job = path.parent.parent
        if (path,) in there:
            continue
        folders = sorted({one.path.parent for one in found if one.path.parent.parent == job})
        for folder in folders if _is_empty(path, peek) else ():
            empty.append(
                Found(
                    path=path,
                    name=path.name.removesuffix(PATCHES),
                    folder=folder.name,
                    encoder=folder.name.removeprefix("features_"),
                    cut=job.name if "overlap" in job.name else "",
                )
            )
    return empty


def _is_empty(path: Path, peek: Peek) -> bool:
    try:
        return math.prod(peek(path).shapes.get("coords", (1,))) == 0
    except FeaturesRefused:
        return False


def read(found: Found) -> ForeignBag:
    """Read one file of features; its patches, if they are there, must lie at the same places."""
    with files.hdf5(found.path) as file:
        coords = files.places_of(files.array_of(file, "coords"))
        if found.path.name.endswith(PATCHES):
            rows, of_rows = np.empty((0, 0), np.float32), {}
        else:
            rows = files.rows_of(files.array_of(file, "features"))
            of_rows = files.said_of(file["features"], ["encoder"])
        said = files.said_of(file["coords"], SAID)
    said = files.agreeing(found.coords, coords, SAID) | said
    px, px0 = files.number(said, "patch_size"), files.number(said, "patch_size_level0")
    mags = [files.number(said, f"{name}_magnification") for name in ("level0", "target")]
    if px and px0 is None and mags[0] and mags[1]:
        px0 = float(round(px * mags[0] / mags[1]))
    width, height = (files.number(said, f"level0_{side}") for side in ("width", "height"))
    return ForeignBag(
        rows=rows,
        coords=coords,
        tile_px=whole(px),
        tile_px0=px0,
        size_px0=(round(width), round(height)) if width and height else None,
        encoder=files.text(of_rows, "encoder"),
        version=_version(said),
        said={name: said[name] for name in KEPT if files.number(said, name)},
    )


def _version(said: Mapping[str, object]) -> str:
    """What the attributes tell of TRIDENT's version, which no file states."""
    if isinstance(said.get("patch_size_level0"), float):
        return "0.2.4 or later"
    return "0.2.2 or 0.2.3" if "level0_width" in said else "before 0.2.2"


# -- export ----------------------------------------------------------------------------------------

MAGNIFICATIONS = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))  # under mpp


def write(it: Outgoing) -> None:
    """Write patches and features of one Slide, row by row as TRIDENT does from 0.2.4 on."""
    bag = it.bag
    level0 = files.number(bag.said, "level0_magnification") or _magnification(bag.mpp)
    tile_mpp = bag.tile_um / bag.tile_px if bag.tile_um and bag.tile_px else None
    target = files.number(bag.said, "target_magnification") or _magnification(tile_mpp)
    it.need(
        coordinates_in_level_0_pixels=bag.unit == "level0_px",
        tile_size=bag.tile_px and bag.tile_px0,
        mpp=level0 and target,
    )
    overlap = int(files.number(bag.said, "overlap") or 0)
    job = it.out / f"{target:g}x_{bag.tile_px}px_{overlap}px_overlap"
    said: dict[str, Any] = {
        "patch_size": bag.tile_px,
        "patch_size_level0": float(bag.tile_px0 or 0),
        "level0_magnification": round(level0 or 0),
        "target_magnification": float(target or 0),
        "overlap": overlap,
        "name": it.slide_id,
        "savetodir": job.name,
    }
    if bag.size_px0:
        said |= {"level0_width": bag.size_px0[0], "level0_height": bag.size_px0[1]}
    coords, rows, _ = it.sorted(1, 0)
    places, here = {"coords": coords.astype(np.int64)}, job / f"features_{it.encoder}"
    at = f"{job.name}/{here.name}"
    about: dict[str, Any] = {"encoder": it.encoder, "name": it.slide_id, "savetodir": at}
    files.write_hdf5(job / "patches" / f"{it.slide_id}{PATCHES}", places, {"coords": said}, 1)
    both = {"features": about, "coords": said}
    files.write_hdf5(here / f"{it.slide_id}.h5", {"features": rows, **places}, both, 1)


def _magnification(mpp: float | None) -> float | None:
    """What TRIDENT calls a scale; None where it has no word for it."""
    return next((float(word) for under, word in MAGNIFICATIONS if mpp and mpp < under), None)


def write_tables(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Nothing to write; say what its readers make of these files."""
    return [
        "torchmil divides level-0 coordinates by the size of a target patch: its adjacency has no "
        "edges on these files"
    ]
