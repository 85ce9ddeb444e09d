"""slide2vec: `features/<S>.pt` and `coordinates/<S>.npy`; later `tile_embeddings/`, `tiles/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import FeaturesRefused, write_beside
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, Found, Listing, Outgoing, whole
from featurestore.exchange.isolated import Peek

NOW, ONCE = "tile_embeddings", "features"  # folders of features
META = ".meta.json"
PLACES = (".coordinates", ".tiles", "")  # what stands before the suffix of a file of places


def find(listing: Listing, peek: Peek) -> tuple[list[Found], dict[Path, str]]:
    """List the features of an output folder of any version."""
    found: list[Found] = []
    metas = {path for path in listing.ending(META) if NOW in path.parts}
    of_features = [
        path
        for path in listing.ending(".pt", ".npz")
        if NOW in path.parts or path.parent.name == ONCE
    ]
    known = {path.with_suffix("") for path in of_features}
    alone = [path for path in metas if _stem(path) not in known]  # of Slides without a tile
    for path in (*of_features, *sorted(alone)):
        at = NOW if NOW in path.parts else ONCE
        base = next(folder for folder in path.parents if folder.name == at).parent
        kind = path.parent.name if path.parent.name != at else ""
        name = _stem(path).name.removesuffix("-tiles")
        places = [
            base / folder / kind / f"{name}{middle}{suffix}"
            for folder in ("tiles", "coordinates")
            for middle in PLACES
            for suffix in (".npz", ".npy", META)
        ]
        found.append(
            Found(
                path=path,
                name=name,
                folder=base.name,
                encoder=base.name,
                cut=kind,
                coords=tuple(one for one in places if one.is_file()),
            )
        )
    return found, {}


def _stem(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(META if META in path.name else path.suffix))


def read(found: Found) -> ForeignBag:
    """Read the features of one Slide, its places, and what the files beside say of both.

    Raises:
        FeaturesRefused: a file is damaged or missing, or the rows and places are not a pair.
    """
    about = _meta(_stem(found.path).with_name(_stem(found.path).name + META))
    of_places = next((_meta(path) for path in found.coords if path.name.endswith(META)), {})
    said = about | of_places
    if said.get("artifact_type", NOW) != NOW:
        raise FeaturesRefused(f"holds {said['artifact_type']}, expected a row a tile")
    if (space := said.get("coordinate_space", "level0_px")) != "level0_px":
        raise FeaturesRefused(f"has coordinates in {space!r}, expected 'level0_px'")
    rows, index = _rows(found.path, said)
    coords, tissue, structured = _places(found, index, len(rows))
    said = structured | said
    px = files.number(said, "requested_tile_size_px", "target_tile_size_px", "target_tile_size")
    size = said.get("dimensions") or [None, None]
    return ForeignBag(
        rows=rows,
        coords=coords,
        tile_px=whole(px),
        tile_mpp=files.number(said, "requested_spacing_um", "target_spacing_um", "target_spacing"),
        tile_px0=files.number(said, "tile_size_lv0"),
        min_tissue=files.number(said, "min_tissue_fraction"),
        mpp=files.number(said, "base_spacing_um"),
        size_px0=(int(size[0]), int(size[1])) if size[0] else None,
        encoder=files.text(about, "encoder_name"),
        version="5 or later" if "filtering" in said else "3 or 4" if of_places else "1 or 2",
        tissue=tissue,
    )


def _meta(path: Path) -> dict[str, Any]:
    """What a file beside says, all its sections as one."""
    if not path.is_file():
        return {}
    with files.told(path):
        said = dict(json.loads(path.read_text(encoding="utf-8")))
        inner = [value for value in said.values() if isinstance(value, dict)]
        return {key: value for part in (*inner, said) for key, value in part.items()}


def _rows(path: Path, said: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Features (N, D), and the number of the tile that each row is of, where the file says it."""
    if path.suffix == ".json":
        if said.get("num_tiles") != 0:
            raise FeaturesRefused("says that there are tiles, but their features are missing")
        return np.empty((0, int(said.get("feature_dim") or 0)), np.float32), None
    if path.suffix == ".pt":
        return files.rows_of(files.tensor(path)), None
    held = files.arrays(path)
    if "features" not in held:
        raise FeaturesRefused(f"has no 'features': it holds {', '.join(held) or 'nothing'}")
    return files.rows_of(held["features"]), held.get("tile_index")


