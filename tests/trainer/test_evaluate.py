from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
import sklearn.metrics
from builders import embedding_stores as es
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Label, Target
from trainer import TrainConfig, conformal, train
from trainer import evaluate as ev
from trainer.floor import against_truth

TARGET = Target()
NAMES = ("r2", "mae", "rmse", "pearson", "bias", "loa_low", "loa_high", "within_5", "within_10")
NAMES += ("slope", "intercept")


def _patients(n: int) -> np.ndarray:
    return np.array([f"P{i}" for i in range(n)])


def _noisy(n: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 100, n)
    return truth, truth + rng.normal(0, noise, n)


def test_metrics_agree_with_closed_forms() -> None:
    truth, predicted = np.array([10.0, 20, 30, 60]), np.array([15.0, 20, 36, 49])
    got = ev.metrics(truth, predicted, _patients(4), TARGET)
    assert got["r2"] == pytest.approx(1 - (25 + 0 + 36 + 121) / (400 + 100 + 0 + 900))
    assert got["mae"] == pytest.approx(22 / 4)
    assert got["rmse"] == pytest.approx(np.sqrt(182 / 4))
    assert (got["within_5"], got["within_10"]) == (0.5, 0.75)
    assert got["bias"] == pytest.approx(0)
    s = np.std([5, 0, 6, -11], ddof=1)
    assert (got["loa_low"], got["loa_high"]) == pytest.approx((-1.96 * s, 1.96 * s), rel=1e-4)


