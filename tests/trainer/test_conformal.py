from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders.longer import longer
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.types import Target
from trainer import TrainConfig, conformal, predict, runs, train

TARGET = Target()


def each_its_own(columns: dict[str, Any]) -> pl.DataFrame:
    """Slides, each of a Case and a Patient of its own."""
    names = pl.int_range(pl.len()).cast(pl.String)
    return pl.DataFrame(columns).with_columns(case_id=names, patient_id=names)


@pytest.mark.parametrize(
    ("n", "alpha", "k"),
    [(8, 0.1, 9), (9, 0.1, 9), (19, 0.1, 18), (20, 0.1, 19), (19, 0.05, 19), (99, 0.1, 90)],
)
def test_the_rank_is_that_of_the_finite_sample_quantile(n: int, alpha: float, k: int) -> None:
    assert conformal.rank(n, alpha) == k
    residuals = np.random.default_rng(n).permutation(n) + 1.0  # 1 to n, in any order
    width = conformal.half_widths(residuals, np.zeros(n), alpha)
    covered = (residuals <= width.at(np.zeros(n))).sum()
    assert covered == k if k <= n else width.times == math.inf


@pytest.mark.parametrize("n", [20, 37, 200])
def test_new_slides_are_covered_as_often_as_promised(n: int) -> None:
    rng = np.random.default_rng(n)
    held = []
    for _ in range(400):
        truth = rng.standard_cauchy(n + 30)  # no mean, no variance: nothing is supposed of errors
        width = conformal.half_widths(truth[:n], np.zeros(n))
        held.append((np.abs(truth[n:]) <= width.at(np.zeros(30))).mean())
    assert np.mean(held) == pytest.approx(conformal.rank(n) / (n + 1), abs=0.03)


