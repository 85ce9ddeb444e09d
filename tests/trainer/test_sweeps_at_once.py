"""Sweeps at once: in threads, other processes and a cluster, each Run is made by one."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import embedding_stores as es
from builders import grids
from builders.grids import QUICK

from featurestore import FeatureStore
from trainer import TrainConfig, helper, runs, train
from trainer.shared_store import Shared
from trainer.sweep import SweepResult, sweep

SEVERAL = pytest.mark.skipif(torch.get_num_threads() < 2, reason="a second process needs a core")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return grids.build(tmp_path_factory.mktemp("sweep") / "store")


@pytest.mark.parametrize("sizes", [([4, 8], [4, 8]), ([4, 8], [8, 16]), ([8, 4], [16, 8, 4])])
def test_of_sweeps_at_once_each_run_is_made_by_one_and_used_by_all(
    store: FeatureStore, sizes: tuple[list[int], list[int]]
) -> None:
    """Each order, for they may meet at any Run."""
    config = replace(QUICK, steps=2, lr=2e-3 + len(sizes[1]) / 1e4, clip=float(sizes[1][0]))
    with ThreadPoolExecutor(2) as pool:  # locks are of an open folder, not of a process
        found = list(pool.map(lambda own: sweep(store, config, {"bag_size": own}), sizes))
    assert_made_once(store, found, len({*sizes[0], *sizes[1]}))


def assert_made_once(store: FeatureStore, found: list[SweepResult], n: int) -> None:
    """Sweeps are complete, from so many Runs in all, and those that two have are the same."""
    keys = {key for one in found for key in one.sweep.runs}
    rows = store.ask("select run_id from runs where key in (select unnest($k))", {"k": [*keys]})
    assert (len(keys), rows.height, sum(one.n_new for one in found)) == (n, n, n)
    cells = [{cell.values["bag_size"]: cell for cell in one.cells} for one in found]
    assert [len(own) for own in cells] == [len(one.sweep.runs) for one in found]
    assert not [failure for one in found for failure in one.failures]
    for size in cells[0].keys() & cells[1].keys():
        assert cells[0][size] == cells[1][size]
    assert not [*(store.root / "tmp").iterdir()]


MAKES = """
import sys, time
from pathlib import Path
from trainer import TrainConfig
from trainer.sweep import sweep
from featurestore import FeatureStore

def hold(done, total, note):
    if "step" in note and done:
        said = Path(sys.argv[2])
        said.touch()
        while said.exists():
            time.sleep(0.01)

config = TrainConfig(cohort="all", steps=2, resamples=2, lr=3e-3)
print(sweep(FeatureStore(sys.argv[1]), config, {"bag_size": [4, 8]}, progress=hold).n_new)
"""


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.proof
def test_a_sweep_waits_for_the_run_that_another_process_makes(
    tmp_path: Path, is_killed: bool
) -> None:
    """Where that is killed, it makes the Run itself."""
    store = es.build(tmp_path / "store", *es.planted(42, 12, dim=6))
    es.freeze(store)
    at_work, told = tmp_path / "at_work", list[int]()
    config = TrainConfig(cohort="all", steps=2, resamples=2, lr=3e-3)
    words = [sys.executable, "-c", MAKES, str(store.root), str(at_work)]
    other, pool = subprocess.Popen(words, stdout=subprocess.PIPE, text=True), ThreadPoolExecutor(1)
    try:
        wait_until(lambda: at_work.exists() or other.poll() is not None)
        ours = pool.submit(
            lambda: sweep(
                store, config, {"bag_size": [16, 8]}, progress=lambda n, of, note: told.append(n)
            )
        )
        wait_until(lambda: 1 in told or ours.done())
        time.sleep(0.3)
        assert not ours.done()
        assert max(told) == 1
        if is_killed:
            other.kill()
        at_work.unlink()
        said = other.communicate(timeout=60)[0]
        found = ours.result(60)
    finally:
        other.kill()
        other.communicate()
        pool.shutdown()
    assert (said, found.n_new) == (("", 2) if is_killed else ("2\n", 1))
    assert store.runs()["bag_size"].sort().to_list() == [4, 8, 16]
    theirs = sweep(store, config, {"bag_size": [4, 8]})
    assert_made_once(store, [theirs, replace(found, n_new=3)], 3)


def wait_until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.02)


@SEVERAL
@pytest.mark.proof
def test_a_second_process_gives_the_same_numbers(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "WORTH_S", 0)
    begun: list[str] = []
    config = replace(QUICK, lr=2e-3, device="cpu")
    table = sweep(
        store, config, {"bag_size": [4, 16]}, seeds=4, progress=lambda *said: begun.append(said[2])
    )
    assert table.n_new == 8
    begun_here = {note.split(": step")[0] for note in begun if ": step" in note}
    assert 0 < len(begun_here) < 8
    for run_id in [one for cell in table.cells for one in cell.run_ids]:
        made = runs.load(store, run_id)
        alone = train(store, made.config)
        assert alone.record.key == made.record.key
        assert alone.record.metrics == made.record.metrics
        assert alone.predictions.sort("slide_id").equals(made.predictions.sort("slide_id"))


@SEVERAL
def test_each_run_is_made_once_if_the_second_process_is_killed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "WORTH_S", 0)
    killed: list[int | None] = []

    def kill(done: int, total: int, note: str) -> None:
        for process in multiprocessing.active_children():
            killed.append(process.pid)
            process.kill()

    config = replace(QUICK, lr=3e-3, device="cpu")
    table = sweep(store, config, {"bag_size": [4, 16]}, seeds=2, progress=kill)
    assert killed
    assert not table.failures
    assert table.n_new == len(table.sweep.runs) == 4
    made = "select count(*) as n from runs where key in (select unnest($keys))"
    assert store.ask(made, {"keys": list(table.sweep.runs)})["n"][0] == 4
    assert not multiprocessing.active_children()


def test_a_store_of_many_runs_opens_elsewhere_with_nothing_that_it_read(
    store: FeatureStore,
) -> None:
    shared = Shared.of(FeatureStore(store.root, trust=True))
    read = shared.bags("all")
    assert shared.once("it", lambda: 1) == shared.once("it", lambda: 2) == 1
    other = pickle.loads(pickle.dumps(shared))
    assert other.trust
    assert other.once("it", lambda: 2) == 2
    assert other.bags("all").equals(read)
    assert other.bags("all") is other.bags("all") is not read
