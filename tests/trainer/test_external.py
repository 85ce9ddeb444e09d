"""A Run on Slides of others, several Runs as one, and what they have seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import embedding_stores as es

from featurestore import FeatureStore
from featurestore.errors import CohortError, ConfigError, RunNotFound, TrainError
from featurestore.types import Case, Label, Slide, Target
from trainer import TrainConfig, predict, train
from trainer.external import validate
from trainer.inference import predict_together as predict_as_one
from trainer.runs import Run

QUICK = TrainConfig(cohort="own", steps=30, bag_size=8, resamples=3)
SIDES = ["train"] * 14 + ["validation"] * 4 + ["calibration"] * 20 + ["test"] * 10


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Cohort `own` of 48 Slides with all four sides; `other` of 11 more, `mixed` of both."""
    x, values = es.planted(60, 12, dim=6)
    root = tmp_path_factory.mktemp("external") / "store"
    made = es.build(root, x, values.tolist())
    made.record([Case(case_id="C-0059", patient_id="P-0000")])  # a new Slide of a train Patient
    names = [f"S-{i:04}" for i in range(60)]
    es.freeze(made, "own", split=dict(zip(names, SIDES, strict=False)), where="slide_id < 'S-0048'")
    es.freeze(made, "other", "random", where="slide_id between 'S-0048' and 'S-0058'")
    es.freeze(made, "mixed", "random", where="slide_id > 'S-0040'")
    return made


@pytest.fixture(scope="module")
def run(store: FeatureStore) -> Run:
    return train(store, QUICK, draw=False)


def test_every_slide_says_whether_it_was_seen(store: FeatureStore, run: Run) -> None:
    frame = predict(store, run.run_id, where="true")
    seen = dict(frame.select("slide_id", "seen").iter_rows())
    names = [f"S-{i:04}" for i in range(60)]
    expected = [side if side != "test" else "not" for side in SIDES] + ["not"] * 11 + ["train"]
    assert [seen[name] for name in names] == expected


def test_what_was_cut_from_train_is_known_too(store: FeatureStore) -> None:
    es.freeze(store, "cut", where="slide_id < 'S-0059'")
    made = train(store, replace(QUICK, cohort="cut", train_patients=20), draw=False)
    seen = predict(store, made.run_id)["seen"].value_counts().rows()
    n = made.record
    assert dict(seen)["train"] == n.n_train
    assert dict(seen).get("validation", 0) == n.n_validation
    assert n.n_train + n.n_validation + n.n_calibration == 20


def test_external_validation_has_every_number_of_a_run(store: FeatureStore, run: Run) -> None:
    found = validate(store, run.run_id, "other")
    metrics = found.data["metrics"]
    assert metrics["test"].keys() == run.record.metrics["test"].keys()
    assert found.data["n_test"] == 11
    frame = predict(store, run.run_id, "other")
    off = (frame["mean"] - frame["label"]).abs().mean()
    assert metrics["test"]["mae"] == pytest.approx(off)
    assert metrics["ridge_test"]["r2"] is not None
    said = found.text()
    assert "trained on cohort own, on cohort other" in said
    assert "interval " in said
    assert "figure " not in said
    assert found.json()["trained_on"] == "own"


def test_patients_that_were_learnt_from_are_refused(store: FeatureStore, run: Run) -> None:
    with pytest.raises(
        TrainError, match=r"from 1 patient of cohort 'mixed', .*with 1 slide, .*'P-0000'"
    ):
        validate(store, run.run_id, "mixed")


def test_a_copy_under_another_name_is_known_as_the_slide_that_it_copies(
    store: FeatureStore, run: Run
) -> None:
    x, _ = es.planted(60, 12, dim=6)
    of = {100: 0, 101: 15, 102: 20, 103: 40, 104: 41, 105: 50}
    slides = {s.slide_id: s for s in store.known(Slide)}
    for i, copied in of.items():  # by another key, as of another scale, and another Patient
        made = es.arrays_of(i, x[copied], store.encoder(run.record.encoder_id))
        es.copy_in(store, made)
        own = {"slide_id": f"Z-{i}", "case_id": f"Z-{i}", "slide_key": made.slide_key}
        label = Label(
            case_id=f"Z-{i}",
            target="cellularity",
            value=float(i % 7),
            low=0,
            high=9,
            method="human",
            status="single",
        )
        rows = [
            replace(slides[f"S-{copied:04}"], **own),
            Case(case_id=f"Z-{i}", patient_id=f"Z{i}"),
        ]
        store.record([*rows, label.recorded(Target())])
    seen = dict(predict(store, run.run_id, where="true")["slide_id", "seen"].iter_rows())
    for i, copied in of.items():
        assert seen[f"Z-{i}"] == seen[f"S-{copied:04}"]
    assert set(seen.values()) == {"train", "validation", "calibration", "not"}
    es.freeze(store, "copies", "random", where="slide_id >= 'Z-102'")
    with pytest.raises(TrainError, match=r"copies of their slides, with 1 slide, .*'Z-102'"):
        validate(store, run.run_id, "copies")
    es.freeze(store, "tests", "random", where="slide_id >= 'Z-103'")
    assert validate(store, run.run_id, "tests").data["own_patients"] == 2