def _places(
    found: Found, index: np.ndarray | None, n: int
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    """Coordinates and tissue of each row, by the number of its tile; and what else is said."""
    path = next((one for one in found.coords if one.suffix in (".npz", ".npy")), None)
    if path is None:
        if n == 0:
            return np.empty((0, 2)), None, {}
        raise FeaturesRefused("has no file of coordinates beside it, in tiles or coordinates")
    held = files.arrays(path)
    table = held.get("npy")
    said: dict[str, Any] = {}
    if table is not None:
        names = table.dtype.names or ()
        held = {name: table[name] for name in names}
        said = {name: held[name][0].item() for name in names if len(table)}
    if not {"x", "y"} <= held.keys():
        raise FeaturesRefused(f"{path.name} has no x and y")
    coords = np.stack([held["x"], held["y"]], axis=1).astype(np.float64)
    tissue = held.get("tissue_fractions", held.get("tissue_fraction"))
    if tissue is not None and len(tissue) != len(coords):
        raise FeaturesRefused(f"{path.name} has {len(tissue):,} shares of tissue of other tiles")
    if len(coords) == n:  # else the pair is refused where it is made
        order = _order(held.get("tile_index"), index, n)
        coords, tissue = coords[order], None if tissue is None else tissue[order]
    return coords, tissue, said


def _order(of_places: np.ndarray | None, of_rows: np.ndarray | None, n: int) -> np.ndarray:
    """For each row, where its tile stands in the file of places: both number the tiles."""
    theirs = np.arange(n) if of_places is None else of_places
    ours = np.arange(n) if of_rows is None else of_rows
    if not np.array_equal(np.sort(theirs), np.sort(ours)) or len(np.unique(ours)) != n:
        raise FeaturesRefused("numbers its tiles otherwise than its file of coordinates")
    by_number = np.argsort(theirs)
    return by_number[np.searchsorted(theirs, ours, sorter=by_number)]


# -- export ----------------------------------------------------------------------------------------

# Its reader refuses a key more or less: what a Tiling of ours does not have is null.
SECTIONS = {
    "provenance": "sample_id image_path mask_path backend requested_backend spacing_at_level_0 "
    "mask_backend requested_mask_backend",
    "slide": "dimensions base_spacing_um level_downsamples",
    "tiling": "requested_tile_size_px requested_spacing_um read_level read_tile_size_px "
    "read_spacing_um tile_size_lv0 tolerance step_px_lv0 overlap min_tissue_fraction "
    "is_within_tolerance n_tiles",
    "segmentation": "tissue_method requested_seg_downsample seg_downsample seg_level "
    "seg_spacing_um sthresh sthresh_up mthresh close sam2_checkpoint_path sam2_config_path "
    "mask_path ref_tile_size_px tissue_mask_tissue_value mask_level mask_spacing_um",
    "filtering": "a_t a_h filter_white filter_black white_threshold black_threshold "
    "fraction_threshold filter_grayspace grayspace_saturation_threshold "
    "grayspace_fraction_threshold filter_blur blur_threshold qc_spacing_um",
    "artifact": "coordinate_space tile_order annotation selection_strategy output_mode",
}
OF_FEATURES = (
    "annotation artifact_type backend compatibility coordinates_meta_path coordinates_npz_path "
    "encoder_input_size_px encoder_level encoder_name feature_dim format image_path mask_path "
    "num_tiles read_tile_size_px requested_spacing_um requested_tile_size_px sample_id "
    "tile_size_lv0 tiles_tar_path"
)


def write(it: Outgoing) -> None:
    """Write features, places, and what stands beside both, as slide2vec 5 and later read them."""
    bag = it.bag
    spacing = bag.tile_um / bag.tile_px if bag.tile_um and bag.tile_px else None
    it.need(
        coordinates_in_level_0_pixels=bag.unit == "level0_px",
        tile_size=bag.tile_px and bag.tile_px0,
        mpp=spacing,
    )
    coords, rows, order = it.sorted(0, 1)
    n, facts = len(rows), _facts(it, float(spacing or 0))
    places = f"tiles/{it.slide_id}.coordinates"
    nested = {
        name: {key: facts.get(key) for key in keys.split()} for name, keys in SECTIONS.items()
    }
    unknown = np.full(n, np.nan) if bag.tissue is None else bag.tissue[order]
    with write_beside(it.out / f"{places}.npz") as work, work.open("wb") as file:
        np.savez_compressed(
            file,
            tile_index=np.arange(n, dtype=np.int32),
            x=coords[:, 0].astype(np.int64),
            y=coords[:, 1].astype(np.int64),
            tissue_fractions=unknown.astype(np.float32),
        )
    files.write_json(it.out / (places + META), nested)
    here = it.out / NOW
    files.write_tensor(here / f"{it.slide_id}.pt", rows)
    flat = {key: facts.get(key) for key in OF_FEATURES.split()}
    files.write_json(here / f"{it.slide_id}{META}", flat)


def _facts(it: Outgoing, spacing: float) -> dict[str, Any]:
    """What is known of a Slide, by the names of its keys; microns per tile pixel are `spacing`."""
    bag = it.bag
    n, side = len(bag.rows), round(bag.tile_px0 or 0)
    mpp = bag.mpp or spacing * float(bag.tile_px or 0) / side
    places = f"tiles/{it.slide_id}.coordinates"
    return {
        "sample_id": it.slide_id,
        "dimensions": list(bag.size_px0) if bag.size_px0 else None,
        "base_spacing_um": mpp,
        "requested_tile_size_px": bag.tile_px,
        "requested_spacing_um": spacing,
        "read_level": 0,  # every slide has it; whence its tiles were read is not known
        "read_tile_size_px": side,
        "read_spacing_um": mpp,
        "tile_size_lv0": side,
        "overlap": 0.0,
        "min_tissue_fraction": bag.min_tissue,
        "is_within_tolerance": abs(mpp - spacing) <= 0.05 * spacing,
        "n_tiles": n,
        "coordinate_space": "level0_px",
        "tile_order": "x_then_y",
        "artifact_type": NOW,
        "compatibility": {"encoder_name": it.encoder, "requested_tile_size_px": bag.tile_px},
        "coordinates_meta_path": places + META,
        "coordinates_npz_path": f"{places}.npz",
        "encoder_level": "tile",
        "encoder_name": it.encoder,
        "feature_dim": bag.rows.shape[1],
        "format": "pt",
        "num_tiles": n,
    }


def write_tables(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write the list of Slides that it goes on from."""
    header = ["sample_id", "image_path", "mask_path", "tiling_status", "num_tiles"]
    header += ["coordinates_npz_path", "coordinates_meta_path", "feature_status", "feature_path"]
    rows = [
        [name, None, None, "success", n, f"{at}.npz", at + META, "success", f"{NOW}/{name}.pt"]
        for name, n in cohort.select("slide_id", "n_tiles").iter_rows()
        for at in (f"tiles/{name}.coordinates",)
    ]
    files.write_csv(out / "process_list.csv", header, rows)
    return []
