from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders.embedding_stores import SIZES

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Target
from trainer import TrainConfig, predict, train
from trainer.bags import Sampler
from trainer.config import SettleConfig
from trainer.draws import VALIDATE
from trainer.inference import load_model, resample
from trainer.runs import Run
from trainer.settling import settling, summary

QUICK = TrainConfig(cohort="all", bag_size=16, steps=40)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Forty Slides of 400 tiles; noisy, so that Bags differ."""
    store = es.build(tmp_path_factory.mktemp("large"), *es.planted(40, 400, dim=8, noise=3.0))
    es.freeze(store)
    return store


@pytest.fixture(scope="module")
def run(large: FeatureStore) -> Run:
    return train(large, QUICK)


def _predict_at(store: FeatureStore, run: Run, bag_size: int, resamples: int) -> np.ndarray:
    bags = store.bags("all")
    with store.rows(bags) as reader:
        sampler = Sampler(bags, bag_size, 0)
        return 100 * resample(load_model(run), sampler, reader, resamples, VALIDATE)[0]


def test_the_mean_settles_as_one_over_the_root_of_bags_and_of_tiles(
    large: FeatureStore, run: Run
) -> None:
    curves = settling(large, run.run_id, where="true")
    assert curves["bag_size"].to_list() == sorted([16, 64, 256] * 20)
    assert curves["resamples"].to_list() == list(range(1, 21)) * 3
    assert (curves["n_sampled"] == 40).all()
    # Measured from disjoint Bags, not supposed: 40 differences.
    assert (curves["se_measured"] / curves["se_expected"]).is_between(0.5, 1.7).all()
    std = {size: frame["se_measured"][0] for (size,), frame in curves.group_by("bag_size")}
    finite = {size: np.sqrt((1 / size - 1 / 400) * 16) for size in std}  # without replacement
    for size in (64, 256):
        assert std[size] / std[16] == pytest.approx(finite[size] / finite[16], rel=0.35)


@pytest.mark.proof
def test_enough_bags_put_the_mean_within_a_point_of_where_it_settles(
    large: FeatureStore, run: Run
) -> None:
    table = summary(
        settling(large, run.run_id, SettleConfig(bag_sizes=(64,)), where="true"), Target()
    )
    enough = table["enough"].item()
    assert 1 < enough < 200
    settled = _predict_at(large, run, 64, 1_000)
    off = np.abs(_predict_at(large, run, 64, enough) - settled)
    assert 0.85 <= (off <= 1).mean() <= 1
    fewer = np.abs(_predict_at(large, run, 64, max(1, enough // 4)) - settled)
    assert (fewer <= 1).mean() < (off <= 1).mean()


def test_the_curve_ends_where_predict_arrives(large: FeatureStore, run: Run) -> None:
    curve = settling(large, run.run_id, SettleConfig(bag_sizes=(16,), resamples=10))
    test = predict(large, run.run_id).filter(pl.col("split") == "test")
    assert curve["n_slides"][0] == test.height
    error = (test["mean"] - test["label"]).abs()
    assert curve["mae"][9] == pytest.approx(error.mean(), abs=1e-3)
    assert curve["se_expected"][0] == pytest.approx(
        np.sqrt((test["std"].to_numpy() ** 2).mean()), rel=0.25
    )


def test_a_slide_that_is_one_bag_has_nothing_to_settle(sizes: FeatureStore) -> None:
    run = train(sizes, QUICK)
    wanted = SettleConfig(bag_sizes=(16, 256, 4_000), resamples=3)
    curves = settling(sizes, run.run_id, wanted, where="true")
    sampled = curves.group_by("bag_size", maintain_order=True).first()["n_sampled"].to_list()
    assert sampled == [2 * sum(n > size for n in SIZES) for size in (16, 256, 4_000)]
    whole = curves.filter(pl.col("bag_size") == 4_000)
    assert whole["se_measured"].null_count() == whole["se_expected"].null_count() == 3
    assert whole["mae"].n_unique() == 1
    table = summary(curves, Target())
    assert table["enough"][2] is None
    assert table["n_slides"].to_list() == [16, 16, 16]


def test_slides_without_labels_settle_too(tmp_path: Path) -> None:
    x, values = es.planted(12, 40, dim=4)
    store = es.build(tmp_path, x, [None if i % 2 else v for i, v in enumerate(values)])
    es.freeze(store)
    run = train(store, replace(QUICK, steps=3))
    curves = settling(store, run.run_id, SettleConfig(max_slides=5), where="cellularity is null")
    assert (curves["n_slides"] == 5).all()
    assert curves["mae"].null_count() == curves.height
    assert curves.filter(pl.col("bag_size") == 16)["se_measured"].null_count() == 0


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"at least 1, got \[0\]"):
        SettleConfig(bag_sizes=(0,))
    with pytest.raises(ConfigError, match="at least 1"):
        SettleConfig(resamples=0)
