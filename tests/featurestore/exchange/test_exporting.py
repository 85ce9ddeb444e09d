"""What is exported is as the other tools' formats say, read by h5py, torch and json alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
import torch
from builders.embedding_stores import build, freeze, planted
from builders.foreign_files import grid, stamp, trident

from featurestore import FeatureStore, export_cohort, import_features
from featurestore.config import ExportConfig, ImportConfig
from featurestore.errors import ConfigError
from featurestore.types import ArrayIds, Label, RecordedLabel, Target

pytestmark = pytest.mark.usefixtures("one_reader")
DIM, MPP, PX, PX0 = 24, 0.5, 224, 896
ENCODER = "planted"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Twelve Slides of 3 to 40 tiles of 2.0 microns per pixel, on slides of 0.5."""
    embeddings, values = planted(12, [3, *[40] * 11], DIM)
    made = build(tmp_path_factory.mktemp("store"), embeddings, values)
    freeze(made, "all")
    freeze(made, "folds", "folds")
    return made


def bags(store: FeatureStore, cohort: str = "all") -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """slide_id, coords and rows by place, as the store has them."""
    for row in store.bags(cohort).iter_rows(named=True):
        ids = ArrayIds(row["slide_key"], row["tiling_id"], row["encoder_id"])
        coords, rows = store.tiles(*ids[:2])["coords"], store.embeddings(*ids)
        order = np.lexsort((coords[:, 0], coords[:, 1]))
        yield row["slide_id"], coords[order], rows[order]