@given(
    rows=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=50).filter(
        lambda rows: min(np.std(np.array(rows), axis=0)) > 0.1
    ),
    shift=st.sampled_from([0.0, 1e4]),
)
def test_every_number_is_that_of_scikit_learn_or_scipy(
    rows: list[tuple[float, float]], shift: float
) -> None:
    truth, predicted = np.array(rows).T + shift
    target = Target(kind="continuous", low=shift, high=shift + 100)
    got = ev.metrics(truth, predicted, _patients(len(rows)), target)
    assert got["r2"] == pytest.approx(sklearn.metrics.r2_score(truth, predicted), rel=1e-6)
    assert got["r2"] == pytest.approx(ev.r2(truth, predicted), rel=1e-6)
    assert got["mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted))
    rmse = sklearn.metrics.root_mean_squared_error(truth, predicted)
    assert got["rmse"] == pytest.approx(rmse)
    line = scipy.stats.linregress(predicted, truth)
    assert got["pearson"] == pytest.approx(line.rvalue, abs=1e-6)
    assert got["slope"] == pytest.approx(line.slope, abs=1e-6)
    assert got["intercept"] == pytest.approx(line.intercept, rel=1e-5, abs=1e-4)


@given(st.integers(1, 40), st.integers(1, 6), st.floats(1, 50))
def test_an_interval_is_in_order_or_absent(n: int, per_patient: int, noise: float) -> None:
    truth, predicted = _noisy(n, noise, seed=n)
    got = ev.metrics(truth, predicted, np.arange(n) // per_patient, TARGET)
    for name in NAMES:
        low, high = got[f"{name}_low"], got[f"{name}_high"]
        assert low <= high or (np.isnan(low) and np.isnan(high)), name
    assert np.isfinite(got["mae_low"]) == ((n - 1) // per_patient >= 1)


def test_a_perfect_prediction_has_perfect_numbers() -> None:
    truth, _ = _noisy(30, 0)
    got = ev.metrics(truth, truth, _patients(30), TARGET)
    perfect = {"r2": 1, "pearson": 1, "slope": 1, "within_5": 1, "within_10": 1}
    for name in NAMES:
        assert got[name] == pytest.approx(perfect.get(name, 0), abs=1e-6), name
    for name in ("r2", "mae", "within_5", "bias"):  # no resample says how far off that may be
        assert np.isnan([got[f"{name}_low"], got[f"{name}_high"]]).all(), name


def test_undefined_numbers_are_null() -> None:
    got = ev.finite(ev.metrics(np.array([50.0]), np.array([40.0]), np.array(["a"]), TARGET))
    assert (got["mae"], got["bias"]) == (10, -10)
    undefined = ("r2", "pearson", "slope", "intercept", "loa_low", "r2_low", "mae_low")
    assert [got[k] for k in undefined] == [None] * len(undefined)
    got = ev.finite(ev.metrics(np.array([10.0, 90.0]), np.array([0.3, 0.3]), _patients(2), TARGET))
    assert (got["pearson"], got["slope"]) == (None, None)
    assert got["r2"] == pytest.approx(1 - (9.7**2 + 89.7**2) / 3200)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_a_binary_target_has_an_auc_and_an_accuracy(rows: list[tuple[bool, int]]) -> None:
    truth, predicted = (np.array(column, float) for column in zip(*rows, strict=True))
    target = Target(name="fibrosis", kind="binary", low=0, high=1)
    got = ev.metrics(truth, predicted / 5, np.arange(len(rows)), target)
    assert got["positive"] == truth.mean()
    assert got["accuracy"] == pytest.approx(((predicted / 5 > 0.5) == truth).mean())
    if len(set(truth)) == 2:
        assert got["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, predicted))
        assert got["auc_low"] <= got["auc_high"] or np.isnan(got["auc_low"])
    else:
        assert np.isnan(got["auc"])


def test_a_case_is_the_mean_of_its_slides() -> None:
    rows = {"case_id": list("baa"), "patient_id": list("qpp"), "label": [10.0, 40, 40]}
    frame = pl.DataFrame(rows | {"mean": [12.0, 30, 44]})
    assert ev.by_case(frame).rows() == [("a", "p", 40, 37), ("b", "q", 10, 12)]


def test_the_bootstrap_draws_patients_with_all_their_slides() -> None:
    truth, predicted = _noisy(40, 10)
    alone = ev.metrics(truth, predicted, np.arange(40), TARGET)
    assert alone["r2_low"] < alone["r2"] < alone["r2_high"]
    # Each Slide five times over, but of the same Patients: no narrower for it.
    repeat = [np.repeat(a, 5) for a in (truth, predicted, np.arange(40))]
    same = ev.metrics(*repeat, TARGET)
    pretended = ev.metrics(repeat[0], repeat[1], np.arange(200), TARGET)
    for name in set(NAMES) - {"loa_low", "loa_high"}:  # whose n - 1 differs
        assert same[f"{name}_low"] == pytest.approx(alone[f"{name}_low"], abs=1e-9)
        assert pretended[f"{name}_high"] - pretended[f"{name}_low"] < 0.7 * (
            same[f"{name}_high"] - same[f"{name}_low"]
        )


def test_the_bootstrap_equals_drawing_slides_one_by_one() -> None:
    truth, predicted = _noisy(30, 15, seed=1)
    patients, rng = np.arange(30) // 2, np.random.default_rng(1)
    draws = [
        np.concatenate([np.flatnonzero(patients == p) for p in rng.integers(0, 15, 15)])
        for _ in range(4_000)
    ]
    slow = {
        "r2": [ev.r2(truth[d], predicted[d]) for d in draws],
        "bias": [(predicted - truth)[d].mean() for d in draws],
        "loa_high": [
            (predicted - truth)[d].mean() + 1.96 * (predicted - truth)[d].std(ddof=1) for d in draws
        ],
        "slope": [np.polyfit(predicted[d], truth[d], 1)[0] for d in draws],
    }
    fast = ev.metrics(truth, predicted, patients, TARGET)
    for name, values in slow.items():
        expected = np.percentile(values, [2.5, 97.5])
        width = expected[1] - expected[0]
        got = [fast[f"{name}_low"], fast[f"{name}_high"]]
        assert got == pytest.approx(expected, abs=0.1 * width), name


@pytest.mark.proof
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = {"mae": 0, "bias": 0, "loa_high": 0}
    true = {"mae": 8 * np.sqrt(2 / np.pi), "bias": 0, "loa_high": 1.96 * 8}
    for seed in range(300):
        got = ev.metrics(*_noisy(80, 8, seed), _patients(80), TARGET)
        for name in held:
            held[name] += got[f"{name}_low"] <= true[name] <= got[f"{name}_high"]
    assert all(0.88 <= n / 300 <= 0.99 for n in held.values()), held


@pytest.mark.parametrize(("n", "n_patients"), [(500, 500), (901, 300), (1_500, 1_500)])
def test_intervals_are_the_same_whatever_the_threads(n: int, n_patients: int) -> None:
    truth, predicted = _noisy(n, 10)
    patients, mean = np.arange(n) % n_patients, np.linspace(0, 100, 300)
    found = []
    for threads in (1, 2, 4):
        with threadpool_limits(threads):
            scores = ev.drawn(truth, predicted, patients, TARGET)
            widths = conformal.half_widths(truth, predicted)
            assert widths is not None
            found.append(np.concatenate([*scores.values(), widths.at(mean)]))
    assert all(np.array_equal(one, found[0], equal_nan=True) for one in found)


def test_a_bootstrap_in_parts_draws_as_many() -> None:
    sums = ev.bootstrap_by_patient(np.ones((5_000, 1)), np.arange(5_000))
    assert sums.shape == (ev.BOOTSTRAPS, 1)
    assert (sums == 5_000).all()


def test_ranges_hold_their_lower_edge_and_the_top() -> None:
    frame = pl.DataFrame({"label": [0.0, 19.9, 20.0, 100.0], "mean": [10.0, 19.9, 10.0, 90.0]})
    frame = frame.with_columns(patient_id=pl.Series(list("aabc")))
    table = ev.by_range(frame, TARGET)
    assert table["group"].to_list() == ["0–20", "20–40", "80–100"]
    assert table["n"].to_list() == [2, 1, 1]
    assert table["patients"].to_list() == [1, 1, 1]
    assert table["bias"].to_list() == [5, -10, -10]


def test_groups_have_the_metrics_of_their_slides() -> None:
    truth, mean = _noisy(40, 10)
    frame = pl.DataFrame(
        {
            "label": truth,
            "mean": mean,
            "patient_id": _patients(40),
            "scanner": ["A", None] * 20,
            "dated": [date(2020, 6, 30), date(2020, 7, 1), date(2021, 1, 1), None] * 10,
        }
    )
    scanners = ev.by_group(frame, pl.col("scanner").fill_null("unknown"), TARGET)
    assert scanners["group"].to_list() == ["A", "unknown"]
    alone = ev.metrics(truth[::2], mean[::2], _patients(40)[::2], TARGET)
    assert {k: scanners[k][0] for k in alone} == pytest.approx(alone)
    halves = ev.by_half_year(frame, TARGET)
    assert halves["group"].to_list() == ["2020 H1", "2020 H2", "2021 H1", "undated"]
    assert halves["n"].to_list() == halves["patients"].to_list() == [10] * 4


@pytest.mark.parametrize("step", [1.0, 2.0, 5.0, 10.0, 20.0])
def test_the_ceiling_is_what_the_truth_reaches_against_rounded_labels(step: float) -> None:
    truth = np.random.default_rng(0).uniform(0, 100, 20_000)
    labels = (truth / step).round() * step
    assert ev.rounding_step(labels, TARGET) == step
    assert ev.rounding_ceiling(labels, step) == pytest.approx(ev.r2(labels, truth), abs=0.002)


def test_a_few_odd_labels_do_not_hide_the_step_and_unrounded_ones_have_none() -> None:
    labels = np.array([10.0, 20, 35, 40, 55] * 10 + [33.0])
    assert ev.rounding_step(labels, TARGET) == 5
    assert ev.rounding_step(np.random.default_rng(0).uniform(0, 100, 50), TARGET) is None
    assert np.isnan(ev.rounding_ceiling(np.full(4, 50.0), 5))


@given(st.lists(st.sampled_from([0.0, 100.0]), max_size=30), st.integers(0, 3))
def test_labels_at_the_ends_of_the_range_tell_no_step(ends: list[float], n: int) -> None:
    inner = [20.0, 40.0, 80.0][:n]
    step = ev.rounding_step(np.array(ends + inner), TARGET)
    assert step == (20 if n == 3 else None)


def test_a_run_and_its_floor_are_held_against_the_truth(
    calibrated: tuple[FeatureStore, Path],
) -> None:
    store, truth = calibrated
    run = train(store, TrainConfig(cohort="all", bag_size=16, steps=5))
    table = pl.read_csv(truth)
    known = table.rename({"cellularity": "truth"})
    said = against_truth(store, run.run_id, lambda target: known)
    found = said.data
    test = run.predictions.filter(pl.col("split") == "test").join(table, on="slide_id")
    assert found["n"] == 20
    assert found["r2"] == ev.r2(test["cellularity"].to_numpy(), test["mean"].to_numpy())
    floor = run.metric("r2", "ridge_test")
    assert floor is not None
    assert floor < found["ridge_r2"] < 1  # labels are rounded, the truth is not
    assert f"R2 on 20 test slides, against the true cellularity: {found['r2']:.3f}" in said.text()


def test_a_truth_of_other_slides_is_refused_with_the_ones_it_likely_means() -> None:
    test = pl.DataFrame({"slide_id": ["S-01", "S-02"]})
    truth = pl.DataFrame({"slide_id": ["s-1", "X"], "truth": [40.0, 50.0]})
    with pytest.raises(ConfigError, match=r"none of the 2 test slides.*'s-1' is likely 'S-01'"):
        ev.with_truth(test, lambda target: truth, TARGET)
    known = truth.with_columns(slide_id=pl.Series(["S-02", "X"]))
    assert ev.with_truth(test, lambda target: known, TARGET).rows() == [("S-02", 40.0)]


def test_the_ceiling_is_what_labels_of_two_sources_allow(tmp_path: Path) -> None:
    rng, n = np.random.default_rng(0), 60
    truth = rng.uniform(10, 90, n)
    first, second = (truth + rng.normal(0, 8, (2, n))).clip(0, 100)
    store = es.build(tmp_path, [np.zeros((1, 4))] * n, first.tolist())  # of a person
    cases = store.labels()["case_id"]

    def give(method: Any, values: np.ndarray) -> None:
        told = {"target": "cellularity", "method": method, "status": "single"}
        pairs = zip(cases, values.clip(0, 100).tolist(), strict=True)
        store.record_labels(
            [Label(case_id=case, value=x, low=x, high=x, **told) for case, x in pairs], TARGET
        )

    def ceiling_of(cohort: str) -> str | None:
        return ev.ceiling(store, cohort, store.bags(cohort)["value"].to_numpy(), TARGET)

    give("human", first)  # given anew by one source, and not rounded
    es.freeze(store, "one", method="random")
    give("rules", second)
    es.freeze(store, "two", method="random")
    found = ceiling_of("two")
    assert found is not None
    assert "labels of 60 cases come from two sources" in found
    most = float(found.split("R2 ")[1].split(" ")[0])
    assert most == pytest.approx(ev.r2(store.bags("two")["value"].to_numpy(), truth), abs=0.06)
    give("human", rng.uniform(0, 100, n))  # a frozen Cohort keeps its labels, and its ceiling
    assert (ceiling_of("one"), ceiling_of("two")) == (None, found)
    es.freeze(store, "three", method="random")
    assert ceiling_of("three") != found
