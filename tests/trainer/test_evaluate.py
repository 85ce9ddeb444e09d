from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from featurestore.types import Target
from trainer import evaluate as ev

TARGET = Target()


def test_metrics_agree_with_closed_forms() -> None:
    truth, predicted = np.array([10.0, 20, 30, 60]), np.array([15.0, 20, 36, 49])
    got = ev.metrics(truth, predicted, np.array(list("abcd")), TARGET)
    assert got["r2"] == pytest.approx(1 - (25 + 0 + 36 + 121) / (400 + 100 + 0 + 900))
    assert got["mae"] == pytest.approx(22 / 4)
    assert got["rmse"] == pytest.approx(np.sqrt(182 / 4))
    assert got["pearson"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1])
    assert (got["within_5"], got["within_10"]) == (0.5, 0.75)
    slope, intercept = np.polyfit(predicted, truth, 1)
    assert (got["slope"], got["intercept"]) == pytest.approx((slope, intercept))
    assert got["bias"] == 0
    s = np.std([5, 0, 6, -11], ddof=1)
    assert got["loa_high"] == pytest.approx(1.96 * s, rel=1e-4)
    assert got["loa_high_high"] - got["loa_high"] == pytest.approx(1.96 * s * np.sqrt(3 / 4), 1e-4)
    assert got["bias_high"] == pytest.approx(1.96 * s / 2, rel=1e-4)


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=3, max_size=50).filter(
        lambda rows: np.std([r[0] for r in rows]) > 0.1
    )
)
def test_r2_is_that_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    truth, predicted = np.array(rows).T
    assert ev.r2(truth, predicted) == pytest.approx(r2_score(truth, predicted))


def test_undefined_numbers_are_null() -> None:
    got = ev.finite(ev.metrics(np.array([50.0]), np.array([40.0]), np.array(["a"]), TARGET))
    assert got["mae"] == 10
    assert [got[k] for k in ("r2", "pearson", "slope", "loa_low", "r2_low", "mae_low")] == [
        None
    ] * 6


def test_a_binary_target_has_an_auc() -> None:
    truth, predicted = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.6, 0.5, 0.9])
    target = Target(name="fibrosis", kind="binary", low=0, high=1)
    assert ev.metrics(truth, predicted, np.arange(4), target)["auc"] == 0.75


def test_the_bootstrap_draws_patients_with_all_their_slides() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 100, 40)
    predicted = truth + rng.normal(0, 10, 40)
    alone = ev.bootstrap_by_patient(truth, predicted, np.arange(40))
    assert alone["r2_low"] < ev.r2(truth, predicted) < alone["r2_high"]
    # Each Slide five times over, but of the same Patients: no narrower for it.
    repeat = [np.repeat(a, 5) for a in (truth, predicted, np.arange(40))]
    assert ev.bootstrap_by_patient(*repeat) == pytest.approx(alone)
    pretended = ev.bootstrap_by_patient(repeat[0], repeat[1], np.arange(200))
    assert pretended["mae_high"] - pretended["mae_low"] < 0.6 * (
        alone["mae_high"] - alone["mae_low"]
    )


def test_the_bootstrap_equals_drawing_slides_one_by_one() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0, 100, 30)
    predicted, patients = truth + rng.normal(0, 15, 30), np.arange(30) // 2
    draws = [
        np.concatenate([np.flatnonzero(patients == p) for p in rng.integers(0, 15, 15)])
        for _ in range(4_000)
    ]
    slow = np.percentile([ev.r2(truth[d], predicted[d]) for d in draws], [2.5, 97.5])
    fast = ev.bootstrap_by_patient(truth, predicted, patients)
    assert [fast["r2_low"], fast["r2_high"]] == pytest.approx(slow, abs=0.03)


def test_ranges_hold_their_lower_edge_and_the_top() -> None:
    frame = pl.DataFrame({"truth": [0.0, 19.9, 20.0, 100.0], "mean": [10.0, 19.9, 10.0, 90.0]})
    table = ev.by_range(frame, TARGET)
    assert table["group"].to_list() == ["0–20", "20–40", "80–100"]
    assert table["n"].to_list() == [2, 1, 1]
    assert table["bias"].to_list() == [5, -10, -10]
