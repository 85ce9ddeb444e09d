"""CLAM: `patches/<S>.h5` and `<features>/{h5_files/<S>.h5, pt_files/<S>.pt}`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, Found, Listing, listing

OF_FEATURES = ("h5_files", "pt_files")


def find(given: Listing) -> tuple[list[Found], dict[Path, str]]:
    """List the features of a folder; tensors only where no HDF5 file has their places too.

    Raises:
        FeaturesRefused: all that is there are places of tiles, which were never embedded.
    """
    refused: dict[Path, str] = {}
    features: list[Path] = []
    places: dict[str, list[Path]] = {}
    for path in given.ending(".h5"):
        try:
            with files.hdf5(path) as file:
                has = set(file)
        except FeaturesRefused as error:
            refused[path] = str(error)
            continue
        if has == {"coords"} or path.parent.name == "patches":
            places.setdefault(path.stem, []).append(path)
        else:
            features.append(path)
    with_places = {(_folder(path), path.stem) for path in (*features, *refused)}
    features += [p for p in given.ending(".pt") if (_folder(p), p.stem) not in with_places]
    if places and not features and not refused:
        raise FeaturesRefused(
            f"{given.root} holds places of tiles of {len(places):,} slides and no features: it is "
            "CLAM's patches. Give the folder that holds h5_files and pt_files too."
        )
    for near in (given.root, *given.root.absolute().parents[:2]):
        if (near / "patches").is_dir() and near != given.root:
            for path in listing(near / "patches").ending(".h5"):
                places.setdefault(path.stem, []).append(path)
    return [
        Found(
            path=path,
            name=path.stem,
            folder=_folder(path).name,
            encoder=_folder(path).name.removeprefix("features_"),
            coords=tuple(places.get(path.stem, ())),
        )
        for path in features
    ], refused


def _folder(path: Path) -> Path:
    """The folder of one Encoder's features."""
    return path.parent.parent if path.parent.name in OF_FEATURES else path.parent


def read(found: Found) -> ForeignBag:
    """Read the features of one Slide; the patches at the same places say how wide a tile is."""
    if found.path.suffix == ".pt":
        rows = files.rows_of(files.tensor(found.path))
        return ForeignBag(rows=rows, coords=_numbered(len(rows)), unit="row")
    with files.hdf5(found.path) as file:
        rows = files.rows_of(files.array_of(file, "features"))
        coords = files.places_of(files.array_of(file, "coords"))
    if not found.coords:
        return ForeignBag(rows=rows, coords=coords)
    said = None
    for path in found.coords:
        with files.hdf5(path) as file:
            if same_places(files.places_of(files.array_of(file, "coords")), coords):
                said = files.said_of(file["coords"])
                break
    if said is None:
        raise FeaturesRefused(
            f"has {len(coords):,} tiles at other places than its patches {found.coords[0].name}: "
            "one of the two is unfinished or of another extraction. Extract the slide again"
        )
    px, scale = files.number(said, "patch_size"), files.number(said, "downsample")
    at_level0 = said.get("level_dim") if said.get("patch_level") == 0 else None
    return ForeignBag(
        rows=rows,
        coords=coords,
        tile_px=None if px is None else round(px),
        tile_px0=px * scale if px and scale else None,
        size_px0=(int(at_level0[0]), int(at_level0[1])) if at_level0 else None,
    )


def _numbered(n: int) -> np.ndarray:
    """Coordinates of rows of which nobody says where they lie: their numbers."""
    return np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float64)


def same_places(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays (N, 2) hold the same coordinates, in whatever order."""
    return sorted(map(tuple, one.tolist())) == sorted(map(tuple, other.tolist()))
