"""A Run's record, its command and what it says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pytest
from builders.embedding_stores import ENCODER
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore, frame_of
from featurestore.cohorts import RUN_ID
from featurestore.errors import ConfigError, RunNotFound
from featurestore.fields import to_json
from featurestore.types import Prediction, RunRecord, Target, TargetKind
from trainer import TrainConfig, runs, train, verdict
from trainer.runs import Run


@given(st.floats(0.01, 1e6), st.floats(-1e3, 1e3))
def test_what_is_told_coarsely_hides_at_most_a_twentieth_of_the_scale(
    width: float, low: float
) -> None:
    target = Target(name="t", kind="continuous", low=low, high=low + width)
    step = 10.0 ** -runs.coarse(target)
    assert runs.coarse(target) == 0 or step <= width / 10
    assert step / 2 <= width / 20 or width < 20
    assert runs.digits(target) == max(1, runs.coarse(target))


CONFIG = TrainConfig(cohort="my cohort", loss="mse", tiles="tissue > 0.5")


def test_no_cohort_may_be_called_as_a_run_is() -> None:
    assert re.fullmatch(RUN_ID, runs.new_run_id(CONFIG, datetime(2026, 1, 1)))


def made(config: TrainConfig = CONFIG, **changed: Any) -> Run:
    """A Run of three test Slides, one of them a single Bag."""
    record = RunRecord(
        run_id="20260101-000000-abcdef",
        cohort=config.cohort,
        encoder_id="e" * 16,
        tiling_id="t" * 16,
        config=to_json(config),
        code_version="1",
        target="cellularity",
        target_kind="fraction",
        target_low=0,
        target_high=100,
        dim=4,
        model=config.model,
        bag_size=config.bag_size,
        seed=config.seed,
        n_train=30,
        n_validation=4,
        n_test=3,
        fit={},
        notes=("something odd",),
        started_at=datetime(2026, 1, 1),
        seconds=12.34,
        metrics={"test": {"r2": 0.5, "r2_low": None, "r2_high": 0.75}, "ridge_test": {"r2": 0.25}},
    )
    predictions = [
        Prediction(
            slide_id=f"S{i}",
            slide_key=f"{i:016}",
            split="test",
            label=50,
            mean=40,
            std=None if i == 0 else 1.5,
            n_tiles=9,
            n_resamples=1 if i == 0 else 10,
        )
        for i in range(3)
    ]
    return Run(
        record=replace(record, **changed),
        path=Path("runs/x"),
        predictions=frame_of(Prediction, predictions),
        encoder=ENCODER,
    )


def test_it_says_its_numbers_and_what_to_type_next() -> None:
    said = made().text()
    for words in (
        " of encoder planted, 30 slides to train, 4 to validate, 3 to test, 12.3 s",
        "test R2     0.500",
        "test MAE    –",
        "ridge floor R2 0.250 (mean",
        "10 resampled bags; none for 1 of 3 test slides",
        "note        something odd",
        "trephine report 20260101-000000-abcdef",
    ):
        assert words in said, words
    assert "interval    ±" not in said  # nothing calibrated


def warned(r2: float, ridge: float, patients: int, **changed: Any) -> Run:
    test = {"r2": r2, "auc": r2, "patients": float(patients)}
    return made(metrics={"test": test, "ridge_test": {"r2": ridge, "auc": ridge}}, **changed)


@given(
    st.floats(-2, 1), st.floats(-2, 1), st.integers(2, 200), st.sampled_from(get_args(TargetKind))
)
def test_what_must_be_read_first_stands_first(
    r2: float, ridge: float, patients: int, kind: Any
) -> None:
    run = warned(r2, ridge, patients, target_kind=kind)
    expected = [r2 < ridge, r2 < 0 and kind != "binary", patients < 50]
    said = run.warnings()
    words = ("ridge floor", "mean label", f"{patients} patients, under 50")
    assert [any(word in line for line in said) for word in words] == expected
    first = run.text().splitlines()[: len(said) + 1]
    assert first[:-1] == [f"warning     {line}" for line in said]
    assert first[-1].startswith("run ")


def test_classes_and_cases_are_said_where_there_are_some() -> None:
    assert "by case" not in made().text()
    cases = {"n": 2.0, "auc": 0.5, "accuracy": 0.75}
    test = {"r2": 0.1, "auc": 0.75, "accuracy": 0.8, "positive": 0.25}
    said = made(metrics={"test": test, "test_cases": cases}, target_kind="binary").text()
    assert "by case     AUC 0.500, accuracy 75.0% of 2 cases, each the mean of its slides" in said
    assert "test AUC    0.750" in said
    assert "; 25% of test are positive" in said


@pytest.mark.parametrize("kind", get_args(TargetKind))
def test_values_have_intervals_and_classes_none(kind: Any) -> None:
    run = made(target_kind=kind)
    split = pl.lit("calibration").alias("split")
    judged = pl.concat([run.predictions.with_columns(split)] * 10).with_columns(
        slide_id=pl.int_range(30).cast(pl.String), case_id=pl.int_range(30).cast(pl.String)
    )
    told = replace(run, predictions=judged)
    assert (told.half_widths is None) == (kind == "binary")


def test_an_older_run_that_counted_no_patients_goes_by_its_slides() -> None:
    assert "test has 3 patients" in made().warnings()[-1]


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        (CONFIG, "fraction", "trephine train 'my cohort' --tiles 'tissue > 0.5'"),
        (TrainConfig(cohort="c", loss="mse"), "continuous", "trephine train c"),
        (TrainConfig(cohort="c", loss="bce"), "fraction", "trephine train c --loss bce"),
        (
            TrainConfig(cohort="c", loss="bce", encoder_id="e", standardise=False),
            "binary",
            "trephine train c --encoder e --no-standardise",
        ),
    ],
)
def test_the_command_names_what_differs_from_the_defaults(
    config: TrainConfig, kind: Any, expected: str
) -> None:
    assert made(config, target_kind=kind).command() == expected


def test_a_run_is_loaded_as_it_was_trained(learnable: FeatureStore) -> None:
    config = TrainConfig(cohort="all", bag_size=16, steps=5, resamples=3)
    run = train(learnable, config)
    again = runs.load(learnable, run.run_id)
    assert again.record == replace(run.record, sequence=again.record.sequence)
    assert again.record.sequence > 0
    assert again.path == run.path
    assert again.config == replace(config, loss="mse")
    assert again.predictions.sort("slide_id").rows() == run.predictions.sort("slide_id").rows()
    assert runs.load(learnable, "latest").run_id == run.run_id
    rows = learnable.sql("from runs where run_id = $id", {"id": run.run_id})
    assert rows.row(0, named=True)["started_at"] == run.record.started_at
    assert again.predictions.columns == pl.Series(run.predictions.columns).to_list()
    with pytest.raises(RunNotFound):
        runs.load(learnable, "20000101-000000-abcdef")


def test_a_metric_that_a_run_has_not_is_refused_by_name() -> None:
    assert made().metric("r2", "ridge_test") == 0.25
    assert made().metric("r2_low") is None
    with pytest.raises(ConfigError, match="no metric is called 'r3'; there is r2, r2_high, r2_low"):
        made().metric("r3")
    with pytest.raises(ConfigError, match="no split is called 'nope'; there is ridge_test, test"):
        made().metric("r2", "nope")


def test_ids_sort_by_time_and_tell_configurations_apart() -> None:
    times = [datetime(2026, 1, day, 12) for day in (1, 2, 3)]
    ids = [runs.new_run_id(CONFIG, at) for at in times]
    assert ids == sorted(ids)
    assert runs.new_run_id(replace(CONFIG, seed=1), times[0]) != ids[0]
    assert runs.new_run_id(CONFIG, times[0]) == ids[0]


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"n": 1.0, "patients": 1.0, "r2": None, "mae": 3.0}, "undefined for a single slide"),
        ({"n": 4.0, "patients": 4.0, "r2": None}, "undefined where all labels are equal"),
        ({"n": 4.0, "patients": 1.0, "r2": 0.5, "mae": 3.0}, "no interval: it is of one patient"),
    ],
)
def test_a_number_that_is_missing_says_why(test: dict[str, float | None], said: str) -> None:
    lines = made(metrics={"test": test, "ridge_test": {"r2": 0.25}}).text().splitlines()
    (line,) = (one for one in lines if one.startswith("test R2"))
    assert said in line
    assert "– to –" not in line
    assert any(f"{said[:9]}" in one or "none has an interval" in one for one in lines[:2])
    about = Target(name="cellularity", kind="fraction")
    assert said in verdict.score({"mae": None, **test}, about)
