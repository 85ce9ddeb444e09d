"""A store is looked at and mended while others write to it, or were killed at it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from builders.catalog_rows import case_row, slide_arrays, slide_row
from builders.damage import (
    Copy,
    flip,
    is_told,
    names,
)
from builders.longer import longer

from featurestore import FeatureStore, catalog, layout, verify
from featurestore.config import SplitConfig
from featurestore.types import ArrayIds


def write_as_an_ingest_does(root: Path, encoder: str, n: int) -> None:
    """Publish arrays of new Slides and of known ones; the catalog follows in batches."""
    store, rows, waiting = FeatureStore(root), [], []
    for i in range(n):
        key = f"{ord(encoder):08x}{i:08x}" if i % 2 else f"{2 + i % 3:016x}"
        made = slide_arrays(key, 9 if i % 2 else (7, 7, 9)[i % 3], encoder=encoder * 16)
        if i % 2 == 0:
            made = replace(made, encoder_id=f"{ord(encoder):08x}{i:08x}")
        store.publish(made)
        waiting.append(ArrayIds(key, made.tiling.tiling_id, made.encoder_id))
        case = f"C-{encoder}-{i}"
        rows += [case_row(case, case), slide_row(case, case, key)] if i % 2 else []
        if i % 4 == 3:
            store.record(rows, published=waiting, wait_s=float("inf"))
            rows, waiting = [], []
    store.record(rows, published=waiting, wait_s=float("inf"))


@pytest.mark.parametrize("how", [longer({}), {"repair": True}], ids=["plain", "repair"])
def test_a_healthy_store_is_whole_while_an_ingest_writes(
    copied: Copy, how: dict[str, bool]
) -> None:
    root, n = copied(), 12
    other = get_context("spawn").Process(target=write_as_an_ingest_does, args=(root, "b", n))
    own = threading.Thread(target=write_as_an_ingest_does, args=(root, "a", n))
    for one in (other, own):
        one.start()
    while own.is_alive() or other.is_alive():
        told = FeatureStore.verify(root, **how)
        assert told.text().endswith("whole"), told.text()
    assert other.exitcode == 0
    told = FeatureStore.verify(root, **how)
    assert told.text().endswith("whole")
    assert not told.waiting
    assert not (root / "quarantine" / "slides").exists()
    assert FeatureStore(root).ask("select count(*) from embeddings").item() == 6 + 2 * n
    assert not list((root / "quarantine").rglob("*.zarr"))


@pytest.mark.parametrize("during", ["check_group", "_known", "_look", "_by_key"])
@pytest.mark.parametrize("records", [True, longer(False)])
def test_what_is_published_during_the_second_look_is_no_finding(
    copied: Copy, monkeypatch: pytest.MonkeyPatch, during: str, records: bool
) -> None:
    root = copied()
    store, key, todo = FeatureStore(root), f"{2:016x}", list("bcdef")
    inner, waiting = getattr(verify, during), list[ArrayIds]()

    def late(*given: object, **named: object) -> object:
        if todo:
            made = replace(slide_arrays(key, 7), encoder_id=todo.pop() * 16)
            store.publish(made)
            waiting.append(ArrayIds(key, made.tiling.tiling_id, made.encoder_id))
        if waiting and records:
            store.record(published=waiting)
            waiting.clear()
        return inner(*given, **named)

    store.publish(replace(slide_arrays(key, 7), encoder_id="a9" * 8))  # a first look is not enough
    monkeypatch.setattr(verify, during, late)
    told = FeatureStore.verify(root)
    assert len(todo) < 5
    assert told.text().endswith("whole"), told.text()


def test_what_a_killed_ingest_left_is_told_and_no_stranger_is_called_its_work(copied: Copy) -> None:
    root = copied()
    FeatureStore(root).publish(slide_arrays("a" * 16, 5))  # and killed: nobody claims it
    (left,) = FeatureStore.verify(root).failures
    assert left.text().endswith("trephine ingest --adopt-only")
    at_work = FeatureStore(root)
    at_work.publish(slide_arrays("b" * 16, 5))
    shutil.copytree(root / "slides" / f"{1:016x}.zarr", root / "slides" / f"{'c' * 16}.zarr")
    told = FeatureStore.verify(root)
    assert told.waiting == 2
    assert [one.path for one in told.failures] == [f"slides/{'c' * 16}.zarr"]
    chunks = (root / "slides" / f"{'b' * 16}.zarr").rglob("c/0/0")
    flip(next(path for path in chunks if path.is_file()), np.random.default_rng(0))
    assert is_told(f"slides/{'b' * 16}.zarr", names(root))
    del at_work


@pytest.mark.parametrize("how", ["repair", longer("rebuild")])
def test_a_run_whose_folder_is_gone_is_told_and_its_mend_says_that_it_is_lost(
    copied: Copy, how: str
) -> None:
    root = copied()
    shutil.rmtree(root / "runs" / "r1")
    assert "runs/r1" in names(root)
    (lost,) = FeatureStore.verify(root, **{how: True}).failures
    assert lost.path == "runs/r1"
    assert "lost" in lost.fault
    assert names(root) == []
    assert FeatureStore(root).runs()["run_id"].to_list() == ["r2"]


WRITES = """
import sys
from builders.catalog_rows import case_row
from featurestore import FeatureStore
store, n = FeatureStore(sys.argv[1]), 0
while True:
    print(n, flush=True)
    store.record([case_row(f"D{n}-{i}", "P") for i in range(2000)])
    n += 1
