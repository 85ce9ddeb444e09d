"""Which Slides train, validate, calibrate and test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import TrainError
from trainer import TrainConfig
from trainer.holdout import (
    SPLITS,
    assign_splits,
    check_trainable,
    cut_patients,
    divide_ahead,
    notes,
)
from trainer.training_loop import job_of


def bags_of(patients: list[int], values: list[float], split: str = "train") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(len(patients))],
            "patient_id": [f"P{p}" for p in patients],
            "value": values,
            "split": [split] * len(patients),
        }
    )


@given(
    patients=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    fraction=st.floats(0, 0.9),
    calibration=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_validation_and_calibration_share_no_patient_with_train(
    patients: list[int], fraction: float, calibration: float, seed: int
) -> None:
    config = TrainConfig(
        cohort="c", validation_fraction=fraction, calibration_fraction=calibration, seed=seed
    )
    bags = bags_of(patients, [float(p) for p in patients])
    cut = assign_splits(bags, config)
    sides = cut.group_by("patient_id").agg(pl.col("split").n_unique())
    assert (sides["split"] == 1).all()
    assert cut["slide_id"].to_list() == bags["slide_id"].to_list()
    assert assign_splits(bags, config).equals(cut)
    assert "train" in cut["split"]
    assert (cut["split"] == "validation").sum() not in range(1, 5)
    assert (cut["split"] == "calibration").sum() not in range(1, 20)
    without = assign_splits(bags, replace(config, calibration_fraction=0))
    assert cut.filter(without["split"] == "validation").equals(
        without.filter(pl.col("split") == "validation")
    )


def test_of_a_lone_train_patient_no_number_of_patients_is_asked_to_be_lowered() -> None:
    alone = bags_of([0, 0], [1.0, 2.0])
    config = TrainConfig(cohort="c", train_patients=2)
    with pytest.raises(
        TrainError, match=r"1 patient; .* 2 of each\. Make a wider cohort: trephine"
    ):
        check_trainable(assign_splits(alone, config).vstack(bags_of([1], [3.0], "test")), config)
    with pytest.raises(TrainError, match="3 were asked for"):
        assign_splits(bags_of([0, 1], [1.0, 2.0]), replace(config, train_patients=3))


def test_validation_spans_the_labels() -> None:
    bags = bags_of(list(range(50)), [float(i) for i in range(50)])
    chosen = cut_patients(bags, 0.2, 0, 1)
    values = sorted(int(p[1:]) for p in chosen)
    assert [v // 5 for v in values] == list(range(10))


@pytest.mark.parametrize(
    ("sides", "values", "patients", "message"),
    [
        ("aaaa", [1, 2, 3, 4], "abcd", "no test slides"),
        ("abbb", [1, 2, 3, 4], "abcd", "1 train slide of 1 patient"),
        ("aabb", [1, 2, 3, 4], "aacd", "2 train slides of 1 patient;"),
        ("aabb", [7, 7, 3, 4], "abcd", "have the label 7"),
        ("aabb", [1, 2, 3, 4], "abbc", "in train and test"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(
    sides: str, values: list[float], patients: str, message: str
) -> None:
    bags = pl.DataFrame(
        {
            "split": [{"a": "train", "b": "test"}[s] for s in sides],
            "value": [float(v) for v in values],
            "patient_id": list(patients),
        }
    )
    with pytest.raises(TrainError, match=message):
        check_trainable(bags, TrainConfig(cohort="all"))


@given(st.lists(st.sampled_from("01234"), min_size=1, max_size=30), st.sampled_from("012345"))
def test_a_fold_is_test_and_all_others_are_not(folds: list[str], fold: str) -> None:
    bags = bags_of(list(range(len(folds))), [float(i) for i in range(len(folds))])
    bags = bags.with_columns(split=pl.Series(folds))
    config = TrainConfig(cohort="c", fold=fold)
    if fold not in folds:
        with pytest.raises(TrainError, match=f"has no fold '{fold}'"):
            assign_splits(bags, config)
        return
    cut = assign_splits(bags, config)
    assert cut.select(((pl.col("split") == "test") == (bags["split"] == fold)).all()).item()
    with pytest.raises(TrainError, match="--fold"):
        assign_splits(bags, replace(config, fold=None))


@given(st.lists(st.sampled_from(SPLITS), min_size=1, max_size=60), st.integers(0, 3))
def test_what_a_reader_must_know_of_the_split_is_said(splits: list[str], lost: int) -> None:
    bags = bags_of(list(range(len(splits))), [0.0] * len(splits))
    bags = bags.with_columns(split=pl.Series(splits))
    parts = {name: bags.filter(pl.col("split") == name) for name in SPLITS}
    found = pl.concat([bags, *[bags[:1]] * lost])
    said = " ".join(notes(found, bags, parts))
    assert ("without a tile" in said) == (lost > 0)
    assert ("the last weights are kept" in said) == (splits.count("validation") < 5)


@pytest.mark.parametrize("tiles", [None, "tissue > 0.2"])
def test_what_is_divided_ahead_is_the_same_and_refused_alike(
    learnable: FeatureStore, tiles: str | None
) -> None:
    config = TrainConfig(cohort="all", tiles=tiles)
    expected = job_of(learnable, config)
    store = FeatureStore(learnable.root)
    divide_ahead(store, config)
    for _ in range(2):  # once ahead, then anew
        job = job_of(store, config)
        assert (job.key, job.notes) == (expected.key, expected.notes)
        assert job.bags.equals(expected.bags)
        assert all(job.parts[name].equals(part) for name, part in expected.parts.items())
    with store.rows(job.bags) as ours, learnable.rows(job.bags) as theirs:
        x, y = np.empty((2, 1, 8), np.float16)
        for i in range(job.bags.height):
            ours.read_rows(i, np.zeros(1, np.int64), x)
            theirs.read_rows(i, np.zeros(1, np.int64), y)
            assert (x == y).all()
    wrong = replace(config, train_patients=1_000)
    divide_ahead(store, wrong)
    with pytest.raises(TrainError, match="1000 were asked for"):
        job_of(store, wrong)
    greedy = replace(config, validation_fraction=0.95, calibration_fraction=0.1)
    with pytest.raises(TrainError, match=r"0.95 and --calibration-fraction 0.1 leave no patient"):
        job_of(store, greedy)
