"""A foreign file that is damaged, or contradicts another, fails alone and is told."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from builders.foreign_bags import bag_of, by_place, cut, made
from builders.foreign_files import MPP, clam, grid, slide2vec, stamp, trident

from featurestore import FeatureStore, import_features, overview
from featurestore.config import ImportConfig
from featurestore.errors import StoreDamaged


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(5_000))


def rewritten(change: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)

    return do


def put(name: str, data: object) -> Callable[[Path], None]:
    def change(file: h5py.File) -> None:
        said = dict(file[name].attrs) if name in file else {}
        file.pop(name, None)
        file[name] = data
        file[name].attrs.update(said)

    return rewritten(change)


def unwritten(path: Path) -> None:
    """The features as a killed process leaves them: with a shape, and no values."""
    with h5py.File(path, "r+") as file:
        shape = file["features"].shape
        del file["features"]
        file.create_dataset("features", shape, "f4", chunks=(1, shape[1]))


def locked(path: Path) -> None:
    path.with_name(path.name + ".lock").touch()


def too_large(path: Path) -> None:
    put("features", np.full((20, 8), 7e4, np.float32))(path)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def of_a_smaller_slide(path: Path) -> None:
    for file in (path, *path.parents[1].glob(f"patches/{path.stem}_patches.h5")):
        with h5py.File(file, "r+") as opened:
            opened["coords"].attrs.update({"level0_width": 100, "level0_height": 100})


TRIDENT_FAULTS = {
    "outside": (of_a_smaller_slide, "outside of its slide of 100 x 100 px"),
    "pipe": (pipe, "is a pipe"),
    "cut": (cut, "cannot be read"),
    "empty file": (emptied, "cannot be read"),
    "garbage": (garbage, "cannot be read"),
    "never written": (unwritten, "never written"),
    "locked": (locked, "lock"),
    "other number of rows": (put("features", made(19)), "19 rows"),
    "other places than patches": (put("coords", grid(20, seed=9)), "patches"),
    "of a whole slide": (put("features", made(20)[0]), "whole slide"),
    "a vector in rows": (put("features", made(1)), "1 rows"),
    "texts": (put("features", "none"), "numbers"),
    "no features": (rewritten(lambda file: file.pop("features")), "no 'features'"),
    "NaN": (put("features", np.full((20, 8), np.nan)), "no numbers"),
    "beyond float16": (too_large, "float16"),
    "another width": (put("features", made(dim=7)), "7 columns"),
    "places that are none": (put("coords", np.full((20, 2), np.nan)), "other"),
}


def test_a_bad_file_is_a_failure_and_stops_nothing(new: FeatureStore, tmp_path: Path) -> None:
    job = tmp_path / "job"
    config = ImportConfig(tool="trident", path=job)
    paths = {}
    for name in (*TRIDENT_FAULTS, "good", "fine", "well"):
        paths[name] = trident()(job, name, made(seed=len(name)), grid(20))
    for name, (damage, _) in TRIDENT_FAULTS.items():
        damage(paths[name])
    told = import_features(new, config)
    assert set(new.sql("from bags")["slide_id"]) == {"fine", "good", "well"}
    failed = {Path(path).name.split(".")[0]: said for path, said in told.failures.items()}
    assert failed.keys() == TRIDENT_FAULTS.keys()
    for name, (_, words) in TRIDENT_FAULTS.items():
        assert words in failed[name]
    rows = new.sql("select item, reason from failures where stage = 'import'").rows()
    assert dict(rows) == told.failures
    paths["locked"].with_name("locked.h5.lock").unlink()
    paths["pipe"].unlink()
    for name in TRIDENT_FAULTS:
        trident()(job, name, made(), grid(20))
    assert import_features(new, config).failures == {}
    assert new.sql("select item from failures").rows() in ([], [(f"{paths['locked']}.lock",)])
    assert new.sql("from bags").height == len(paths)


def test_what_was_imported_and_is_damaged_is_taken_in_again_by_import(
    new: FeatureStore, tmp_path: Path
) -> None:
    config = ImportConfig(tool="clam", path=tmp_path / "of")
    for seed, name in enumerate(("S", "T")):
        clam()(tmp_path / "of", name, made(seed=seed), grid(20))
    import_features(new, config)
    for group in (new.root / "slides").iterdir():
        chunk = next(group.glob("*/embeddings/*/c/0/0"))
        chunk.write_bytes(bytes(chunk.stat().st_size))
        with pytest.raises(StoreDamaged, match="verify --repair"):
            new.embeddings(group.stem)
    how = "trephine import clam PATH, with features_uni_v1 in it"
    assert (
        f"2 arrays will be taken in again by: {how}"
        in FeatureStore.verify(new.root, repair=True).text()
    )
    assert overview.status(new).data["next"] == how
    assert import_features(new, config).imported == 2
    assert FeatureStore.verify(new.root).text().endswith("whole")


def test_code_in_a_tensor_file_is_never_run(new: FeatureStore, tmp_path: Path) -> None:
    class Malice:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/ran",)

    path = clam(hdf5=False)(tmp_path / "of", "S", made(), grid(20))
    clam(hdf5=False)(tmp_path / "of", "T", made(), grid(20))
    torch.save({"features": Malice()}, path)
    path.with_name("U.pt").write_bytes(pickle.dumps(Malice()))
    told = import_features(new, ImportConfig(tool="clam", path=tmp_path / "of"))
    assert not (tmp_path / "ran").exists()
    assert {Path(one).name for one in told.failures} == {"S.pt", "U.pt"}
    assert (told.imported, told.unplaced) == (1, 1)


def test_a_flipped_byte_of_a_tensor_is_seen(new: FeatureStore, tmp_path: Path) -> None:
    path = slide2vec()(tmp_path / "of", "S", made(), grid(20))
    raw = bytearray(path.read_bytes())
    at = raw.find(made().tobytes()[:16])
    raw[at + 5] ^= 1
    path.write_bytes(raw)
    told = import_features(new, ImportConfig(tool="slide2vec", path=tmp_path / "of"))
    assert "damaged" in told.text()


def test_stamp_1_without_its_scale_is_refused(new: FeatureStore, tmp_path: Path) -> None:
    path = stamp("1")(tmp_path / "of", "S", made(), grid(20))
    (path.parent.parent / "info.json").unlink()
    told = import_features(new, ImportConfig(tool="stamp", path=tmp_path / "of", mpp=MPP))
    assert "info.json" in told.text()


def tensor_of(rows: np.ndarray) -> Callable[[Path], None]:
    return lambda path: torch.save(torch.from_numpy(rows.copy()), path)


def bfloat16_of(rows: np.ndarray) -> Callable[[Path], None]:
    return lambda path: torch.save(torch.from_numpy(rows.copy()).bfloat16(), path)


TWINS: dict[str, tuple[Callable[[Path], None], str]] = {
    "same": (tensor_of(made()), ""),
    "in another order": (tensor_of(made()[::-1]), ""),
    "in float16": (tensor_of(made(dtype="float32").astype("float16")), ""),
    "in bfloat16": (bfloat16_of(made()), ""),
    "in bfloat16, in another order": (bfloat16_of(made()[::-1]), ""),
    "in bfloat16, another value": (bfloat16_of(made() + np.eye(20, 8, dtype="float32")), "8 are"),
    "fewer": (tensor_of(made()[:-1]), "1 are not among the 19"),
    "more": (tensor_of(np.vstack([made(), made()[:2]])), "among the 22"),
    "another value": (tensor_of(made() + np.eye(20, 8, dtype="float32")), "8 are not among"),
    "another width": (tensor_of(made(dim=7)), "20 are not among"),
    "garbage": (garbage, "garbage.pt"),
}


def test_a_slide_whose_tensor_is_unlike_its_hdf5_is_refused_alone(
    new: FeatureStore, tmp_path: Path
) -> None:
    for name, (change, _) in TWINS.items():
        path = clam()(tmp_path / "of", name, made(), grid(20))
        change(path.parent.parent / "pt_files" / f"{name}.pt")
    told = import_features(new, ImportConfig(tool="clam", path=tmp_path / "of"))
    failed = {Path(path).stem: said for path, said in told.failures.items()}
    assert failed.keys() == {name for name, (_, words) in TWINS.items() if words}
    assert all(words in failed[name] for name, (_, words) in TWINS.items() if words)
    good = TWINS.keys() - failed.keys()
    assert set(new.sql("from bags")["slide_id"]) == good
    for name in good:
        coords, rows, _ = bag_of(new, name)
        theirs = by_place(grid(20), made().astype("float16"))
        for ours, expected in zip(by_place(coords, rows), theirs, strict=True):
            np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("tool", ["trident", "clam"])
def test_a_slide_with_places_that_no_slide_has_is_refused_alone(
    tool: str, new: FeatureStore, tmp_path: Path
) -> None:
    folder, rng = tmp_path / "of", np.random.default_rng(0)
    for n, wrong in enumerate((-1, -896, 0.5, 1e-6, 2**31, -0.25)):
        for name in (f"bad{n}", f"good{n}"):
            write = trident() if tool == "trident" else clam(patches=False)
            path, at = write(folder, name, made(seed=n), grid(20)), grid(20).astype(float)
            if name.startswith("bad"):
                at[rng.integers(20), rng.integers(2)] = wrong
                for file in folder.rglob(f"{name}*.h5"):
                    put("coords", at)(file)
    told = import_features(new, ImportConfig(tool=tool, path=folder))
    assert {Path(one).name.split(".")[0] for one in told.failures} == {f"bad{n}" for n in range(6)}
    assert all("no places in a slide" in said for said in told.failures.values())
    assert set(new.sql("from bags")["slide_id"]) == {f"good{n}" for n in range(6)}
    assert path.is_file()
