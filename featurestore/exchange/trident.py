"""TRIDENT: `<mag>x_<px>px_<overlap>px_overlap/{patches/<S>_patches.h5, features_<enc>/<S>.h5}`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, Found, Listing, whole

PATCHES = "_patches.h5"
KEPT = ("level0_magnification", "target_magnification", "overlap")
SLIDES = "slide_features_"
LOCKED = "is unfinished: its lock is still there. Extract the slide again"


def find(listing: Listing) -> tuple[list[Found], dict[Path, str]]:
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
    found += _empty(patches, found)
    for path in listing.ending(".pt"):
        if not (path.with_suffix(".h5").exists() or _is_of_slides(path) or path in locked):
            refused[path] = "is a pickled array, which is not opened: extract with --saveas h5"
    return found, refused


def _is_of_slides(path: Path) -> bool:
    return path.parent.name.startswith(SLIDES)


def _patches(features: Path) -> Path:
    return features.parent.parent / "patches" / f"{features.stem}{PATCHES}"


def _empty(patches: list[Path], found: list[Found]) -> list[Found]:
    """Slides without a tile, of which some versions write no features: one for each Encoder."""
    there = {one.coords for one in found}
    empty = []
    for path in patches:
        job = path.parent.parent
        if (path,) in there:
            continue
        folders = sorted({one.path.parent for one in found if one.path.parent.parent == job})
        for folder in folders if _n_places(path) == 0 else ():
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


def _n_places(path: Path) -> int:
    try:
        with files.hdf5(path) as file:
            return len(files.places_of(files.array_of(file, "coords")))
    except FeaturesRefused:
        return -1


def read(found: Found) -> ForeignBag:
    """Read one file of features; its patches, if they are there, must lie at the same places."""
    with files.hdf5(found.path) as file:
        coords = files.places_of(files.array_of(file, "coords"))
        if found.path.name.endswith(PATCHES):
            rows, of_rows = np.empty((0, 0), np.float32), {}
        else:
            rows = files.rows_of(files.array_of(file, "features"))
            of_rows = files.said_of(file["features"])
        said = files.said_of(file["coords"])
    for path in found.coords:
        said = _agree(path, coords) | said
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


def _agree(path: Path, coords: np.ndarray) -> dict[str, object]:
    with files.hdf5(path) as file:
        places = files.places_of(files.array_of(file, "coords"))
        if sorted(map(tuple, places.tolist())) != sorted(map(tuple, coords.tolist())):
            raise FeaturesRefused(
                f"has {len(coords):,} tiles, and {path.name} beside it {len(places):,} or others: "
                "one of the two is unfinished or of another extraction. Extract the slide again"
            )
        return files.said_of(file["coords"])


def _version(said: Mapping[str, object]) -> str:
    """What the attributes tell of TRIDENT's version, which no file states."""
    if isinstance(said.get("patch_size_level0"), float):
        return "0.2.4 or later"
    return "0.2.2 or 0.2.3" if "level0_width" in said else "before 0.2.2"
