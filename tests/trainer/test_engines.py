"""Runs on a Ray cluster: those of one machine."""

from __future__ import annotations

import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from builders import grids
from builders.grids import FACTORS, QUICK
from click.testing import CliRunner

import cli
from featurestore import FeatureStore
from trainer import runs
from trainer.config import SweepConfig
from trainer.sweep import SweepResult, sweep


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return grids.build(tmp_path_factory.mktemp("sweep") / "store")


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
