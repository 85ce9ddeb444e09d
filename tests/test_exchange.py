"""Features of other tools and a CSV of labels make a model, no slide touched: as README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.embedding_stores import planted
from builders.foreign_files import grid, trident
from click.testing import CliRunner

import cli
from featurestore import FeatureStore


def run(line: str, store: Path, code: int = 0) -> str:
    words = [*line.removeprefix("trephine ").split(" "), "--store", str(store)]
    result = CliRunner().invoke(cli.main, words, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty-four slides' features as TRIDENT writes them, and a CSV of labels."""
    monkeypatch.chdir(tmp_path)
    embeddings, values = planted(24, 20, 16)
    for n, rows in enumerate(embeddings):
        trident()(tmp_path / "job", f"S{n:02}", rows.astype(np.float32), grid(20, n))
    lines = [f"S{n:02},{value:.1f}" for n, value in enumerate(values)]
    (tmp_path / "labels.csv").write_text("\n".join(["case_id,value", *lines]))
    return tmp_path


def test_features_of_trident_and_a_csv_of_labels_make_a_model(job: Path) -> None:
    store = job / "store"
    run("trephine init", store)
    assert "24 bags imported, 480 tiles" in run("trephine import trident job --mpp 0.25", store)
    run("trephine label --table labels.csv", store)
    run("trephine cohort create all --where true --split random", store)
    told = run("trephine train all --steps 200", store)
    r2 = float(told.split("test R2")[1].split()[0])
    assert r2 > 0.5
    assert "24 slides" in run("trephine export clam all -o out", store)
    assert len(list((job / "out").glob("features_*/pt_files/*.pt"))) == 24


def test_one_bad_file_leaves_with_3_and_a_manifest_names_slides(job: Path) -> None:
    (job / "job/5x_224px_0px_overlap/features_uni_v1/S07.h5").write_bytes(b"no")
    rows = [f"slides/S{n:02}.svs,K{n},{'' if n == 3 else '0.5'}" for n in range(24)]
    (job / "manifest.csv").write_text("\n".join(["path,slide_id,mpp", *rows]))
    store = job / "store"
    run("trephine init", store)
    told = run("trephine import trident job --manifest manifest.csv --mpp 0.25", store, 3)
    assert "S07.h5 cannot be read" in told
    known = FeatureStore(store).sql("select slide_id, mpp from bags order by slide_id")
    assert dict(known.iter_rows()) == {
        f"K{n}": 0.25 if n == 3 else 0.5 for n in range(24) if n != 7
    }
    (job / "ids.csv").write_text("slide_id,patient_id\nK1,P\nK2,P\n")
    assert "with new metadata" in run("trephine import trident job --manifest ids.csv", store, 3)
    (job / "none.csv").write_text("patient_id\nP\n")
    assert "neither a column path nor slide_id" in run(
        "trephine import trident job --manifest none.csv", store, 1
    )
