"""Folders of unfinished work: one process has each, and the next finds what it left."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from featurestore import layout
from featurestore.errors import NotFinite, TrainError


@contextmanager
def lend(tmp: Path, key: str) -> Iterator[Path]:
    """Lend the folder of the unfinished work `key`, with what a broken-off call left there.

    While another process has it, the folder is a new one. Work that is refused leaves none.

    Args:
        tmp: folder of all unfinished work.
        key: names the work: the same key, the same folder.
    """
    work = tmp / f"run-{key}"
    lock = _lock(work)
    if lock is None:
        work = work.with_name(f"{work.name}-{uuid.uuid4().hex[:8]}")
        lock = _lock(work)
    try:
        yield work
    except (TrainError, NotFinite):
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _lock(work: Path) -> int | None:
    """Make and lock a folder; a lock dies with its process. None where another has it."""
    layout.make(work)
    lock = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if work.stat().st_ino == os.fstat(lock).st_ino:  # not published in between
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


def unfinished(tmp: Path, older_than: timedelta) -> list[Path]:
    """Folders of trainings that nobody has, and nobody wrote to for a while; the oldest first."""
    found = []
    for work in tmp.glob("run-*"):
        last = max((one.stat().st_mtime for one in [work, *work.rglob("*")]), default=0.0)
        lock = _lock(work) if time.time() - last > older_than.total_seconds() else None
        if lock is not None:
            os.close(lock)
            found.append((last, work))
    return [work for _, work in sorted(found)]
