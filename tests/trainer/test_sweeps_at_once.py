"""Sweeps at once: in threads, other processes and a cluster, each Run is made by one."""

from __future__ import annotations

import multiprocessing
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from builders import embedding_stores as es
from builders import grids
from builders.grids import FACTORS, QUICK
from click.testing import CliRunner

import cli
from featurestore import FeatureStore
from trainer import TrainConfig, helper, runs, train
from trainer.config import SweepConfig
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


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_runs_spread_over_ray_are_those_of_one_machine(store: FeatureStore, tmp_path: Path) -> None:
    utils = pytest.importorskip("ray.cluster_utils")
    table = sweep(store, QUICK, FACTORS, seeds=2)
    shutil.copytree(store.root, tmp_path / "store")
    other = FeatureStore(tmp_path / "store")
    for run_id in other.runs()["run_id"]:
        other.withdraw(run_id, "run", erase=True)
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        told: list[int] = []
        engine = SweepConfig(engine="ray", address=cluster.address)
        said = sweep(
            other,
            replace(QUICK, clip=1e30),
            {**FACTORS, "lr": [1e-3, 1e30]},
            seeds=1,
            engine=engine,
            progress=lambda done, total, note: told.append(done),
        )
        begun: list[Future[SweepResult]] = []
        with ThreadPoolExecutor(1) as pool:

            def begin(done: int, total: int, note: str) -> None:
                if not begun:  # an equal one on this machine, while the cluster is at work
                    begun.append(pool.submit(sweep, other, QUICK, FACTORS, seeds=2))

            found = sweep(other, QUICK, FACTORS, seeds=2, engine=engine, progress=begin)
        here = begun[0].result()
    finally:
        cluster.shutdown()
    assert len(said.failures) == 4
    assert all("lr 1e+30" in one for one in said.failures)
    assert told == list(range(1, 9))
    assert [one.values for one in found.cells] == [one.values for one in table.cells]
    assert (found.n_new, here.n_new, here.cells) == (8, 0, found.cells)
    for ours, theirs in zip(found.cells, table.cells, strict=True):
        for a, b in zip(ours.run_ids, theirs.run_ids, strict=True):
            here, there = runs.load(other, a), runs.load(store, b)
            assert here.record.metrics == there.record.metrics
            assert here.predictions.equals(there.predictions)
            weights = [(one.path / "weights.safetensors").read_bytes() for one in (here, there)]
            assert weights[0] == weights[1]
    assert found.differences == table.differences
    assert not any((other.root / "tmp").iterdir())
    assert sweep(other, QUICK, FACTORS, seeds=2).n_new == 0


def test_an_address_without_its_engine_is_refused(store: FeatureStore) -> None:
    words = ["sweep", "all", "--store", str(store.root), "--address", "host:6379"]
    said = CliRunner().invoke(cli.main, words)
    assert said.exit_code == 1
    assert "Add --engine ray" in said.output
