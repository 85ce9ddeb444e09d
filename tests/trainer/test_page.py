from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from builders import embedding_stores as es

from featurestore import FeatureStore
from featurestore.errors import ConfigError, RunNotFound
from featurestore.types import Target
from trainer import TrainConfig, evaluate, train, write_page
from trainer.conformal import calibrated_half_width
from trainer.page import label_ceiling

QUICK = TrainConfig(cohort="all", bag_size=16, steps=40)


def _shown(value: float | None) -> list[str]:
    assert value is not None
    return [format(value, form).replace("-", "−") for form in (".3f", ".2f", "+.2f")]


def test_the_page_says_everything_and_needs_nothing_else(
    learnable: FeatureStore, tmp_path: Path
) -> None:
    run = train(learnable, QUICK)
    page = write_page(learnable, [run.run_id], tmp_path / "new" / "report.html").read_text()
    for text in (
        f"{run.metric('r2'):.3f}",
        f"{run.metric('mae'):.2f}",
        f"{run.metric('r2', 'ridge_test'):.3f}",
        "select slide_id, specimen from bags",
        "trephine train all --bag-size 16 --steps 40",
        "By label range",
        "By scanner",
        "By half-year",
        "The 10 largest errors",
        "there is no standard deviation" if run.predictions["std"].null_count() else "smaller than",
        "The labels show no rounding step",
        "No interval: 0 calibration slides, and 20 are the least",
        "bags are enough",
        "By bag size",
        "Calibration slope",
        run.record.code_version,
    ):
        assert text in page, text
    for name in ("r2", "mae", "rmse", "pearson", "bias", "loa_low", "loa_high", "slope"):
        assert any(f"<small>{low} to " in page for low in _shown(run.metric(f"{name}_low"))), name
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:image/jpeg;base64,") == 10
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert not re.search(r"url\(|@import|https?://|<script", page)


def test_the_page_shows_intervals_and_their_coverage(
    calibrated: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, _ = calibrated
    run = train(store, QUICK)
    page = write_page(store, [run.run_id], tmp_path / "report.html").read_text()
    width = calibrated_half_width(run.predictions)
    test = run.predictions.filter(pl.col("split") == "test")
    assert width is not None
    held = int(((test["truth"] - test["mean"]).abs() <= width).sum())
    assert f"An interval of 90% is the prediction ± {width:.1f} points" in page
    assert f"it holds <b>{held / 20:.1%}</b> of 20 labels" in page
    assert "Held by interval" in page
    assert "Calibration (n = 20)" in page
    assert "estimate: labels rounded to 5" in page


def test_the_ceiling_is_measured_where_the_truth_is_known_and_else_estimated(
    calibrated: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, truth = calibrated
    out, run = tmp_path / "report.html", train(store, QUICK)
    label = run.predictions.filter(pl.col("split") == "test")
    true = label.join(pl.read_csv(truth), on="slide_id")["cellularity"].to_numpy()
    labels = label["truth"].to_numpy()
    table = pl.read_csv(truth).rename({"cellularity": "truth"})
    page = write_page(store, [run.run_id], out, truth=lambda target: table).read_text()
    assert f"<b>{evaluate.r2(labels, true):.3f}</b><small>of the truth against" in page
    found = evaluate.r2(true, label["mean"].to_numpy())
    assert f"Against the truth the predictions have R² {found:.3f}" in page
    estimate = label_ceiling(label, Target())
    assert (estimate["step"], estimate["stated"]) == (5, False)
    assert estimate["r2"] == pytest.approx(1 - 25 / 12 / labels.var())
    stated = label_ceiling(label, Target(), rounding=10)
    assert (stated["step"], stated["stated"]) == (10, True)
    assert stated["r2"] == pytest.approx(1 - 100 / 12 / labels.var())


def test_a_truth_of_other_slides_is_refused(
    calibrated: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, _ = calibrated
    run = train(store, replace(QUICK, steps=2))
    other = pl.DataFrame({"slide_id": ["nobody"], "truth": [4.0]})
    with pytest.raises(ConfigError, match="none of the 20 test slides"):
        write_page(store, [run.run_id], tmp_path / "report.html", truth=lambda target: other)
    with pytest.raises(ConfigError, match="rounding must be over 0"):
        write_page(store, [run.run_id], tmp_path / "report.html", rounding=-5)


def test_several_runs_are_compared(learnable: FeatureStore, tmp_path: Path) -> None:
    ids = [train(learnable, replace(QUICK, seed=s)).run_id for s in (0, 1)]
    page = write_page(learnable, ids, tmp_path / "report.html").read_text()
    assert "2 runs compared" in page
    assert all(f'href="#{i}"' in page and f'id="{i}"' in page for i in ids)


def test_random_weights_are_said_loudly_and_names_are_escaped(tmp_path: Path) -> None:
    store = es.build(tmp_path / "store", *es.planted(12, 5, dim=4), weights="random")
    query = "select slide_id, specimen, '<script>alert(1)</script>' as note from bags"
    store.create_cohort("odd", query)
    run = train(store, replace(QUICK, cohort="odd"))
    page = write_page(store, [run.run_id], tmp_path / "report.html").read_text()
    assert "weights are random" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    # Every Slide is one Bag: nothing settles.
    assert f"<b>{run.record.n_test} of {run.record.n_test} test slides</b>" in page
    assert "enough</b>" not in page
    assert page.count("data:image/png;base64,") == 2


def test_refusals(learnable: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one run"):
        write_page(learnable, [], tmp_path / "report.html")
    with pytest.raises(RunNotFound):
        write_page(learnable, ["nothing"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()
