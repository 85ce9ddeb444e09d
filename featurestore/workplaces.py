"""Folders of unfinished work: one process has each, and the next finds what it left."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

from featurestore import layout
from featurestore.errors import CatalogBusy, ConfigError, NotFinite, StoreUnwritable, TrainError


@contextmanager
def lend(tmp: Path, key: str) -> Iterator[Path]:
    """Lend the folder of the unfinished work `key`, with what a broken-off call left there.

    While another process has it, or the file system cannot tell, the folder is a new one. Work that
    cannot be done leaves none; a refusal leaves what an earlier call did, and no empty folder.
    """
    work = tmp / f"run-{key}"
    if (lock := _lock(work)) is None:
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


@contextmanager
def turn(root: Path, key: str) -> Iterator[None]:
    """Hold the work `key` alone: who comes later waits until it is done, or its process is gone.

    Where the file system has no locks, nobody waits.
    """
    tmp = layout.tmp_dir(root)
    place = tmp / f"turn-{key}"
    while (lock := _lock(place)) is None and _is_locked(tmp) is not None:
        time.sleep(0.1)
    try:
        yield
    finally:
        with suppress(OSError):
            place.rmdir()
        if lock is not None:
            os.close(lock)


def _lock(work: Path) -> int | None:
    """Make and lock a folder; a lock dies with its process. None where another has it."""
    layout.make(work)
    try:
        lock = os.open(work, os.O_RDONLY)
    except FileNotFoundError:  # who had it is done
        return None
    with suppress(OSError):  # gone, or published in between
        if _flock(lock, fcntl.LOCK_EX) and work.stat().st_ino == os.fstat(lock).st_ino:
            return lock
    os.close(lock)
    return None


def _flock(lock: int, how: int) -> bool | None:
    """Whether a folder could be locked; None where its file system has no locks."""
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno == errno.EWOULDBLOCK else None
    return True


@contextmanager
def alone(root: Path, timeout_s: float = 30.0) -> Iterator[None]:
    """Hold a store against whoever else writes its ledger again, or replaces its catalog.

    A repair, a rebuild, an erasure and a compaction see files of the ledger come and go: two at
    once would take each other's for lost. Who only appends does not ask. Where the file system has
    no locks, nobody waits. A lock dies with its process.

    Raises:
        CatalogBusy: another had it for `timeout_s`; nothing was changed.
    """
    tmp = layout.tmp_dir(root)
    layout.make(tmp)
    lock, deadline = os.open(tmp, os.O_RDONLY), time.monotonic() + timeout_s
    try:
        while _flock(lock, fcntl.LOCK_EX) is False:
            if time.monotonic() > deadline:
                raise CatalogBusy(
                    f"the store {root} is being repaired, rebuilt, compacted or erased from by "
                    f"another process; waited {timeout_s:g} s. Try again when it is done."
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(lock)


class Lease:
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
                _flock(lock, fcntl.LOCK_SH)
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
    return folder.is_dir() and _is_locked(folder) is not False


def _is_locked(folder: Path) -> bool | None:
    """Whether somebody has a folder; None where its file system cannot tell."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        got = _flock(lock, fcntl.LOCK_EX)
        return None if got is None else not got
    finally:
        os.close(lock)


def left_over(tmp: Path, older_than: timedelta = timedelta(hours=1)) -> list[Path]:
    """What killed processes left, and nobody wrote to for a while; trainings can go on."""
    is_old = time.time() - older_than.total_seconds()
    others = (path for path in sorted(tmp.glob("*")) if not path.name.startswith("run-"))
    old = (path for path in others if _last_write(path) < is_old)
    return [path for path in old if not (path.name.startswith("turn-") and _is_locked(path))]


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
    at_most = time.time() - older_than.total_seconds()
    dated = sorted((_last_write(work), work) for work in tmp.glob("run-*"))
    return [work for last, work in dated if last < at_most and not _is_locked(work)]


@contextmanager
def taking_back(
    made: Collection[Path],
    undo: Iterable[Callable[[], object]] = (),
    is_kept: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Remove files, and undo, where what follows fails: what is refused must not come true later.

    Raises:
        StoreUnwritable: it cannot be undone.
    """
    try:
        yield
    except BaseException as error:
        try:
            if not is_kept():
                for file in made:
                    file.unlink(missing_ok=True)
                for one in undo:
                    one()
        except OSError as why:
            raise StoreUnwritable(
                f"{error} What was written cannot be taken back: {why}. The next command takes it "
                "for said, unless that file is removed"
            ) from error
        raise