@pytest.mark.parametrize(
    ("where", "known", "n"),
    [
        ("slide_id between 'S-0042' and 'S-0047'", 6, 6),
        ("slide_id > 'S-0044' and slide_id < 'S-0050'", 3, 5),
    ],
)
def test_the_test_of_a_run_is_no_external_validation(
    store: FeatureStore, run: Run, where: str, known: int, n: int
) -> None:
    es.freeze(store, f"late-{known}", "random", where=where)
    found = validate(store, run.run_id, f"late-{known}")
    head, warning, *_ = found.text().splitlines()
    assert head.startswith("not an external validation") == (known == n)
    assert f"{known} of {n} patients are of the run's own cohort own" in warning
    assert found.json()["own_patients"] == known
    assert "own cohort" not in validate(store, run.run_id, "other").text()


def test_several_runs_predict_as_one(store: FeatureStore, run: Run) -> None:
    other = train(store, replace(QUICK, seed=1), draw=False)
    rows = predict_as_one(store, [run.run_id, other.run_id, "other"])
    each = [predict(store, one.run_id, "other") for one in (run, other)]
    means = np.stack([frame["mean"].to_numpy() for frame in each])
    assert rows.frame["mean"].to_numpy() == pytest.approx(means.mean(axis=0))
    assert rows.frame["std_models"].to_numpy() == pytest.approx(means.std(axis=0, ddof=1))
    bags = np.stack([frame["std"].to_numpy() for frame in each])
    assert rows.frame["std"].to_numpy() == pytest.approx(np.sqrt((bags**2).mean(axis=0)))
    assert rows.frame.columns[:-1] == each[0].columns
    assert "mean of 2 runs" in rows.notes[0]
    alone = predict_as_one(store, [run.run_id])
    assert alone.frame.equals(predict(store, run.run_id))
    with pytest.raises(ConfigError, match="named twice"):
        predict_as_one(store, [run.run_id, run.run_id[:-1]])
    with pytest.raises(RunNotFound):
        predict_as_one(store, ["other"])
    with pytest.raises(RunNotFound, match="Nor is a cohort called so"):
        predict_as_one(store, [run.run_id, "nothing"])


def test_slides_that_cannot_be_predicted_are_named(store: FeatureStore) -> None:
    picky = train(store, replace(QUICK, tiles="tissue > 0.9"), draw=False)
    rows = predict_as_one(store, [picky.run_id, "other"])
    bags = store.bags("other")
    tissue = [store.tiles(*ids)["tissue"] for ids in bags["slide_key", "tiling_id"].iter_rows()]
    lacking = [one for one, x in zip(bags["slide_id"], tissue, strict=True) if x.max() <= 0.9]
    assert lacking
    assert list(rows.failures) == lacking
    assert all(one in rows.notes[-1] for one in lacking)
    assert rows.frame.height == bags.height - len(lacking)


def test_the_same_again_gives_the_same_numbers(store: FeatureStore, run: Run) -> None:
    config = run.again()
    assert (config.encoder_id, config.steps) == (run.record.encoder_id, 30)
    assert train(store, config, draw=False).record.metrics == run.record.metrics


@pytest.mark.parametrize("length", [{"epochs": 5}, {}])
def test_the_same_again_gives_the_same_intervals(store: FeatureStore, length: Any) -> None:
    run = train(store, TrainConfig(cohort="own", bag_size=8, resamples=2, **length), draw=False)
    again = run.again()
    assert (again.epochs, again.steps) == (run.config.epochs, None)
    twin = train(store, again, draw=False)
    assert twin.predictions.equals(run.predictions)  # of its models out of fold, too
    assert (run.half_widths is None) == (twin.half_widths is None)
    if run.half_widths is not None and twin.half_widths is not None:
        assert run.half_widths.times == twin.half_widths.times


def test_runs_are_listed_by_a_condition(store: FeatureStore, run: Run) -> None:
    assert store.runs("bag_size = 8 and seed = 0")["run_id"].to_list().count(run.run_id) == 1
    assert run.run_id not in store.runs("bag_size = 4")["run_id"].to_list()
    assert store.run(run.run_id[:-1]).run_id == run.run_id


def test_a_cohort_goes_after_its_runs_and_its_name_is_free_again(store: FeatureStore) -> None:
    es.freeze(store, "brief", where="slide_id < 'S-0030'")
    made = train(store, replace(QUICK, cohort="brief"), draw=False)
    with pytest.raises(CohortError, match=f"1 run,.*runs delete {made.run_id}"):
        store.withdraw("brief", "cohort")
    store.withdraw(made.run_id, "run")
    with pytest.raises(RunNotFound):
        store.run(made.run_id)
    store.withdraw("brief", "cohort")
    es.freeze(store, "brief", where="slide_id < 'S-0020'")
    assert train(store, replace(QUICK, cohort="brief"), draw=False).run_id != made.run_id
