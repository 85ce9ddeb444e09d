from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.types import Target
from trainer import TrainConfig, conformal, predict, train

TARGET = Target()


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [(8, 0.1, 9), (9, 0.1, 9), (19, 0.1, 18), (20, 0.1, 19), (19, 0.05, 19), (99, 0.1, 90)],
)
def test_the_rank_is_that_of_the_finite_sample_quantile(n: int, alpha: float, k: int) -> None:
    assert conformal.rank(n, alpha) == k
    residuals = np.random.default_rng(n).permutation(n) + 1.0  # 1 to n, in any order
    width = conformal.half_width(residuals, np.zeros(n), alpha)
    assert width == (k if k <= n else math.inf)


@given(st.integers(20, 200), st.integers(0, 99))
def test_the_half_width_covers_its_share_of_the_calibration_slides(n: int, seed: int) -> None:
    truth, predicted = np.random.default_rng(seed).normal(size=(2, n))
    width = conformal.half_width(truth, predicted)
    assert (np.abs(truth - predicted) <= width).mean() >= 0.9
    assert (np.abs(truth - predicted) < width).mean() < (n + 1) / n * 0.9


@pytest.mark.parametrize("n", [20, 37, 200])
def test_new_slides_are_covered_as_often_as_promised(n: int) -> None:
    rng = np.random.default_rng(n)
    held = []
    for _ in range(2_000):
        truth = rng.standard_cauchy(n + 30)  # no mean, no variance: nothing is supposed of errors
        width = conformal.half_width(truth[:n], np.zeros(n))
        held.append((np.abs(truth[n:]) <= width).mean())
    exact = conformal.rank(n) / (n + 1)
    assert 0.9 <= exact <= 0.9 + 1 / (n + 1)  # Lei et al. 2018
    assert np.mean(held) == pytest.approx(exact, abs=0.006)


def test_coverage_on_slides_like_those_that_calibrated_is_as_expected() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(120):
        truth = rng.standard_cauchy(50)
        frame = pl.DataFrame({"truth": truth[20:], "mean": np.zeros(30)})
        width = conformal.half_width(truth[:20], np.zeros(20))
        got = conformal.coverage(frame, width, 20)
        inside += got["expected_low"] <= got["coverage"] <= got["expected_high"]
        assert got["coverage_low"] <= got["coverage"] <= got["coverage_high"]
    assert inside >= 106


def test_intervals_are_cut_to_the_range_and_lose_no_label_by_it() -> None:
    frame = pl.DataFrame({"truth": [0.0, 50, 100, 30], "mean": [5.0, 50, 98, 50]})
    got = conformal.add_intervals(frame, 10.0, TARGET)
    assert got["interval_low"].to_list() == [0, 40, 88, 40]
    assert got["interval_high"].to_list() == [15, 60, 100, 60]
    numbers = conformal.coverage(frame, 10.0, 20)
    assert (numbers["n"], numbers["coverage"]) == (4, 0.75)
    inside = pl.col("truth").is_between("interval_low", "interval_high")
    assert got.select(inside.sum()).item() == 3
    assert numbers["coverage_low"] == pytest.approx(0.1941, abs=1e-4)  # Clopper-Pearson, 3 of 4
    assert numbers["coverage_high"] == pytest.approx(0.9937, abs=1e-4)
    assert conformal.add_intervals(frame, None, TARGET)["interval_high"].null_count() == 4


def test_nineteen_slides_give_no_interval_and_twenty_do() -> None:
    frame = pl.DataFrame({"split": ["calibration"] * 20, "truth": np.arange(20.0), "mean": 0.0})
    assert conformal.calibrated_half_width(frame) == 18  # the 19th of 0 to 19
    assert conformal.calibrated_half_width(frame[:19]) is None
    assert conformal.calibrated_half_width(frame.with_columns(split=pl.lit("test"))) is None


def test_a_run_with_calibration_slides_has_intervals(
    calibrated: tuple[FeatureStore, Path],
) -> None:
    store, _ = calibrated
    run = train(store, TrainConfig(cohort="all", bag_size=16, steps=200))
    found = predict(store, run.run_id).filter(pl.col("split") == "test")
    part = run.predictions.filter(pl.col("split") == "calibration")
    width = sorted((part["truth"] - part["mean"]).abs())[18]
    assert (found["mean"] - found["interval_low"]).max() == pytest.approx(width, abs=1e-3)
    held = found.select(conformal.held(width).mean()).item()
    assert held > 0.6
    assert f"interval    ± {width:.1f}, meant to hold 90% of labels; holds {held:.1%}" in run.text()
    # Fewer Bags are noisier than those that calibrated, so they get no interval.
    assert predict(store, run.run_id, resamples=2)["interval_low"].null_count() == 60
    assert predict(store, run.run_id, resamples=20)["interval_low"].null_count() == 0
