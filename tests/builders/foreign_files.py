"""Files of embeddings as TRIDENT, CLAM, STAMP and slide2vec lay them out, by version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

MPP, PX, PX0 = 0.5, 224, 896  # of a slide scanned at 20x, tiles at 2 microns per pixel
UM = PX0 * MPP
Write = Callable[[Path, str, np.ndarray, np.ndarray], Path]  # folder, slide, rows, level-0 coords


def grid(n: int, seed: int = 0) -> np.ndarray:
    """N level-0 corners on a grid, int64 (N, 2), in no order."""
    at = np.random.default_rng(seed).permutation(max(4, 3 * n))[:n]
    return np.stack([at % 20, at // 20], axis=1) * PX0


def dataset(group: Any, key: str, data: np.ndarray, rows: int | None = None, **said: Any) -> None:
    """One dataset, in chunks of some rows or in one piece, with attributes."""
    if rows is None or data.size == 0:
        made = group.create_dataset(key, data=data)
    else:
        made = group.create_dataset(
            key, data=data, chunks=(rows, *data.shape[1:]), maxshape=(None, *data.shape[1:])
        )
    made.attrs.update(said)


def trident(version: str = "0.3", encoder: str = "uni_v1") -> Write:
    """0.1, 0.2.2 or 0.3; the patches beside."""

    def write(folder: Path, slide: str, rows: np.ndarray, coords: np.ndarray) -> Path:
        job = folder / f"5x_{PX}px_0px_overlap"
        side = float if version == "0.3" else int
        said = {
            "patch_size": PX,
            "patch_size_level0": side(PX0),
            "level0_magnification": 20,
            "target_magnification": side(5),
            "overlap": 0,
            "name": slide,
            "savetodir": "/of/another/machine",
        }
        if version != "0.1":
            said |= {"level0_width": 18_000, "level0_height": 50_000}
        places = coords.astype(np.int64)
        if not len(coords) and version == "0.1":
            places = np.empty((0,))
        path, patches = job / f"features_{encoder}" / f"{slide}.h5", job / "patches"
        for parent in (path.parent, patches):
            parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(patches / f"{slide}_patches.h5", "w") as file:
            dataset(file, "coords", places, 1, **said)
        with h5py.File(path, "w") as file:
            of_rows = {} if version == "0.1" else {"encoder": encoder}
            dataset(file, "features", rows, 1, name=slide, **of_rows)
            dataset(file, "coords", places, 1, **said)
        return path

    return write


def clam(patches: bool = True, tensor: bool = True, hdf5: bool = True) -> Write:
    """With or without the patches, the tensor and the HDF5 file."""

    def write(folder: Path, slide: str, rows: np.ndarray, coords: np.ndarray) -> Path:
        if patches:
            (folder / "patches").mkdir(parents=True, exist_ok=True)
            with h5py.File(folder / "patches" / f"{slide}.h5", "w") as file:
                said = {"patch_size": PX, "patch_level": 1, "downsample": (PX0 / PX, PX0 / PX)}
                dataset(file, "coords", coords.astype(np.int64), 1, save_path="/else", **said)
        path = folder / "features_uni_v1" / "h5_files" / f"{slide}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        pt = path.parent.parent / "pt_files" / f"{slide}.pt"
        if tensor:
            pt.parent.mkdir(exist_ok=True)
            torch.save(torch.from_numpy(rows.copy()), pt)
        if hdf5:
            with h5py.File(path, "w") as file:
                dataset(file, "features", rows, 32)
                dataset(file, "coords", coords.astype(np.int32), 32)
        return path if hdf5 else pt

    return write


def stamp(version: str = "2.1") -> Write:
    """1, 2.0 or 2.1; the first drops augmented rows and says its scale in info.json alone."""

    def write(folder: Path, slide: str, rows: np.ndarray, coords: np.ndarray) -> Path:
        path = folder / "uni2-0123abcd" / "some" / f"{slide}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        um = (coords * MPP).astype(np.float32)
        with h5py.File(path, "w") as file:
            if version == "1":
                info = {"microns": UM, "patch_size": PX}
                (path.parent.parent / "info.json").write_text(json.dumps(info))
                file["feats"] = np.concatenate([rows, rows[:1] + 1])
                places = np.rint(coords * (PX / PX0)).astype(np.int64)
                file["coords"] = np.concatenate([places, places[:1]])
                file["augmented"] = np.arange(len(file["feats"])) >= len(rows)
                file.attrs["extractor"] = "uni2"
                return path
            file["feats"], file["coords"] = rows, um
            file.attrs.update(extractor="uni2", unit="um", stamp_version=f"{version}.0")
            sizes = {"tile_size_um": UM, "tile_size_px": PX, "feat_type": "tile"}
            file.attrs.update({"tile_size": UM} if version == "2.0" else sizes)
        return path

    return write


def slide2vec(version: int = 7, form: str = "pt") -> Write:
    """2, 4 or 7; rows in a tensor or, by number and shuffled, in an archive of NumPy."""

    def write(folder: Path, slide: str, rows: np.ndarray, coords: np.ndarray) -> Path:
        n = len(rows)
        at, places = folder / ("features" if version == 2 else "tile_embeddings"), folder / "tiles"
        places = folder / "coordinates" if version == 2 else folder / "tiles"
        for parent in (at, places):
            parent.mkdir(parents=True, exist_ok=True)
        path = at / f"{slide}.{form}"
        if version == 2:
            kinds = [("x", "<i8"), ("y", "<i8"), ("target_tile_size", "<i8")]
            kinds += [("target_spacing", "<f8"), ("tile_size_lv0", "<i8")]
            table = np.zeros(n, kinds)
            table["x"], table["y"] = coords[:, 0], coords[:, 1]
            table["target_tile_size"], table["target_spacing"] = PX, 2.0
            table["tile_size_lv0"] = PX0
            np.save(places / f"{slide}.npy", table)
        else:
            meta = {"encoder_name": "uni2", "feature_dim": rows.shape[1], "num_tiles": n}
            (at / f"{slide}.meta.json").write_text(json.dumps(meta))
            sizes = {"requested_tile_size_px": PX, "requested_spacing_um": 2.0}
            sizes["tile_size_lv0"] = PX0
            of_slide = {"base_spacing_um": MPP, "dimensions": [18_000, 50_000]}
            space = {"coordinate_space": "level0_px"}
            nested = {"slide": of_slide, "tiling": sizes, "artifact": space, "filtering": {}}
            flat = {"target_tile_size_px": PX, "target_spacing_um": 2.0, "tile_size_lv0": PX0}
            said = nested if version == 7 else flat
            (places / f"{slide}.coordinates.meta.json").write_text(json.dumps(said))
            held = {"tile_index": np.arange(n, dtype=np.int32), "x": coords[:, 0]}
            held |= {"y": coords[:, 1], "tissue_fractions": tissue(coords)}
            if n:
                np.savez(places / f"{slide}.coordinates.npz", **held)
        if not n and version != 2:
            return at / f"{slide}.meta.json"
        if form == "pt":
            torch.save(torch.from_numpy(rows.copy()), path)
        else:
            mixed = np.random.default_rng(1).permutation(n)
            np.savez(path, features=rows[mixed], tile_index=mixed)
        return path

    return write


def tissue(coords: np.ndarray) -> np.ndarray:
    """A share of tissue that hangs on the place, so that the order can be checked."""
    return ((coords.sum(axis=1) % 1_001) / 1_001).astype(np.float32)


EVERY: dict[str, tuple[str, Write]] = {
    "trident 0.1": ("trident", trident("0.1")),
    "trident 0.2.2": ("trident", trident("0.2.2")),
    "trident 0.3": ("trident", trident("0.3")),
    "clam": ("clam", clam()),
    "clam without patches": ("clam", clam(patches=False)),
    "stamp 1": ("stamp", stamp("1")),
    "stamp 2.0": ("stamp", stamp("2.0")),
    "stamp 2.1": ("stamp", stamp("2.1")),
    "slide2vec 2": ("slide2vec", slide2vec(2)),
    "slide2vec 4, npz": ("slide2vec", slide2vec(4, "npz")),
    "slide2vec 7": ("slide2vec", slide2vec(7)),
    "slide2vec 7, npz": ("slide2vec", slide2vec(7, "npz")),
}
