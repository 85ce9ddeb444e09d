"""CLAM: `patches/<S>.h5` and `<features>/{h5_files/<S>.h5, pt_files/<S>.pt}`."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import numpy as np
import polars as pl

from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, Found, Listing, Outgoing, listing
from featurestore.exchange.isolated import Peek

OF_FEATURES = ("h5_files", "pt_files")
SAID = ("patch_size", "patch_level", "downsample", "level_dim")


def find(given: Listing, peek: Peek) -> tuple[list[Found], dict[Path, str]]:
    """List the features of a folder; tensors only where no HDF5 file has their places too.

    Raises:
        FeaturesRefused: all that is there are places of tiles, which were never embedded.
    """
    refused: dict[Path, str] = {}
    features: list[Path] = []
    places: dict[str, list[Path]] = {}
    for path in given.ending(".h5"):
        try:
            has = peek(path).shapes.keys()
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
        return ForeignBag(rows=rows, coords=numbered(len(rows)), unit="row")
    with files.hdf5(found.path) as file:
        rows = files.rows_of(files.array_of(file, "features"))
        coords = files.places_of(files.array_of(file, "coords"))
    said = files.agreeing(found.coords, coords, SAID)
    px, scale = files.number(said, "patch_size"), files.number(said, "downsample")
    at_level0 = said.get("level_dim") if said.get("patch_level") == 0 else None
    return ForeignBag(
        rows=rows,
        coords=coords,
        tile_px=None if px is None else round(px),
        tile_px0=px * scale if px and scale else None,
        size_px0=(int(at_level0[0]), int(at_level0[1])) if at_level0 else None,
    )


def numbered(n: int) -> np.ndarray:
    """Coordinates of rows of which nobody says where they lie: their numbers."""
    return np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float64)


# -- export ----------------------------------------------------------------------------------------

DIM = 1_024  # columns that CLAM takes unless it is told
SMALL = 8  # tiles that its instance loss draws


def write(it: Outgoing) -> None:
    """Write features of one Slide, and its patches where the size of a tile is known."""
    bag, here = it.bag, it.out / f"features_{it.encoder}"
    coords, rows, _ = it.sorted(0, 1)
    if bag.unit == "level0_px":
        both = {"features": rows, "coords": coords.astype(np.int32)}
        files.write_hdf5(here / "h5_files" / f"{it.slide_id}.h5", both, {}, 32)
        if bag.tile_px0:
            size = bag.size_px0 or (0, 0)
            side = round(bag.tile_px0)  # as it lies on level 0, which every slide has
            said = {
                "patch_size": side,
                "patch_level": 0,
                "downsample": np.ones(2),
                "downsampled_level_dim": np.array(size),
                "level_dim": np.array(size),
                "name": it.slide_id,
                "save_path": "patches",
            }
            at = it.out / "patches" / f"{it.slide_id}.h5"
            files.write_hdf5(at, {"coords": coords.astype(np.int64)}, {"coords": said}, 1)
    files.write_tensor(here / "pt_files" / f"{it.slide_id}.pt", rows)


def write_tables(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write labels, and a table of splits; for folds one each, tested on that fold.

    Returns:
        What CLAM does with such Slides.
    """
    columns = ["patient_id", "slide_id", "value"]
    files.write_csv(out / "labels.csv", ["case_id", "slide_id", "label"], cohort[columns].rows())
    sides = dict(cohort.select("slide_id", "split").iter_rows())
    folds = sorted({side for side in sides.values() if side.isdecimal()}, key=int)
    for n, fold in enumerate(folds or [None]):
        parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for slide_id, side in sides.items():
            name = {"validation": "val", "calibration": "train"}.get(side, side)
            parts["train" if name not in parts else name].append(slide_id)
        if fold is not None:
            parts["test"] = [slide_id for slide_id, side in sides.items() if side == fold]
            parts["train"] = [slide_id for slide_id, side in sides.items() if side != fold]
        rows = [[n_row, *row] for n_row, row in enumerate(zip_longest(*parts.values()))]
        files.write_csv(out / "splits" / f"splits_{n}.csv", ["", *parts], rows)
    digits = [name for name in cohort["slide_id"] if name.isdecimal()]
    small = int((cohort["n_tiles"] < SMALL).sum())
    dim = cohort["dim"][0]
    told = {
        f"CLAM takes {DIM:,} columns unless told: pass --embed_dim {dim}": dim != DIM,
        f"{len(digits):,} slide_ids are numbers, of which CLAM's tables lose leading zeros, the "
        f"first is {min(digits, default='')!r}: it looks for another file": digits,
        f"{small:,} slides have under {SMALL} tiles, on which CLAM's instance loss fails: drop "
        "them, or train without it": small,
    }
    return [note for note, holds in told.items() if holds]