def world(noise: str, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels as people give them and Predictions of them, both (N,)."""
    truth = 100 * rng.beta(1.2, 1.2, n)
    size = {
        "even": 10.0,
        "growing": 2 + 0.2 * truth,
        "middle": 1 + np.sqrt(truth * (100 - truth)) / 4,
    }
    labels = (truth + rng.normal(0, 1, n) * size[noise]).clip(0, 100)
    return (labels / 5).round() * 5, 50 + 0.9 * (truth - 50) + rng.normal(0, 4, n)


@pytest.mark.parametrize("noise", ["even", "growing", "middle"])
@pytest.mark.parametrize(("n", "draws"), [(290, 60), longer(30, 2_000)])
def test_each_third_of_the_scale_is_covered_as_promised(noise: str, n: int, draws: int) -> None:
    rng, held = np.random.default_rng(n), []
    for _ in range(draws):
        labels, predicted = world(noise, n + 900, rng)
        width = conformal.half_widths(labels[:n], predicted[:n])
        inside = np.abs(labels - predicted)[n:] <= width.at(predicted[n:])
        third = (predicted[n:] / 100 * 3).astype(int).clip(0, 2)
        held.append([inside[third == i].mean() for i in range(3)])
    assert np.mean(held, axis=0) == pytest.approx(0.9, abs=0.03 if n > 100 else 0.05)


def test_an_interval_is_wide_where_errors_are_large() -> None:
    labels, predicted = world("growing", 300, np.random.default_rng(0))
    low, high = conformal.half_widths(labels, predicted).at(np.array([20.0, 80.0]))
    assert high > 1.5 * low


def test_coverage_on_slides_like_those_that_calibrated_is_as_expected() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(120):
        truth = rng.standard_cauchy(50)
        frame = each_its_own({"label": truth[20:], "mean": np.zeros(30)})
        width = conformal.half_widths(truth[:20], np.zeros(20))
        got = conformal.coverage(frame, width)
        inside += got["expected_low"] <= got["coverage"] <= got["expected_high"]
        assert got["coverage_low"] <= got["coverage"] <= got["coverage_high"]
    assert inside >= 106


def test_intervals_are_cut_to_the_range_and_lose_no_label_by_it() -> None:
    frame = each_its_own({"label": [0.0, 50, 100, 30], "mean": [5.0, 50, 98, 50]})
    even = conformal.Widths(
        mean=np.arange(20.0), residual=np.full(20, 10.0), case=np.arange(20), times=1
    )
    got = conformal.add_intervals(frame, even, TARGET)
    assert got["interval_low"].to_list() == pytest.approx([0, 40, 88, 40])
    assert got["interval_high"].to_list() == pytest.approx([15, 60, 100, 60])
    numbers = conformal.coverage(frame, even)
    assert (numbers["n"], numbers["coverage"]) == (4, 0.75)
    inside = pl.col("label").is_between("interval_low", "interval_high")
    assert got.select(inside.sum()).item() == 3
    assert numbers["coverage_low"] == pytest.approx(0.1941, abs=1e-4)  # Clopper-Pearson, 3 of 4
    assert numbers["coverage_high"] == pytest.approx(0.9937, abs=1e-4)
    assert conformal.add_intervals(frame, None, TARGET)["interval_high"].null_count() == 4


def test_slides_of_one_patient_do_not_make_coverage_more_certain() -> None:
    held = np.arange(40) % 10 > 0
    once = pl.DataFrame({"held": held, "case_id": np.arange(40), "patient_id": np.arange(40)})
    thrice = pl.concat([once] * 3)  # three slides a case, all alike
    assert conformal.share_held(thrice) == pytest.approx(conformal.share_held(once))
    many = once.filter(pl.col("patient_id") == 0)  # not held, and one of its slides or a hundred
    more = pl.concat([once, *[many] * 100])
    assert conformal.share_held(more)[0] == pytest.approx(0.9)
    _, low, high, _ = conformal.share_held(once)
    even = conformal.Widths(mean=np.zeros(1), residual=np.ones(1), case=np.zeros(1, int), times=1)
    error = pl.when("held").then(0.0).otherwise(9.0)
    said = conformal.in_words(conformal.coverage(more.with_columns(label=error, mean=0.0), even))
    assert "they hold 36 of 140, 90.0% with each case counted once (95% interval " in said
    fewer = conformal.share_held(once.with_columns(pl.col("patient_id") // 4))
    assert fewer[1] < low < 0.9 < high < fewer[2]


@given(seed=st.integers(0, 2**32 - 1), times=st.integers(1, 4))
def test_a_case_weighs_once_however_many_slides_it_has(seed: int, times: int) -> None:
    labels, predicted = world("growing", 40, np.random.default_rng(seed))
    cases = np.arange(40)
    some = np.concatenate([cases, *[cases[:7]] * times])  # seven cases have more slides, all alike
    once = conformal.half_widths(labels, predicted, cases=cases)
    more = conformal.half_widths(labels[some], predicted[some], cases=cases[some])
    at = np.array([10.0, 50.0, 90.0])
    assert more.at(at) == pytest.approx(once.at(at))
    assert once.at(at) == pytest.approx(conformal.half_widths(labels, predicted).at(at))


@given(n=st.integers(1, 60), cases=st.integers(1, 30), seed=st.integers(0, 99))
def test_an_interval_is_finite_or_there_is_none(n: int, cases: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, n)
    part = {"label": truth, "mean": truth + rng.normal(0, 5, n), "split": ["calibration"] * n}
    frame = pl.DataFrame(part | {"case_id": [f"C-{i % cases}" for i in range(n)]})
    width, known = conformal.calibrated_half_width(frame), min(n, cases)
    assert (width is not None) == (n >= 20 and known >= 9)
    if width is not None:
        assert np.isfinite(width.at(truth)).all()
    else:
        why = conformal.why_none(frame, "fraction")
        assert ("under 20" in why) if n < 20 else (f"of {known} cases, under 9" in why)


def test_nineteen_slides_give_no_interval_and_twenty_do() -> None:
    frame = each_its_own({"split": ["calibration"] * 20, "label": np.arange(20.0), "mean": 0.0})
    width = conformal.calibrated_half_width(frame)
    assert width is not None
    assert 18 <= width.typical < 19  # the 19th of 0 to 19, and no more
    assert conformal.calibrated_half_width(frame[:19]) is None
    assert conformal.calibrated_half_width(frame.with_columns(split=pl.lit("test"))) is None


def test_a_run_with_calibration_slides_has_intervals(
    calibrated: tuple[FeatureStore, Path],
) -> None:
    store, _ = calibrated
    run = train(store, TrainConfig(cohort="all", bag_size=16, steps=200))
    found = predict(store, run.run_id).filter(pl.col("split") == "test")
    part = run.predictions.filter(pl.col("split") == "calibration")
    width = conformal.half_widths(part["label"].to_numpy(), part["mean"].to_numpy())
    wide = (found["mean"] - found["interval_low"]).to_numpy()
    uncut = found["interval_low"].to_numpy() > 0
    assert wide[uncut] == pytest.approx(width.at(found["mean"].to_numpy())[uncut], abs=1e-3)
    held = found.select(conformal.held(width).mean()).item()
    assert held > 0.6
    assert f"interval    ± {width.typical:.1f} about the median" in run.text()
    said = f"of test they hold {20 * held:.0f} of 20, {held:.1%} with each case counted once"
    assert f"meant to hold 90% of labels; {said}" in run.text()
    # Fewer Bags are noisier than those that calibrated, so they get no interval.
    assert predict(store, run.run_id, resamples=2)["interval_low"].null_count() == 60
    assert predict(store, run.run_id, resamples=20)["interval_low"].null_count() == 0


def test_train_slides_calibrate_by_models_without_their_patients(tmp_path: Path) -> None:
    x, values = es.planted(45, 12, dim=8)
    store = es.build(tmp_path, x, values)
    slides = store.bags_where("true")["slide_id"]
    es.freeze(store, split={one: "train" if i < 30 else "test" for i, one in enumerate(slides)})
    quick = TrainConfig(cohort="all", bag_size=12, steps=20)
    shown: list[tuple[int, int]] = []
    run = train(store, quick, lambda done, total, note: shown.append((done, total)))
    none = train(store, replace(quick, calibration_fraction=0))
    steps = run.record.fit["steps"]
    assert shown[-5:] == [(steps + n, steps + 5) for n in range(1, 6)]  # the other models are work
    assert run.record.metrics == none.record.metrics  # the model is the same
    assert none.half_widths is None
    assert "no intervals: 0 calibration slides" in none.text()
    part = conformal.calibrating(run.predictions)
    assert set(part["split"]) == {conformal.OUT_OF_FOLD}
    assert part.height == run.record.n_train == 30 - run.record.n_validation
    found = predict(store, run.run_id)
    assert found["interval_low"].null_count() == 0
    seen = dict(found.select("slide_id", "seen").iter_rows())
    assert {seen[one] for one in part["slide_id"]} == {"train"}
    again = runs.load(store, run.run_id).half_widths
    assert again is not None
    assert run.half_widths is not None
    assert again.typical == run.half_widths.typical
