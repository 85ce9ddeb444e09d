"""Runs on classes: how many of each there are is said first, and numbers are those of classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import sklearn.metrics
from builders import embedding_stores as es
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Label, Target
from trainer import TrainConfig, compare, page, predict, runs, train, write_page
from trainer.config import SettleConfig
from trainer.floor import floor_of
from trainer.settling import settle
from trainer.sweep import sweep

TARGET = Target(name="mds", kind="binary", low=0, high=1)
QUICK = TrainConfig(cohort="all", steps=2, bag_size=4, resamples=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Sixty Slides, a third positive; Cohorts `all`, with two positives in test, and `folds`."""
    x, _ = es.planted(60, 8, dim=4)
    labels = [float(i % 3 == 0) for i in range(60)]
    root = tmp_path_factory.mktemp("classes") / "store"
    made = es.build(root, x, labels, target=TARGET)
    negative = [i for i in range(60) if i % 3]
    test = {0, 3, *negative[:30]}
    parts = {f"S-{i:04}": "test" if i in test else "train" for i in range(60)}
    es.freeze(made, target="mds", split=parts)
    es.freeze(made, "folds", "folds", target="mds")
    return made


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_few_slides_of_a_class_alarm_before_all_else(drawn: tuple[int, int]) -> None:
    n, positive = drawn
    numbers = {"n": n, "patients": n, "positive": positive / n, "auc": 0.9, "accuracy": 1.0}
    said = runs.cautions(runs.scores_of(TARGET), numbers, {"auc": 0.5})
    least = min(positive, n - positive)
    alarms = [one for one in said if runs.level_of(one) == "alarm"]
    assert len(alarms) == (least < 10)
    if alarms:
        assert said[0] == alarms[0]
        assert f"test has {least} " in said[0]
        assert f" of {n} slide" in said[0]


def test_a_run_says_how_many_slides_of_each_class_it_has(
    store: FeatureStore, tmp_path: Path
) -> None:
    run = train(store, replace(QUICK, validation_fraction=0.2), draw=False)
    first, *rest = run.text().splitlines()
    assert first.startswith("alarm       test has 2 positive of 32 slides, under 10: AUC and acc")
    (counts,) = [one for one in rest if "positive slides:" in one]
    assert counts.endswith(", 2 of 32 in test")
    text = write_page(store, [run.run_id], tmp_path / "page.html").read_text()
    assert text.index("Test has 2 positive of 32 slides") < text.index("Area under the ROC curve")
    assert '<li class="alarm">Test has 2 positive' in text
    assert '"middle":0.5' in text
    assert "alarm   Test has 2 positive" in page.page_text(store, [run.run_id]).text()


def test_a_cohort_tells_its_classes_by_side_and_folds_in_order(store: FeatureStore) -> None:
    sides = {side.split: side for side in store.splits("all")}
    assert (sides["test"].slides, sides["test"].positive) == (32, 2)
    assert sides["train"].positive == 18
    assert sides["test"].labels == "2 positive, 30 negative"
    slides = store.bags("all")["slide_id"].to_list()
    es.freeze(store, "many", split={one: str(i % 12) for i, one in enumerate(slides)}, target="mds")
    assert [side.split for side in store.splits("many")] == [str(i) for i in range(12)]


def test_folds_of_classes_have_the_floor_of_all_slides_together(store: FeatureStore) -> None:
    found = sweep(store, replace(QUICK, cohort="folds", calibration_fraction=0))
    (cell,) = found.cells
    made = [runs.load(store, run_id) for run_id in cell.run_ids]
    floors = pl.concat(floor_of(store, run.config, TARGET) for run in made)
    expected = sklearn.metrics.roc_auc_score(floors["label"], floors["mean"])
    assert cell.ridge["auc"] == pytest.approx(expected)
    shown = f"AUC {cell.ridge['auc']:.3f}"
    assert f"ridge floor {shown}, accuracy" in found.text()
    tests = [page.test_slides(store, run) for run in made]
    seen = compare.view(store, made, tests)
    assert shown in seen["pooled"]["floor"]
    again = compare.view(store, [*made, made[0]], [*tests, tests[0]])  # a fold that was made twice
    assert again["pooled"] == seen["pooled"]
    assert again["cells"] == seen["cells"]
    assert [one["title"] for one in seen["figures"]].count("ROC curve") == 1


def test_bags_of_classes_settle_in_accuracy_and_what_was_not_tried_is_said(
    store: FeatureStore,
) -> None:
    run = train(store, replace(QUICK, steps=60, lr=0.05), draw=False)
    few = settle(store, run.run_id, SettleConfig(bag_sizes=(1,), resamples=2))
    row = few.frame.row(0, named=True)
    assert {"accuracy_1", "accuracy"} <= set(row)
    assert not {"mae", "mae_1"} & set(row)
    assert (row["enough"] > 2) == any(f"--resamples {row['enough']}" in one for one in few.notes)
    assert row["enough"] > 2
    many = settle(store, run.run_id, SettleConfig(bag_sizes=(8,), resamples=2), curve=True)
    assert len(many.notes) == 1  # all Slides are one Bag
    right = np.asarray(many.frame["accuracy"])
    assert right.min() == right.max()


def test_labels_are_those_of_the_target_whatever_a_cohort_is_of(
    store: FeatureStore, tmp_path: Path
) -> None:
    cases = store.bags("all")["case_id"].to_list()
    said = {"target": "cellularity", "method": "human", "status": "single"}
    given_ = [
        Label(case_id=case, value=i % 5, low=i % 5, high=i % 5, **said)
        for i, case in enumerate(cases[::2])
    ]
    store.record([label.recorded(Target()) for label in given_])
    es.freeze(store, "cells", "random", where="cellularity is not null")
    run = train(store, QUICK, draw=False)
    other = train(store, replace(QUICK, cohort="cells", tiles="tissue > 0"), draw=False)
    expected = dict(store.bags("all").select("slide_id", "value").iter_rows())
    told = predict(store, run.run_id, "cells")
    assert dict(told.select("slide_id", "label").iter_rows()) == {
        one: expected[one] for one in told["slide_id"]
    }
    row = settle(store, run.run_id, SettleConfig(bag_sizes=(8,), resamples=1), cohort="cells")
    right = (told["mean"] > 0.5) == (told["label"] > 0.5)
    assert row.frame["accuracy"].item() == pytest.approx(right.mean())
    assert compare.compare(store, run.run_id, other.run_id).data["n_slides"] == 0
    with pytest.raises(ConfigError, match="runs with one target"):
        write_page(store, [run.run_id, other.run_id], tmp_path / "page.html")


def test_what_text_would_leave_out_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    run = train(store, QUICK, draw=False)
    out = tmp_path / "page.txt"
    words = ["report", run.run_id, "--text", "--store", str(store.root)]
    given = (["-o", str(out)], ["--all"], ["--rounding", "5"], ["--truth", "x.csv"])
    for more in (*given, [*given[0], *given[1]]):
        found = CliRunner().invoke(cli.main, [*words, *more])
        assert found.exit_code == 2, found.output
        named = " and ".join(word for word in more if word.startswith("-"))
        assert f"leave out {named}\n" in found.output
    assert not out.exists()
    assert CliRunner().invoke(cli.main, words).exit_code == 0
