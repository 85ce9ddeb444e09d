"""Threads and processes that use one store at once: who has the catalog has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from builders.at_once import COUNT, at_once

from featurestore import FeatureStore, catalog

WRITE = """
import sys
from pathlib import Path
from featurestore import folding
folding.fold(Path(sys.argv[1]), timeout_s=0.1)
"""


@pytest.mark.parametrize("opens", [catalog.reader, catalog.writer])
def test_no_other_process_writes_while_a_thread_has_the_catalog(tmp_path: Path, opens: Any) -> None:
    """DuckDB's own lock is the process's, which loses it when any thread closes the file."""
    root = FeatureStore.create(tmp_path / "store").root
    with opens(root):
        catalog.path_of(root).read_bytes()
        command = [sys.executable, "-c", WRITE, str(root)]
        done = subprocess.run(command, capture_output=True, text=True)
    assert "CatalogBusy" in done.stderr
    assert f"(PID {os.getpid()})" in done.stderr


def holds(root: Path, processes: list[str], seconds: float) -> None:
    """What was written is there, nobody saw half of it, and nobody was refused."""
    done, faults = at_once(FeatureStore.create(root).root, processes, seconds)
    assert faults == []
    assert min(done.values()) > 0
    assert FeatureStore(root).ask(COUNT).row(0) == (done["write"], done["write"])
    assert FeatureStore.verify(root).failures == []


def test_threads_and_processes_read_and_write_one_store_at_once(tmp_path: Path) -> None:
    holds(tmp_path / "store", ["write write", "read read sql"], 0.5)


@pytest.mark.proof
def test_many_threads_and_processes_use_one_store_for_long(tmp_path: Path) -> None:
    many = ["write write read", "write read", "read read", "sql read", "sql"]
    holds(tmp_path / "store", many, 30.0)
