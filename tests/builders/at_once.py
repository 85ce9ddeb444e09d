"""Processes and threads that read and write one store at the same time."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from builders.catalog_rows import case_row, label_row

from featurestore import FeatureStore, catalog

COUNT = "select (select count(*) from cases), (select count(*) from labels)"


def write(store: FeatureStore, name: str) -> None:
    """A Case with its Label: nobody may see the one without the other."""
    store.record([case_row(name, "P"), label_row(name, 50.0)])


def read(store: FeatureStore, name: str) -> None:
    """Nothing changes while the catalog is open."""
    with catalog.reader(store.root) as con:
        found = con.execute(COUNT).fetchall()
        time.sleep(0.002)
        assert found == con.execute(COUNT).fetchall()
        assert found[0][0] == found[0][1], found


def sql(store: FeatureStore, name: str) -> None:
    """The same by the child process."""
    ((cases, labels),) = store.sql(COUNT).rows()
    assert cases == labels, (cases, labels)


KINDS = {"write": write, "read": read, "sql": sql}


def _thread(root: Path, kind: str, name: str, seconds: float, told: Any) -> None:
    store, n, fault, until = FeatureStore(root), 0, "", time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            KINDS[kind](store, f"{name}-{n}")
            n += 1
            time.sleep(0 if kind == "write" else 0.02)  # a writer comes in between
    except BaseException as error:
        fault = f"{kind}: {type(error).__name__}: {error}"
    told.put((kind, n, fault))


def _process(root: Path, kinds: Sequence[str], seconds: float, told: Any, all_here: Any) -> None:
    all_here.wait()
    threads = [
        threading.Thread(target=_thread, args=(root, kind, f"{os.getpid()}-{i}", seconds, told))
        for i, kind in enumerate(kinds)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def at_once(root: Path, processes: Sequence[str], seconds: float) -> tuple[Counter[str], list[str]]:
    """Let processes work, each with a thread for every word; how often each did, and its faults."""
    spawn = multiprocessing.get_context("spawn")
    told, all_here = spawn.Queue(), spawn.Barrier(len(processes))
    started = [
        spawn.Process(target=_process, args=(root, kinds.split(), seconds, told, all_here))
        for kinds in processes
    ]
    for one in started:
        one.start()
    done, faults = Counter[str](), list[str]()
    for _ in range(sum(len(kinds.split()) for kinds in processes)):
        kind, n, fault = told.get(timeout=seconds + 60)
        done[kind] += n
        faults += [fault] if fault else []
    for one in started:
        one.join()
    return done, faults