def by_place(coords: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    return coords[order], rows[order]


def same(read: tuple[np.ndarray, np.ndarray], coords: np.ndarray, rows: np.ndarray) -> None:
    for one, other in zip(by_place(*read), (coords, rows), strict=True):
        np.testing.assert_array_equal(one, other)


def give(store: FeatureStore, tool: Any, out: Path, cohort: str = "all") -> str:
    told = export_cohort(store, ExportConfig(tool=tool, cohort=cohort, out=out))
    assert not told.failures
    return told.text()


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_trident_reads_both_files(store: FeatureStore, tmp_path: Path) -> None:
    assert "torchmil" in give(store, "trident", tmp_path)
    job = tmp_path / f"5x_{PX}px_0px_overlap"
    for slide, coords, rows in bags(store):
        with (
            h5py.File(job / "patches" / f"{slide}_patches.h5") as patches,
            h5py.File(job / f"features_{ENCODER}" / f"{slide}.h5") as features,
        ):
            same((features["coords"][:], features["features"][:]), coords, rows)
            np.testing.assert_array_equal(patches["coords"][:], features["coords"][:])
            assert features["features"].attrs["encoder"] == ENCODER
            for one in (patches["coords"], features["coords"]):
                said = one.attrs
                assert one.dtype == np.int64
                assert (said["patch_size"], said["patch_size_level0"]) == (PX, PX0)
                assert (said["level0_magnification"], said["target_magnification"]) == (20, 5)
                assert (said["overlap"], said["name"]) == (0, slide)
                assert (said["level0_width"], said["level0_height"]) == (9_000, 4_000)
                assert said["patch_size_level0"].dtype == np.float64


def test_clam_reads_tensors_tables_and_splits(store: FeatureStore, tmp_path: Path) -> None:
    told = give(store, "clam", tmp_path)
    assert f"--embed_dim {DIM}" in told
    assert "1 slide of under 8 tiles" in told
    here = tmp_path / f"features_{ENCODER}"
    for slide, coords, rows in bags(store):
        with h5py.File(here / "h5_files" / f"{slide}.h5") as file:
            same((file["coords"][:], file["features"][:]), coords, rows)
            assert (file["features"].dtype, file["coords"].dtype) == (np.float32, np.int32)
            held = torch.load(here / "pt_files" / f"{slide}.pt", weights_only=True)
            assert held.dtype == torch.float32
            np.testing.assert_array_equal(held.numpy(), file["features"][:])
        with h5py.File(tmp_path / "patches" / f"{slide}.h5") as file:
            same((file["coords"][:], rows), coords, rows)
            said = file["coords"].attrs
            assert said["patch_size"] * said["downsample"][0] == PX0
            assert (file["coords"].dtype, said["patch_level"]) == (np.int64, 0)
    frozen = {row["slide_id"]: row for row in store.bags("all").iter_rows(named=True)}
    labels = table(tmp_path / "labels.csv")
    assert labels[0] == ["case_id", "slide_id", "label"]
    for patient, slide, value in labels[1:]:
        assert (patient, float(value)) == (frozen[slide]["patient_id"], frozen[slide]["value"])
    rows = table(tmp_path / "splits/splits_0.csv")
    assert rows[0] == ["", "train", "val", "test"]
    for column, side in ((1, "train"), (3, "test")):
        ours = {slide for slide, row in frozen.items() if row["split"] == side}
        assert {row[column] for row in rows[1:] if row[column]} == ours


def test_clam_has_a_table_of_splits_a_fold(store: FeatureStore, tmp_path: Path) -> None:
    give(store, "clam", tmp_path, "folds")
    splits = [table(tmp_path / f"splits/splits_{n}.csv")[1:] for n in range(5)]
    tested = [row[3] for rows in splits for row in rows if row[3]]
    assert sorted(tested) == sorted(store.bags("folds")["slide_id"])
    assert all(
        len({*(r[1] for r in rows)} & {*(r[3] for r in rows)} - {""}) == 0 for rows in splits
    )


def test_stamp_reads_microns_and_half_precision(store: FeatureStore, tmp_path: Path) -> None:
    give(store, "stamp", tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert folder.name.startswith(f"{ENCODER}-")
    for slide, coords, rows in bags(store):
        with h5py.File(folder / f"{slide}.h5") as file:
            same((file["coords"][:] / MPP, file["feats"][:]), coords, rows)
            assert (file["feats"].dtype, file["coords"].dtype) == (np.float16, np.float32)
            assert file["feats"].chunks is None
            said = dict(file.attrs)
            code = folder.name[-8:]
            assert said == {
                "extractor": ENCODER,
                "unit": "um",
                "tile_size": 448.0,
                "tile_size_um": 448.0,
                "tile_size_px": PX,
                "stamp_version": "2.1.0",
                "code_hash": code,
                "feat_type": "tile",
            }
    assert table(tmp_path / "clini.csv")[0] == ["PATIENT", "cellularity"]
    assert table(tmp_path / "slide.csv")[:2] == [["PATIENT", "FILENAME"], ["P-0000", "S-0000.h5"]]


def test_slide2vec_has_every_key_and_no_other(
    store: FeatureStore, tmp_path: Path, shared: Path
) -> None:
    give(store, "slide2vec", tmp_path)
    theirs = shared / "data/exchange/slide2vec/v7.1.4"
    name = "CASE-02_S1.A"
    for slide, coords, rows in bags(store):
        with np.load(tmp_path / f"tiles/{slide}.coordinates.npz") as held:
            assert set(held) == {"tile_index", "x", "y", "tissue_fractions"}
            places = np.stack([held["x"], held["y"]], axis=1)
            np.testing.assert_array_equal(held["tile_index"], np.arange(len(rows)))
            assert (np.diff(held["x"]) >= 0).all()  # x, then y
        features = torch.load(tmp_path / f"tile_embeddings/{slide}.pt", weights_only=True)
        same((places, features.numpy()), coords, rows)
    for of, file in (("tiles", "{}.coordinates.meta.json"), ("tile_embeddings", "{}.meta.json")):
        ours = json.loads((tmp_path / of / file.format("S-0001")).read_text())
        said = json.loads((theirs / of / file.format(name)).read_text())
        assert ours.keys() == said.keys()
        for key, value in said.items():
            if isinstance(value, dict) and key != "compatibility":
                assert ours[key].keys() == value.keys()
    meta = json.loads((tmp_path / "tiles/S-0001.coordinates.meta.json").read_text())
    assert meta["slide"] == {
        "base_spacing_um": 0.5,
        "dimensions": [9_000, 4_000],
        "level_downsamples": None,
    }
    assert (meta["tiling"]["tile_size_lv0"], meta["tiling"]["requested_spacing_um"]) == (PX0, 2.0)


@pytest.mark.parametrize("tool", ["trident", "clam", "stamp", "slide2vec", "parquet"])
def test_files_of_an_earlier_export_are_told(
    store: FeatureStore, tmp_path: Path, tool: str
) -> None:
    assert "still has" not in give(store, tool, tmp_path)
    assert "still has" not in give(store, tool, tmp_path)
    old = next(path for path in sorted(tmp_path.rglob("*S-0003*")) if path.is_file())
    left = old.with_name(f"retired{old.suffix}")
    left.write_text("of a slide that is out")
    told = give(store, tool, tmp_path)
    assert f"of an earlier export {tmp_path} still has 1, the first is {left}" in told


def test_parquet_is_for_all_others(store: FeatureStore, tmp_path: Path) -> None:
    give(store, "parquet", tmp_path)
    for slide, coords, rows in bags(store):
        frame = pl.read_parquet(tmp_path / "tiles" / f"{slide}.parquet")
        same((frame["x", "y"].to_numpy(), np.array(frame["embedding"].to_list())), coords, rows)
    slides = pl.read_parquet(tmp_path / "slides.parquet")
    assert slides["slide_id", "value", "split"].rows() == (
        store.bags("all")["slide_id", "value", "split"].rows()
    )


def test_fractions_of_microns_come_back_where_nobody_says_the_scale(tmp_path: Path) -> None:
    """Of slides of any scale: what STAMP wrote stands there again, to the last digit."""
    store = FeatureStore.create(tmp_path / "store")
    for n, scale in enumerate((1.0, 0.2508, 0.4942, 1 / 3)):
        rows = np.random.default_rng(n).normal(size=(20, 5)).astype(np.float32)
        stamp()(tmp_path / "of", f"S{n}", rows, grid(20, n) * scale)
    import_features(store, ImportConfig(tool="stamp", path=tmp_path / "of"))
    store.record(_label(n) for n in range(4))
    freeze(store, "all", "random")
    give(store, "stamp", tmp_path / "back")
    for n in range(4):
        (last,) = (tmp_path / "back").rglob(f"S{n}.h5")
        with h5py.File(tmp_path / f"of/uni2-0123abcd/some/S{n}.h5") as ours, h5py.File(last) as it:
            coords, features = by_place(ours["coords"][:], ours["feats"][:])
            back = by_place(it["coords"][:], it["feats"][:])
            np.testing.assert_allclose(back[0], coords, rtol=0, atol=0.001)
            np.testing.assert_array_equal(back[1], features.astype(np.float16))


def _label(n: int) -> RecordedLabel:
    return Label(
        case_id=f"S{n}", target="cellularity", value=20.0 * n, low=0.0, high=100.0,
        method="human", status="single",
    ).recorded(Target())  # fmt: skip


def test_a_slide_without_scale_goes_where_no_scale_is_asked_for(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    rows = np.random.default_rng(0).normal(size=(4, 20, 5)).astype(np.float32)
    for n in range(4):
        trident()(tmp_path / "job", f"S{n}", rows[n], grid(20, n))
    import_features(store, ImportConfig(tool="trident", path=tmp_path / "job"))
    store.record(_label(n) for n in range(4))
    freeze(store, "all", "random")
    for tool, why in (("stamp", "no mpp"), ("slide2vec", "no mpp")):
        told = export_cohort(store, ExportConfig(tool=tool, cohort="all", out=tmp_path / tool))
        assert (told.slides, len(told.failures)) == (0, 4)
        assert why in told.text()
    give(store, "clam", tmp_path / "clam")
    give(store, "trident", tmp_path / "back")
    for n in range(4):  # there and back
        of = "5x_224px_0px_overlap/features_uni_v1"
        with (
            h5py.File(tmp_path / "job" / of / f"S{n}.h5") as first,
            h5py.File(tmp_path / "back" / of / f"S{n}.h5") as last,
        ):
            coords, features = by_place(first["coords"][:], first["features"][:])
            same((last["coords"][:], last["features"][:]), coords, features.astype(np.float16))
            said = {k: v for k, v in first["coords"].attrs.items() if k != "savetodir"}
            assert {k: last["coords"].attrs[k] for k in said} == said


@pytest.mark.parametrize("inner", [".", "ledger/labels", "runs/../new"])
def test_nothing_is_exported_into_the_store(store: FeatureStore, inner: str) -> None:
    config = ExportConfig(tool="parquet", cohort="all", out=store.root / inner)
    with pytest.raises(ConfigError, match="is in the store"):
        export_cohort(store, config)


@pytest.mark.parametrize("mpp", [0.0, 0.04, 101.0, 250.0])
def test_a_scale_that_no_slide_has_is_refused(mpp: float) -> None:
    with pytest.raises(ConfigError, match=r"mpp must be at least 0\.05 and at most 100"):
        ImportConfig(tool="trident", path=Path(), mpp=mpp)
