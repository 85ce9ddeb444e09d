"""A training that was broken off goes on to the same result."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import embedding_stores as es
from builders.longer import longer

from featurestore import FeatureStore
from featurestore.errors import NotFinite
from trainer import TrainConfig, plots, runs, train, training_loop
from trainer.training_loop import STATE

# Dropout draws from the generator; 70% of train is enough to choose the weights by.
CONFIG = TrainConfig(
    cohort="all", bag_size=8, steps=60, lr=0.03, dropout=0.3, validation_fraction=0.7, patience=2
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Sixty Slides of 6 to 15 tiles; Cohort `all`, split by time."""
    x, values = es.planted(60, [6 + i % 10 for i in range(60)], dim=8, noise=4)
    store = es.build(tmp_path_factory.mktemp("resume"), x, values)
    es.freeze(store)
    return store


@pytest.fixture(scope="module")
def whole(store: FeatureStore) -> runs.Run:
    """The Run that nothing broke off."""
    run = train(store, CONFIG)
    assert run.record.n_validation >= 20
    assert run.record.fit["steps"] < 60  # stopped early
    return run


def assert_same(run: runs.Run, whole: runs.Run) -> None:
    assert run.run_id != whole.run_id
    assert run.record.metrics == whole.record.metrics
    assert run.predictions.equals(whole.predictions)
    weights = [(r.path / "weights.safetensors").read_bytes() for r in (run, whole)]
    assert weights[0] == weights[1]
    assert logged(run.path) == logged(whole.path)
    assert {p.name for p in run.path.iterdir()} == {p.name for p in whole.path.iterdir()}


def logged(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without what a clock says."""
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    clock = ("seconds", "bags_per_s")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def unfinished(store: FeatureStore) -> list[Path]:
    return list((store.root / "tmp").glob("run-*"))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Save at every evaluation."""
    monkeypatch.setattr(training_loop, "SAVE_S", 0)
    monkeypatch.setattr(training_loop, "SAVE_SHARE", math.inf)


@pytest.mark.parametrize("saves", [["eagerly"], longer([])])
def test_a_killed_training_goes_on_to_the_same_result(
    store: FeatureStore, whole: runs.Run, saves: list[str]
) -> None:
    code = """
import json, math, os, signal, sys
from featurestore import FeatureStore
from trainer import TrainConfig, train, training_loop
if len(sys.argv) > 3:
    training_loop.SAVE_S, training_loop.SAVE_SHARE = 0, math.inf
def kill(step, steps, note):
    if step >= 20:
        os.kill(os.getpid(), signal.SIGKILL)
train(FeatureStore(sys.argv[1]), TrainConfig(**json.loads(sys.argv[2])), kill)
"""
    command = [sys.executable, "-c", code, str(store.root), json.dumps(asdict(CONFIG)), *saves]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    (left,) = unfinished(store)
    assert len(logged(left)) >= 1
    steps: list[int] = []
    run = train(store, CONFIG, lambda step, *_: steps.append(step))
    assert (min(steps) > 20) == bool(saves)  # what was saved is not done again
    assert ("it was broken off and went on from step 20" in run.text()) == bool(saves)
    assert_same(run, whole)
    assert not unfinished(store)


def test_saving_takes_a_bounded_share_of_the_time(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    took: list[float] = []
    save = training_loop.save

    def slow(*what: Any) -> None:
        began = time.perf_counter()
        time.sleep(0.002)
        save(*what)
        took.append(time.perf_counter() - began)

    monkeypatch.setattr(training_loop, "save", slow)
    train(store, replace(CONFIG, seed=2))
    assert not took  # a training of under five seconds has nothing to lose
    monkeypatch.setattr(training_loop, "SAVE_S", 0)
    run = train(store, replace(CONFIG, seed=3, steps=200, patience=0))
    assert took
    assert sum(took[:-1]) <= training_loop.SAVE_SHARE * run.record.fit["seconds"]


@pytest.mark.proof
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("stop", ["first", "last", "end"])
def test_it_goes_on_wherever_it_was_broken_off(
    store: FeatureStore, whole: runs.Run, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    last = logged(whole.path)[-1]["step"]

    def interrupt(step: int, steps: int, note: str) -> None:
        if stop == "first" or (stop == "last" and step == last):
            raise KeyboardInterrupt

    def at_the_end(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stop == "end":  # all is trained, nothing published
            patch.setattr(plots, "save_figures", at_the_end)
        with pytest.raises(KeyboardInterrupt):
            train(store, CONFIG, interrupt)
    assert_same(train(store, CONFIG), whole)
    assert not unfinished(store)


@pytest.mark.usefixtures("eager")
def test_another_configuration_or_a_spoilt_state_starts_anew(
    store: FeatureStore, whole: runs.Run
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(store, CONFIG, interrupt)
    steps: list[int] = []
    train(store, replace(CONFIG, seed=1, steps=4), lambda step, *_: steps.append(step))
    assert steps[0] <= 2
    (left,) = unfinished(store)
    state = left / STATE
    state.write_bytes(state.read_bytes()[:1000])
    assert_same(train(store, CONFIG), whole)


@pytest.mark.proof
@pytest.mark.usefixtures("eager")
def test_two_trainings_of_one_configuration_do_not_meet(
    store: FeatureStore, whole: runs.Run
) -> None:
    inner: list[runs.Run] = []

    def again(*_: Any) -> None:
        if not inner:
            inner.append(train(store, CONFIG))

    run = train(store, CONFIG, again)
    assert_same(run, inner[0])
    assert_same(run, whole)


def test_a_refused_training_leaves_nothing(tmp_path: Path) -> None:
    x, values = es.planted(8, 5, dim=4)
    x[0][:] = torch.nan
    store = es.build(tmp_path, x, values)
    es.freeze(store)
    with pytest.raises(NotFinite, match="slide 'S-0000'"):
        train(store, replace(CONFIG, bag_size=16))
    assert not unfinished(store)
