"""Write Slides as TRIDENT, CLAM, STAMP and slide2vec read them, and as Parquet for all others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import FeaturesRefused, write_beside
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag
from featurestore.words import counted


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A Slide on its way out."""

    out: Path  # folder of the export
    slide_id: str
    encoder: str  # the Encoder's name, as a folder can have it
    encoder_id: str
    bag: ForeignBag  # float16 rows

    def need(self, **facts: Any) -> None:
        """Refuse where the store does not know what the other tool asks for."""
        for name, value in facts.items():
            if value in (None, False):
                raise FeaturesRefused(f"has no {name.replace('_', ' ')}, which its readers need")

    def need_tiles(self, mpp: Any) -> None:
        """Refuse where its tiles are not of a known size at known pixels, or have no scale."""
        bag = self.bag
        whole, side = bag.unit == "level0_px", bag.tile_px and bag.tile_px0
        self.need(coordinates_in_level_0_pixels=whole, tile_size=side, mpp=mpp)

    def sorted(self, *by: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coords, float32 rows and order, sorted by columns of the coords, the first first."""
        order = np.lexsort([self.bag.coords[:, column] for column in reversed(by)])
        return self.bag.coords[order], self.bag.rows[order].astype(np.float32), order


OF_TORCHMIL = (
    "torchmil divides level-0 coordinates by the size of a target patch: its adjacency has no "
    "edges on these files"
)
MAGNIFICATIONS = ((0.16, 80), (0.2, 60), (0.3, 40), (0.6, 20), (1.2, 10), (2.4, 5))  # under mpp


def _write_trident(it: Outgoing) -> None:
    """Write patches and features of one Slide, row by row as TRIDENT does from 0.2.4 on."""
    bag = it.bag
    level0 = files.number(bag.said, "level0_magnification") or _magnification(bag.mpp)
    target = files.number(bag.said, "target_magnification") or _magnification(bag.tile_mpp)
    it.need_tiles(level0 and target)
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
    files.write_hdf5(job / "patches" / f"{it.slide_id}_patches.h5", places, {"coords": said}, 1)
    both = {"features": about, "coords": said}
    files.write_hdf5(here / f"{it.slide_id}.h5", {"features": rows, **places}, both, 1)


def _magnification(mpp: float | None) -> float | None:
    """What TRIDENT calls a scale; None where it has no word for it."""
    return next((float(word) for under, word in MAGNIFICATIONS if mpp and mpp < under), None)


DIM = 1_024  # columns that CLAM takes unless it is told
SMALL = 8  # tiles that its instance loss draws


def _write_clam(it: Outgoing) -> None:
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


def _tables_clam(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write labels, and splits, of folds one table each; say what CLAM does with such Slides."""
    columns = ["patient_id", "slide_id", "value"]
    files.write_csv(out / "labels.csv", ["case_id", "slide_id", "label"], cohort[columns].rows())
    sides = dict(cohort.select("slide_id", "split").iter_rows())
    folds = sorted({side for side in sides.values() if side.isdecimal()}, key=int)
    for n, fold in enumerate(folds or ["test"]):  # all else is to train on
        parts: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for slide_id, side in sides.items():
            parts[{"validation": "val", fold: "test"}.get(side, "train")].append(slide_id)
        rows = [[n_row, *row] for n_row, row in enumerate(zip_longest(*parts.values()))]
        files.write_csv(out / "splits" / f"splits_{n}.csv", ["", *parts], rows)
    digits = [name for name in cohort["slide_id"] if name.isdecimal()]
    small, dim = int((cohort["n_tiles"] < SMALL).sum()), cohort["dim"][0]
    notes = [
        (dim != DIM, f"CLAM takes {DIM:,} columns unless told: pass --embed_dim {dim}"),
        (
            digits,
            f"{counted(len(digits), 'slide_id')} of digits alone, of which CLAM's tables lose "
            f"leading zeros, the first is {min(digits, default='')!r}: it looks for another file",
        ),
        (
            small,
            f"{counted(small, 'slide')} of under {SMALL} tiles, on which CLAM's instance loss "
            "fails: drop such slides, or train without it",
        ),
    ]
    return [note for is_so, note in notes if is_so]


VERSION, WITHOUT_PIXELS = "2.1.0", "2.0.0"  # a reader refuses what is newer than itself


def _write_stamp(it: Outgoing) -> None:
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


def _tables_stamp(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write Patients with their label, and their Slides; Patients of several labels are told."""
    plain = cohort.filter(pl.col("value").n_unique().over("patient_id") == 1)
    several = cohort["patient_id"].n_unique() - plain["patient_id"].n_unique()
    labels = plain.select("patient_id", "value").unique(maintain_order=True).rows()
    slides = [(patient, f"{name}.h5") for patient, name in plain["patient_id", "slide_id"].rows()]
    files.write_csv(out / "clini.csv", ["PATIENT", target], labels)
    files.write_csv(out / "slide.csv", ["PATIENT", "FILENAME"], slides)
    if not several:
        return []
    return [
        f"{counted(several, 'patient')} with cases of different labels, and STAMP takes one a "
        "patient: left out of clini.csv and slide.csv"
    ]


NOW, META = "tile_embeddings", ".meta.json"
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


def _write_slide2vec(it: Outgoing) -> None:
    """Write features, places, and what stands beside both, as slide2vec 5 and later read them."""
    bag = it.bag
    it.need_tiles(bag.tile_mpp)
    coords, rows, order = it.sorted(0, 1)
    n, facts = len(rows), _facts(it, float(bag.tile_mpp or 0))
    places = f"tiles/{it.slide_id}.coordinates"
    nested = {name: {k: facts.get(k) for k in keys.split()} for name, keys in SECTIONS.items()}
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
    files.write_tensor(it.out / NOW / f"{it.slide_id}.pt", rows)
    flat = {key: facts.get(key) for key in OF_FEATURES.split()}
    files.write_json(it.out / NOW / f"{it.slide_id}{META}", flat)


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


def _tables_slide2vec(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
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


def _write_parquet(it: Outgoing) -> None:
    """Write one Slide: unit, x, y (null where nobody knows them), tissue, embedding."""
    coords, rows, order = it.sorted(1, 0)
    placed = it.bag.unit != "row"
    frame = pl.DataFrame(
        {
            "x": coords[:, 0] if placed else [None] * len(rows),
            "y": coords[:, 1] if placed else [None] * len(rows),
            "tissue": None if it.bag.tissue is None else it.bag.tissue[order],
            "embedding": rows,
        },
        schema_overrides={"x": pl.Int32, "y": pl.Int32, "tissue": pl.Float32},
    ).with_columns(unit=pl.lit(it.bag.unit if placed else None, pl.String))
    with write_beside(it.out / "tiles" / f"{it.slide_id}.parquet") as work:
        frame.write_parquet(work)


def _tables_parquet(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write the Slides of the Cohort: names, split, the Target's value, geometry."""
    with write_beside(out / "slides.parquet") as work:
        cohort.with_columns(target=pl.lit(target)).write_parquet(work)
    return []


Tables = Callable[[Path, pl.DataFrame, str], list[str]]  # folder, Cohort, Target; gives notes
WRITERS: Mapping[str, tuple[Callable[[Outgoing], None], Tables]] = {
    "trident": (_write_trident, lambda *_: [OF_TORCHMIL]),
    "clam": (_write_clam, _tables_clam),
    "stamp": (_write_stamp, _tables_stamp),
    "slide2vec": (_write_slide2vec, _tables_slide2vec),
    "parquet": (_write_parquet, _tables_parquet),
}
