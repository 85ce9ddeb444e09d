"""Table 1 against numbers made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders import grids
from builders.grids import FACTORS, QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.fields import to_json
from featurestore.types import Target, TargetKind
from trainer import evaluate, page, runs
from trainer.evaluate import estimates
from trainer.sweep import SweepResult, sweep


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return grids.build(tmp_path_factory.mktemp("sweep") / "store")


@pytest.fixture(scope="module")
def table(store: FeatureStore) -> SweepResult:
    return sweep(store, replace(QUICK, steps=3), FACTORS, seeds=2)


def test_its_numbers_are_those_of_its_runs(store: FeatureStore, table: SweepResult) -> None:
    cell = table.cells[0]
    each = [runs.load(store, one) for one in cell.run_ids]
    for name in ("r2", "mae"):
        values = [run.metric(name) for run in each]
        assert cell.scores[name].value == pytest.approx(np.mean(values))
        assert cell.spread[name] == pytest.approx(np.std(values, ddof=1))
    floors = [run.metric("r2", "ridge_test") for run in each]
    assert cell.ridge["r2"] == pytest.approx(np.mean(floors))
    both = [one.predictions.filter(pl.col("split") == "test").sort("slide_id") for one in each]
    mean = (both[0]["mean"] + both[1]["mean"]).to_numpy() / 2
    assert cell.ensemble["r2"] == pytest.approx(evaluate.r2(both[0]["label"].to_numpy(), mean))
    size = next(one for one in table.differences if one.factor == "bag_size")
    assert size.pairs == 4
    large, small = (
        np.mean([c.scores["r2"].value for c in table.cells if c.values["bag_size"] == n])
        for n in (16, 4)
    )
    assert size.scores["r2"].value == pytest.approx(large - small)


def test_the_text_is_table_1(table: SweepResult) -> None:
    said = table.text()
    assert "8 runs, 8 of them new" in said
    assert "bag-size  16 - 4" in said
    assert "model     mean - attention" in said
    assert to_json(table)["cells"][0]["values"] == {"bag_size": 4, "model": "attention"}


def test_one_test_slide_gives_no_spread_and_the_reason(store: FeatureStore, tmp_path: Path) -> None:
    parts = {f"S-{i:04}": "train" for i in range(20)} | {"S-0020": "test"}
    es.freeze(store, "one", split=parts, where="slide_id < 'S-0021'")
    config = replace(QUICK, cohort="one", steps=1, calibration_fraction=0)
    found = sweep(store, config, seeds=2)
    assert "nan" not in found.text()
    assert found.cells[0].spread["r2"] is None
    assert "R2 is undefined for a single slide" in found.text().splitlines()[0]
    out = page.write_page(store, found.cells[0].run_ids, tmp_path / "report.html")
    text = out.read_text()
    assert "R² – (undefined for a single slide) and a mean absolute error of" in text
    assert "On the 1 test slide of 1 patient" in text
    assert "– to –" not in text


def test_a_row_under_its_floor_says_so(table: SweepResult) -> None:
    low, high = (replace(table.cells[i], ridge={"r2": floor}) for i, floor in ((0, 2.0), (1, -9.0)))
    lines = replace(table, cells=(low, high)).text().splitlines()
    assert "R2 of 1 of 2 rows is under the ridge floor" in lines[0]
    assert [line for line in lines if "2.000 (R2 is under it)" in line]
    assert not [line for line in lines if "-9.000 (" in line]


@given(
    st.integers(3, 30), st.integers(1, 3), st.integers(0, 99), st.sampled_from(get_args(TargetKind))
)
@settings(max_examples=30, deadline=None)
def test_scores_are_means_and_a_difference_with_itself_is_none(
    n: int, replicates: int, seed: int, kind: TargetKind
) -> None:
    rng = np.random.default_rng(seed)
    target = Target(name="any", kind=kind, low=0, high=100)
    labels = rng.choice([0.0, 100], n) if kind == "binary" else rng.uniform(0, 100, n)
    patients = np.array([f"P{i // 2}" for i in range(n)])
    a, b = (
        [evaluate.drawn(labels, one, patients, target) for one in labels + rng.normal(0, 60, size)]
        for size in [(replicates, n)] * 2
    )
    scores = runs.scores_of(target)
    ours, theirs, none = estimates(scores, a), estimates(scores, b), estimates(scores, a, a)
    gain, loss = estimates(scores, a, b), estimates(scores, b, a)
    for name, _, form in scores:
        unit = 100 if form.endswith("%") else 1
        if (mean := np.mean([one[name][0] for one in a])) != mean:  # of one class, or equal labels
            assert ours[name].value is None
            continue
        assert ours[name].value == pytest.approx(mean)
        assert (none[name].value, none[name].low, none[name].high) == (0, None, None)
        assert gain[name].value == pytest.approx(unit * (ours[name].value - theirs[name].value))
        assert gain[name].value == pytest.approx(-loss[name].value)
        if gain[name].low is not None:
            assert gain[name].low == pytest.approx(-loss[name].high)
