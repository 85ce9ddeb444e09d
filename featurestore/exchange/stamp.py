"""STAMP: `<extractor>-<hash8>/<any folders>/<S>.h5`, places in microns or in resampled pixels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, Found, Listing, Outgoing, whole
from featurestore.exchange.isolated import Peek

SAID = (
    "stamp_version",
    "extractor",
    "unit",
    "feat_type",
    "tile_size",
    "tile_size_um",
    "tile_size_px",
)
INFO = "info.json"  # of 1.x: how large a tile is


def find(listing: Listing, peek: Peek) -> tuple[list[Found], dict[Path, str]]:
    """List every HDF5 file of a folder."""
    found = []
    for path in listing.ending(".h5"):
        inside = [listing.root, *_between(listing.root, path)]
        hashed = [folder for folder in inside if re.search(r"-[0-9a-f]{8}$", folder.name)]
        folder = (hashed or [path.parent])[-1]
        infos = (at / INFO for at in reversed(inside) if (at / INFO).is_file())
        found.append(
            Found(
                path=path,
                name=path.stem,
                folder=folder.name,
                encoder=folder.name,
                coords=tuple(infos)[:1],
            )
        )
    return found, {}


def _between(root: Path, path: Path) -> list[Path]:
    """The folders from a root to a file, the root's next first."""
    return list(reversed([at for at in path.parents if at != root and root in at.parents]))


def read(found: Found) -> ForeignBag:
    """Read one file of any version.

    Raises:
        FeaturesRefused: it is damaged, of a whole slide or patient, or does not say its scale.
    """
    with files.hdf5(found.path) as file:
        said = files.said_of(file, SAID)
        kind = said.get("feat_type", "tile")
        if kind != "tile":
            raise FeaturesRefused(f"holds features of a {kind}, expected a row a tile")
        rows = files.rows_of(files.array_of(file, "feats"))
        coords = files.places_of(files.array_of(file, "coords"))
        if "augmented" in file:
            kept = ~files.array_of(file, "augmented").astype(bool).reshape(-1)
            if len(kept) != len(rows) or len(kept) != len(coords):
                raise FeaturesRefused("says of another number of rows whether they are augmented")
            rows, coords = rows[kept], coords[kept]
    if "stamp_version" in said or "unit" in said:
        if (unit := said.get("unit")) != "um":
            raise FeaturesRefused(f"has coordinates in {unit!r}, expected 'um'")
        um = files.number(said, "tile_size_um", "tile_size")
        px = files.number(said, "tile_size_px")
    else:
        um, px = _of_folder(found)
        coords = coords * (um / px)
    return ForeignBag(
        rows=rows,
        coords=coords,
        unit="um",
        tile_um=um,
        tile_px=whole(px),
        tile_mpp=um / px if um and px else None,
        encoder=files.text(said, "extractor"),
        version=files.text(said, "stamp_version") or "1",
    )


def _of_folder(found: Found) -> tuple[float, float]:
    """Side of a tile of version 1 in microns and in pixels, which no file but info.json says."""
    said: dict[str, Any] = {}
    for path in found.coords:
        with files.told(path):
            said = dict(json.loads(path.read_text(encoding="utf-8")))
    um, px = files.number(said, "microns"), files.number(said, "patch_size")
    if um is None or px is None:
        raise FeaturesRefused(
            f"does not say how large its tiles are, and no {INFO} beside it does. Put back the "
            f"{INFO} of STAMP 1, or extract with STAMP 2"
        )
    return um, px


def in_pixels(coords: np.ndarray, mpp: float) -> np.ndarray:
    """Microns as level-0 pixels, whole: STAMP writes single precision."""
    return np.rint(coords / mpp)


# -- export ----------------------------------------------------------------------------------------

VERSION, WITHOUT_PIXELS = "2.1.0", "2.0.0"  # a reader refuses what is newer than itself


def write(it: Outgoing) -> None:
    """Write one Slide for STAMP 2: half precision, microns in single precision."""
    bag = it.bag
    in_um = bag.unit == "um" or (bag.unit == "level0_px" and bag.mpp)
    it.need(mpp=bool(in_um), tile_size=bag.tile_um)
    coords, rows, _ = it.sorted(1, 0)
    um = coords * (1.0 if bag.unit == "um" else float(bag.mpp or 0))
    said: dict[str, Any] = {
        "extractor": it.encoder,
        "unit": "um",
        "tile_size": float(bag.tile_um or 0),  # of 2.0
        "stamp_version": WITHOUT_PIXELS,
    }
    if bag.tile_px:
        said |= {
            "stamp_version": VERSION,
            "tile_size_um": float(bag.tile_um or 0),
            "tile_size_px": bag.tile_px,
            "code_hash": it.encoder_id[:8],
            "feat_type": "tile",
        }
    both: dict[str, np.ndarray] = {"feats": rows.astype(np.float16)}
    both["coords"] = um.astype(np.float32)
    here = it.out / f"{it.encoder}-{it.encoder_id[:8]}"
    files.write_hdf5(here / f"{it.slide_id}.h5", both, {"": said}, None)


def write_tables(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write Patients with their label, and their Slides; Patients of several labels are told."""
    several = (
        cohort.group_by("patient_id")
        .agg(pl.col("value").n_unique())
        .filter(pl.col("value") > 1)["patient_id"]
    )
    plain = cohort.filter(~pl.col("patient_id").is_in(several.implode()))
    labels = plain.select("patient_id", "value").unique(maintain_order=True).rows()
    slides = [(patient, f"{name}.h5") for patient, name in plain["patient_id", "slide_id"].rows()]
    files.write_csv(out / "clini.csv", ["PATIENT", target], labels)
    files.write_csv(out / "slide.csv", ["PATIENT", "FILENAME"], slides)
    if several.is_empty():
        return []
    return [
        f"{len(several):,} patients have cases of different labels, and STAMP takes one a patient: "
        "they are left out of clini.csv and slide.csv"
    ]