"""


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_writer_that_is_killed_at_any_time_locks_nobody_out(copied: Copy) -> None:
    root, rng, logs, n = copied(), np.random.default_rng(0), 0, 0
    log = root / f"{layout.CATALOG}.wal"
    while n < 50 or (logs < 6 and n < 400):  # how often a log is left hangs on the disk
        word = [sys.executable, "-c", WRITES, str(root)]
        places = os.pathsep.join(sys.path)
        with subprocess.Popen(
            word, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": places}
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while n % 2 and not log.exists():
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.01 if n % 2 else 0.3))
            writer.kill()
        logs, n = logs + log.exists(), n + 1
        assert FeatureStore(root).sql("from slides").height
        assert FeatureStore(root).ask("from slides").height
    assert logs >= 6  # it was killed while it wrote
    FeatureStore(root).record()
    assert FeatureStore.verify(root, rebuild=True).failures == []


def test_ctrl_c_is_no_damage(copied: Copy) -> None:
    root = copied()

    def stopped() -> None:
        with catalog.reader(root) as con:
            threading.Timer(0.2, con.interrupt).start()
            con.execute("select count(*) from range(10_000_000_000) where random() > 2").fetchall()

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert names(root) == []


def test_a_rebuild_and_an_erasure_at_once_lose_no_cohort(copied: Copy) -> None:
    root = copied()
    FeatureStore(root).create_cohort("other", "from bags", split=SplitConfig(method="random"))
    acts: list[Callable[[], object]] = [
        lambda: FeatureStore.verify(root, rebuild=True),
        lambda: FeatureStore(root).withdraw("P2", erase=True),
    ]
    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(act) for act in acts]:
            done.result()
    store = FeatureStore(root)
    assert {store.cohort(name).dropped["erased"] for name in ("all", "other")} == {1}
    assert store.ask("select count(*) from cohort_slides where case_id = 'C2'").item() == 0
    assert store.ask("select count(*) from cohort_slides").item() > 0
    left = [one for one in FeatureStore.verify(root).failures if "the check" not in one.fault]
    assert not left


def test_a_repair_makes_the_catalog_anew_only_where_something_of_it_changes(copied: Copy) -> None:
    root = copied()
    (root / "ledger" / "labels" / "mine.txt").write_text("mine")
    flip(next(root.glob("slides/*/*/embeddings/*/c/0/0")), np.random.default_rng(0))
    inode = (root / layout.CATALOG).stat().st_ino
    done = FeatureStore.verify(root, repair=True)
    assert sum("is in" in one for one in done.mended) == 2
    assert (root / layout.CATALOG).stat().st_ino == inode
    assert all("the check" in one.fault for one in done.failures), done.text()
    next(root.glob("runs/*/weights.safetensors")).write_bytes(b"other")
    FeatureStore.verify(root, repair=True)
    assert (root / layout.CATALOG).stat().st_ino != inode


@pytest.mark.parametrize("stopped", [False, True])
def test_several_processes_find_what_one_does_also_where_they_are_stopped(
    copied: Copy, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    root = copied()
    flip(
        next(path for path in root.glob("slides/*/*/embeddings/*/c/0/0")), np.random.default_rng(0)
    )
    alone = FeatureStore.verify(root)
    monkeypatch.setattr(verify, "MANY", 1)
    monkeypatch.setattr(verify, "PART", 1)
    monkeypatch.setattr(verify, "processors", lambda: 3)
    monkeypatch.setattr(verify, "SILENCE_S", 0.3 if stopped else 20)
    ended, others = threading.Event(), set(multiprocessing.active_children())

    def stop() -> None:
        while stopped and not ended.wait(0.001):
            for one in set(multiprocessing.active_children()) - others:
                os.kill(one.pid or 0, signal.SIGSTOP)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(stop)
        try:
            together = FeatureStore.verify(root)
        finally:
            ended.set()
    assert together.seconds < 10 or not stopped
    assert (together.failures, together.bytes) == (alone.failures, alone.bytes)
    assert len(alone.failures) == 1
