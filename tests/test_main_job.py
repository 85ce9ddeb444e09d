"""The main job through the command line, on a small archive, each stage real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zarr
from click.testing import CliRunner, Result

import cli
from featurestore import FeatureStore

RANDOM = ("--weights", "random", "--encoder", "timm:test_vit")


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def job(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Everything up to a trained Run; the slides are away before training."""
    folder = tmp_path_factory.mktemp("job")
    slides = folder / "archive"
    shutil.copytree(archive, slides)
    store = folder / "store"
    manifest = slides / "manifest.csv"
    out = {"folder": folder, "store": store, "manifest": manifest}
    run("init", "--store", store)
    out["plan"] = json.loads(run("plan", manifest, *RANDOM, "--store", store, "--json").stdout)
    out["ingest"] = run("ingest", manifest, "--store", store, *RANDOM, "--json", code=3)
    out["again"] = run("ingest", manifest, "--store", store, *RANDOM, "--json", code=3)
    out["label"] = run("label", slides / "reports.csv", "--parser", "rules", "--store", store)
    (slides / "slides").rename(folder / "gone")
    out["cohort"] = run("cohort", "create", "all", "--where", "true", "--store", store)
    options = ("--bag-size", 8, "--steps", 30, "--store", store)
    out["train"] = run("train", "all", *options)
    out["train again"] = run("train", "all", *options)
    out["report"] = run("report", "latest", "-o", folder / "report.html", "--store", store)
    return out


def test_an_ingest_tells_each_bad_slide_and_takes_the_rest(job: dict) -> None:
    said = json.loads(job["ingest"].stdout)
    assert said["embedded"] == 10  # 6 good, 3 clots, 1 blank
    assert {k.split("-X")[1]: v for k, v in said["failures"].items()}.keys() == {"2", "3"}
    reasons = " ".join(said["failures"].values())
    assert "has no mpp. Add a column mpp to the manifest, or pass --mpp" in reasons
    assert len(said["without_tiles"]) == 1
    rows = FeatureStore(job["store"]).sql("select stage, attempts from failures").rows()
    assert rows == [("open", 2), ("open", 2)]


def test_a_second_ingest_embeds_nothing(job: dict) -> None:
    said = json.loads(job["again"].stdout)
    assert (said["embedded"], said["known"], said["tiles"]) == (0, 10, 0)


def test_the_plan_foresaw_the_tiles(job: dict) -> None:
    said = json.loads(job["ingest"].stdout)
    assert job["plan"]["new"] == 12
    assert job["plan"]["tiles"] == pytest.approx(said["tiles"], rel=0.02)


def test_every_stored_slide_opens_with_plain_zarr_and_knows_no_patient(job: dict) -> None:
    groups = sorted((job["store"] / "slides").iterdir())
    assert len(groups) == 10
    for path in groups:
        group = zarr.open_group(str(path), mode="r")
        assert set(group.attrs) == {"format_version", "fingerprint", "size_px0", "mpp", "reader"}
        assert max(group["thumbnail"].shape) <= 1024
        for name, array in group.members(max_depth=None):
            if "/embeddings/" in name and isinstance(array, zarr.Array):
                assert array.dtype == np.float16


def test_labels_are_near_the_truth(job: dict) -> None:
    truth = pl.read_csv(job["manifest"].parent / "truth.csv")
    labels = FeatureStore(job["store"]).sql("select case_id, value from best_labels")
    both = truth.join(labels, on="case_id")
    assert both.height >= 5
    assert (both["cellularity"] - both["value"]).abs().max() < 28  # people differ by 7 points


def test_report_text_is_nowhere_in_the_store(job: dict) -> None:
    text = b"Megakaryocytes"
    for path in job["store"].rglob("*"):
        if path.is_file():
            assert text not in path.read_bytes(), path


def test_a_run_is_listed_with_its_numbers_and_is_the_same_twice(job: dict) -> None:
    runs = json.loads(run("runs", "--json", "--store", job["store"]).stdout)
    assert len(runs) == 2
    keys = {"run_id", "cohort", "encoder_id", "bag_size", "seed", "n_train", "n_test", "r2", "mae"}
    assert keys <= runs[0].keys()
    assert (runs[0]["r2"], runs[0]["mae"]) == (runs[1]["r2"], runs[1]["mae"])
    folder = job["store"] / "runs" / runs[0]["run_id"]
    expected = {
        "weights.safetensors",
        "run.json",
        "metrics.jsonl",
        "predictions.parquet",
        "predicted_vs_label.svg",
        "bland_altman.svg",
    }
    assert expected <= {path.name for path in folder.iterdir()}


def test_std_is_null_just_where_the_bag_is_the_whole_slide(job: dict) -> None:
    rows = FeatureStore(job["store"]).sql("select n_tiles, std from predictions").rows()
    assert rows
    assert all((std is None) == (n <= 8) for n, std in rows)


def test_the_page_is_one_file_without_the_network(job: dict) -> None:
    page = (job["folder"] / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert 'src="http' not in page
    assert "random" in page  # the encoder's weights are, and the page says so


def test_predict_works_on_slides_without_labels(job: dict) -> None:
    out = run(
        "predict", "latest", "--where", "specimen = 'clot'", "--json", "--store", job["store"]
    )
    rows = json.loads(out.stdout)
    assert len(rows) == 3
    assert all(0 <= row["mean"] <= 100 for row in rows)
    assert "std is the noise of drawing tiles only" in out.stderr
    assert "no intervals: 0 calibration slides, under 20" in out.stderr


def test_metadata_is_corrected_without_a_slide(job: dict, tmp_path: Path) -> None:
    (job["folder"] / "gone").rename(job["manifest"].parent / "slides")
    try:
        text = job["manifest"].read_text().replace(",H&E,", ",PAS,")
        manifest = job["manifest"].with_name("corrected.csv")
        manifest.write_text(text)
        store = tmp_path / "store"
        shutil.copytree(job["store"], store)
        said = json.loads(
            run("ingest", manifest, "--store", store, *RANDOM, "--json", code=3).stdout
        )
        assert (said["embedded"], said["updated"]) == (0, 10)
        assert FeatureStore(store).sql("select distinct stain from slides").rows() == [("PAS",)]
    finally:
        (job["manifest"].parent / "slides").rename(job["folder"] / "gone")
