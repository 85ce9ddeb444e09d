from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders.attended import attention

from featurestore import FeatureStore
from featurestore.errors import ConfigError, QueryRefused, RunNotFound, SlideNotFound
from featurestore.types import Target
from trainer import TrainConfig, predict, train
from trainer.runs import Run

QUICK = TrainConfig(cohort="all", bag_size=16, steps=40)


@pytest.fixture(scope="module")
def run(learnable: FeatureStore) -> Run:
    return train(learnable, QUICK)


def test_predicting_the_test_slides_again_gives_what_training_stored(
    learnable: FeatureStore, run: Run
) -> None:
    again = predict(learnable, run.run_id)
    assert again.columns == [*run.predictions.columns, "seen", "interval_low", "interval_high"]
    stored = learnable.predictions(run.run_id).filter(pl.col("split") == "test")
    again = again.filter(pl.col("split") == "test")
    for column in ("mean", "std"):  # to the rounding of float32, which its batch decides
        assert again[column].to_list() == pytest.approx(stored[column].to_list(), abs=1e-4)


def test_slides_without_labels_are_predicted(tmp_path: Path) -> None:
    x, values = es.planted(20, 24, dim=4)
    store = es.build(tmp_path, x, [None if i % 5 == 0 else v for i, v in enumerate(values)])
    es.freeze(store)
    run = train(store, QUICK)
    found = predict(store, run.run_id, where="cellularity is null")
    assert found["slide_id"].to_list() == ["S-0000", "S-0005", "S-0010", "S-0015"]
    assert found["label"].null_count() == 4
    assert set(found["split"]) == {"none"}
    assert found["mean"].is_between(0, 100).all()
    assert (found["std"] > 0).all()


def test_a_condition_brings_the_labels_of_the_runs_own_target(tmp_path: Path) -> None:
    x, values = es.planted(8, 24, dim=4)
    about = Target(name="fat_um", kind="continuous", low=0, high=200)
    store = es.build(tmp_path, x, [2 * v for v in values], target=about)
    es.freeze(store, target="fat_um")
    run = train(store, replace(QUICK, steps=3))
    found = predict(store, run.run_id, where="cellularity is null")
    assert found["label"].to_list() == pytest.approx(2 * values)
    assert found["slide_id"].is_sorted()


def test_a_slides_prediction_does_not_depend_on_its_company(
    learnable: FeatureStore, run: Run
) -> None:
    alone = predict(learnable, run.run_id, where="slide_id = 'S-0033'").row(0, named=True)
    among = predict(learnable, run.run_id, where="true").filter(pl.col("slide_id") == "S-0033")
    assert alone["mean"] == pytest.approx(among["mean"][0], abs=1e-4)
    assert alone["std"] == pytest.approx(among["std"][0], abs=1e-3)


def test_more_resamples_settle_the_mean(learnable: FeatureStore, run: Run) -> None:
    where = "n_tiles > 50"
    runs = [predict(learnable, run.run_id, where=where, resamples=r) for r in (200, 400, 1)]
    assert runs[0]["mean"].to_numpy() == pytest.approx(runs[1]["mean"].to_numpy(), abs=2.5)
    assert runs[2]["std"].null_count() == runs[2].height


def test_attention_covers_the_slide(learnable: FeatureStore, run: Run) -> None:
    table = attention(learnable, run.run_id, "S-0039")
    assert table.height == 59
    assert table["attention"].sum() == pytest.approx(1, abs=1e-5)
    assert table["relative"].mean() == pytest.approx(1, abs=1e-4)
    assert np.array_equal(table["x_px0"].to_numpy(), np.arange(59) * 896)


def test_a_tile_filter_of_the_run_holds_at_inference(learnable: FeatureStore) -> None:
    run = train(learnable, replace(QUICK, tiles="tissue > 0.5"))
    row = predict(learnable, run.run_id, where="slide_id = 'S-0039'").row(0, named=True)
    bag = learnable.bags("all").filter(pl.col("slide_id") == "S-0039").row(0, named=True)
    kept = int((learnable.tiles(bag["slide_key"], bag["tiling_id"])["tissue"] > 0.5).sum())
    assert row["n_tiles"] == kept
    assert attention(learnable, run.run_id, "S-0039").height == kept


def test_refusals(learnable: FeatureStore, run: Run) -> None:
    with pytest.raises(ConfigError, match="not both"):
        predict(learnable, run.run_id, "all", where="true")
    with pytest.raises(ConfigError, match="no slide has"):
        predict(learnable, run.run_id, where="n_tiles > 9000")
    for n in (0, 1_000_000_000):
        with pytest.raises(ConfigError, match="resamples must be at least 1 and at most 1,000,000"):
            predict(learnable, run.run_id, resamples=n)
    with pytest.raises(RunNotFound):
        predict(learnable, "20200101-000000-abcdef")
    with pytest.raises(SlideNotFound):
        attention(learnable, run.run_id, "no'such")
    with pytest.raises(QueryRefused):
        predict(learnable, run.run_id, where="true) ; copy (select 1) to 'x'; select (true")
