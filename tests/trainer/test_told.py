"""What every command tells of a Run: the scores of its Target's kind, and what alarms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from builders import embedding_stores as es
from builders.longer import longer
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.types import Target
from trainer import TrainConfig, compare, page, runs, train
from trainer.config import CurveConfig
from trainer.curve import curve
from trainer.external import validate
from trainer.inference import predict_together
from trainer.suspects import suspects
from trainer.sweep import sweep

QUICK = TrainConfig(cohort="all", steps=2, resamples=1, calibration_fraction=0)
KINDS = {
    "fraction": (Target(), ("R2", "MAE"), "AUC"),
    "binary": (Target(name="mds", kind="binary", low=0, high=1), ("AUC", "accuracy"), "R2"),
}


@pytest.fixture(scope="module", params=["binary", longer("fraction")])
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, str]]:
    """A kind of Target, and what is said of Runs on random Embeddings, by command."""
    target, _, _ = KINDS[request.param]
    x, values = es.planted(44, 8, dim=4)
    labels = values if target.kind == "fraction" else (values > 50).astype(float)
    root = tmp_path_factory.mktemp(request.param) / "store"
    store = es.build(root, x, labels.tolist(), target=target, weights="random")
    es.freeze(store, where="slide_id < 'S-0034'", target=target.name)
    es.freeze(store, "folds", "folds", where="slide_id < 'S-0034'", target=target.name)
    es.freeze(store, "other", "random", where="slide_id >= 'S-0034'", target=target.name)
    return request.param, dict(_texts(store))


def _texts(store: FeatureStore) -> Iterator[tuple[str, str]]:
    steps: list[str] = []
    show: Callable[[int, int, str], None] = lambda done, n, note: steps.append(note)  # noqa: E731
    run = train(store, replace(QUICK, validation_fraction=0.3), show, draw=False)
    yield "progress of train", steps[0]
    yield "train", run.text()
    yield "train, loaded", runs.load(store, run.run_id).text()
    yield "report --text", page.page_text(store, [run.run_id]).text()
    yield "evaluate", validate(store, run.run_id, "other").text()
    yield "suspects", suspects(store, run.run_id).text()
    yield "predict", "\n".join(predict_together(store, [run.run_id, "other"]).notes)
    found = sweep(store, QUICK, {"bag_size": [2, 4]})
    yield "sweep", found.text()
    one, two = (cell.run_ids[0] for cell in found.cells)
    yield "predict as one", "\n".join(predict_together(store, [one, two, "other"]).notes)
    yield "runs compare", compare.compare(store, one, two).text()
    yield "train --seeds", sweep(store, QUICK, seeds=2).text()
    yield "train on folds", sweep(store, replace(QUICK, cohort="folds")).text()
    listed = store.runs().select("r2", "mae", "ridge_r2", "auc", "accuracy", "ridge_auc")
    yield "runs", " ".join(one.name for one in listed if one.count())
    yield "curve", curve(store, QUICK, CurveConfig(sizes="4,8,12", seeds=1)).text()


def test_a_target_is_told_by_the_scores_of_its_kind(told: tuple[str, dict[str, str]]) -> None:
    kind, texts = told
    _, own, foreign = KINDS[kind]
    scores = set(texts) - {"progress of train", "runs", "suspects", "predict", "predict as one"}
    for name in scores:
        assert all(score in texts[name].replace("R²", "R2") for score in own), (name, texts[name])
    for name, text in texts.items():
        assert foreign not in text.replace("R²", "R2"), (name, text)
        balance = kind == "binary" and name in scores - {"report --text"}
        assert ("of test are positive" in text) == balance, (name, text)
    assert f"validation {own[0]}" in texts["progress of train"]
    assert ("would be about" in texts["curve"]) != ("no steady gain" in texts["curve"])


def test_runs_are_listed_with_the_scores_of_their_kind(told: tuple[str, dict[str, str]]) -> None:
    expected = {"fraction": "r2 mae ridge_r2", "binary": "auc accuracy ridge_auc"}
    assert told[1]["runs"] == expected[told[0]]


def test_random_weights_alarm_wherever_a_number_is_told(told: tuple[str, dict[str, str]]) -> None:
    for name, text in told[1].items():
        if name not in ("progress of train", "runs"):
            assert runs.RANDOM in text.replace("The enc", "the enc"), (name, text)


NEAR = st.sampled_from([0.0, 1e-12, 2e-5, 4e-4, 6e-4, 0.003, 0.2])
COMPARED = re.compile(
    r"(-?[\d.]+)%? is (under|at) (?:the ridge floor of )?(-?[\d.]+)%?:.* does (\w+)"
)


@pytest.mark.parametrize("kind", KINDS)
@given(st.floats(-0.5, 0.99), NEAR, st.sampled_from([-1, 1]), st.sampled_from([0.3, 0.695, 1.0]))
def test_a_word_on_two_numbers_is_what_they_say_as_printed(
    kind: str, value: float, off: float, sign: int, positive: float
) -> None:
    scores = runs.scores_of(KINDS[kind][0])
    numbers: dict[str, Any] = {"n": 900, "patients": 900, "r2": value, "auc": value}
    if kind == "binary":
        numbers |= {"positive": positive, "accuracy": max(positive, 1 - positive) + sign * off}
    floor = {scores[0][0]: value + sign * off}
    said = runs.cautions(scores, numbers, floor)
    found = [COMPARED.search(one) for one in said]
    for ours, word, theirs, does in (one.groups() for one in found if one):
        assert word == ("at" if float(ours) == float(theirs) else "under")
        assert float(ours) <= float(theirs)
        assert does == ("as" if word == "at" else "better")
    lower = [sign > 0 and off > 0, kind == "fraction" and value < 0]
    lower += [kind == "binary" and sign < 0 and off > 1e-9]
    # value + off may be value itself
    assert len([one for one in found if one]) == sum(lower) - (value + off == value and lower[0])
