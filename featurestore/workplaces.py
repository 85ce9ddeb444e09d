"""Folders of unfinished work: one process has each, and the next finds what it left."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from featurestore import layout
from featurestore.errors import ConfigError, NotFinite, TrainError


@contextmanager
def lend(tmp: Path, key: str) -> Iterator[Path]:
    """Lend the folder of the unfinished work `key`, with what a broken-off call left there.

    While another process has it, the folder is a new one. Work that cannot be done leaves none; a
    refusal leaves what an earlier call did, and no empty folder.
    """
    work = tmp / f"run-{key}"
    lock = _lock(work)
    if lock is None:
        work = work.with_name(f"{work.name}-{uuid.uuid4().hex[:8]}")
        lock = _lock(work)
    try:
        yield work
    except ConfigError:
        with suppress(OSError):  # it holds the work of a broken-off call
            work.rmdir()
        raise
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


class Claim:
    """Says that things in a folder are not recorded yet, as long as there are some.

    Several processes may claim one folder; a claim dies with its process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._things, self._guard = folder, set[Hashable](), threading.Lock()
        self._close: Callable[[], object] = lambda: None

    def add(self, thing: Hashable) -> None:
        """Before it is put there."""
        with self._guard:
            if not self._things:
                lock = os.open(self._folder, os.O_RDONLY)
                self._close = weakref.finalize(self, os.close, lock)
                with suppress(OSError):  # this file system has none: see `is_claimed`
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            self._things.add(thing)

    def drop(self, things: Iterable[Hashable]) -> None:
        """When they are recorded."""
        with self._guard:
            self._things.difference_update(things)
            if not self._things:
                self._close()

    @property
    def things(self) -> frozenset[Hashable]:
        """What is not recorded yet."""
        return frozenset(self._things)


def is_claimed(folder: Path) -> bool:
    """Whether somebody claims a folder, or the file system cannot tell."""
    if not folder.is_dir():
        return False
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def left_over(tmp: Path, older_than: timedelta = timedelta(hours=1)) -> list[Path]:
    """What killed processes left, and nobody wrote to for a while; trainings can go on."""
    is_old = time.time() - older_than.total_seconds()
    return [
        path
        for path in (sorted(tmp.iterdir()) if tmp.is_dir() else [])
        if not path.name.startswith("run-") and _last_write(path) < is_old
    ]


def remove(path: Path) -> None:
    """Remove a file or a folder, whoever is faster."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _last_write(path: Path) -> float:
    every = [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]
    times = [0.0]
    for one in every:
        with suppress(OSError):
            times.append(one.lstat().st_mtime)
    return max(times)


def unfinished(tmp: Path, older_than: timedelta) -> list[Path]:
    """Folders of trainings that nobody has, and nobody wrote to for a while; the oldest first."""
    found = []
    for work in tmp.glob("run-*"):
        last = _last_write(work)
        lock = _lock(work) if time.time() - last > older_than.total_seconds() else None
        if lock is not None:
            os.close(lock)
            found.append((last, work))
    return [work for _, work in sorted(found)]
