"""The catalog's file, known without DuckDB: where it is, the wait for its lock, its version."""

from __future__ import annotations

import errno
import functools
import os
import random
import re
import shlex
import struct
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import sql
from featurestore import layout
from featurestore.errors import (
    CatalogBusy,
    ConfigError,
    StoreDamaged,
    StoreForbidden,
    StoreNotFound,
    StoreUnwritable,
    StoreVersionMismatch,
)
from featurestore.fields import content_id
from featurestore.sql_child import COMMIT, HEADS, LEDGER_FILE
from featurestore.sql_child import last_write as last_write

LOCK_TIMEOUT_S = 30.0
NO_LOCKS = (os.strerror(errno.ENOLCK), "locks are not supported")  # in DuckDB's words
MAKE_ANEW = "Make it anew with: trephine verify --rebuild"
NO_PATH = re.compile(r"[\\?\ud800-\udfff]")  # the last are bytes that are no text
ENDS = ("", ".wal", ".wal.checkpoint", ".wal.recovery", ".tmp")  # of what DuckDB writes
FIRST_BLOCK = 3 * 4096  # behind three headers
WRITE = "write "  # and a number: what a write of ours leaves among the migrations
VIEWS = (
    "macros/retired",
    "views/touched_facts",
    "views/slide_facts",
    "macros/case_reports_at",
    "views/case_reports",
    "macros/best_labels_at",
    "views/slide_quality",
    "views/bags",
    "views/slide_overview",
    "views/cohort_bags",
)
T = TypeVar("T")


def path_of(root: Path) -> Path:
    """Path of the catalog of a store.

    Raises:
        ConfigError: DuckDB would open another file, or none.
    """
    for path in (str(root.absolute()), os.path.realpath(root)):
        if bad := NO_PATH.search(path):
            raise ConfigError(
                f"a store cannot be at {path!r}: DuckDB takes {bad[0]!r} in a path for something "
                "else. Rename that folder, or name another"
            )
    return root / layout.CATALOG


def log_of(catalog: Path) -> Path:
    """What DuckDB writes first, and removes when it closes the catalog."""
    return catalog.with_name(f"{catalog.name}.wal")


def files_of(root: Path) -> list[Path]:
    """What is there of a store's catalog and of what DuckDB writes beside it; no copy of it."""
    every = (path_of(root).with_name(layout.CATALOG + end) for end in ENDS)
    return [file for file in every if os.path.lexists(file)]


def has_commit(log: Path) -> bool:
    """Whether a process was killed in the middle of a commit, which its log has then."""
    try:
        return log.is_file() and COMMIT in log.read_bytes()
    except OSError:
        return False


def is_cut(catalog: Path) -> bool:
    """Whether a file of DuckDB ends within a block that its last header counts.

    DuckDB itself takes whole blocks from its end, and who is killed leaves a part behind the last.
    """
    with catalog.open("rb") as file:
        raw = file.read(FIRST_BLOCK)
        *_, n_blocks, n_bytes = max(struct.unpack_from("<5q", raw, at) for at in HEADS)
        there = os.fstat(file.fileno()).st_size - FIRST_BLOCK
    return bool(there < n_blocks * n_bytes and there % n_bytes)


def is_store(root: Path) -> bool:
    """Whether a folder has what nobody else makes: a ledger, or a group of a Slide.

    A folder `slides` with files is no store. A catalog is none either, for who does not open it.
    """
    if all(layout.ledger_dir(root, kind).is_dir() for kind in ("slides", "cases", "labels")):
        return True
    if any(LEDGER_FILE.fullmatch(file.name) for file in root.glob("ledger/*/*.parquet")):
        return True
    return any(layout.is_group(group) for group in layout.slides_dir(root).glob("*.zarr"))


def must_exist(root: Path) -> None:
    """Refuse a folder without a catalog.

    Raises:
        StoreNotFound: with how to make it anew, or the store.
    """
    if path_of(root).exists():
        return
    if is_store(root):
        raise StoreNotFound(f"the catalog of the store {root} is gone. {MAKE_ANEW} --store {root}")
    raise StoreNotFound(nowhere(root))


def must_be_readable(root: Path) -> None:
    """Refuse a store with a room that this user may not read: it would look empty.

    Raises:
        StoreForbidden: in a sentence with what to do.
    """
    rooms = [layout.slides_dir(root), layout.runs_dir(root), root / "ledger"]
    for room in (root, path_of(root), *rooms):
        _must_be_allowed(room)
    for kind in (root / "ledger").glob("*"):
        _must_be_allowed(kind)


def _must_be_allowed(path: Path) -> None:
    needed = os.R_OK | (os.X_OK if path.is_dir() else 0)
    if path.exists() and not os.access(path, needed, effective_ids=True):
        raise StoreForbidden.of(path)


def nowhere(root: Path) -> str:
    """What to say where there is no store."""
    return f"there is no store at {root}. Make one with: trephine init --store {root}"


class NotOpened(Exception):
    """DuckDB cannot open the file, in its words."""

    def __init__(self, said: str, *, busy: bool = False) -> None:
        super().__init__(said)
        self.busy = busy or re.search(r"\block\b", said) is not None  # not "in block at ..."


def opened(path: Path, open_once: Callable[[], T], timeout_s: float = LOCK_TIMEOUT_S) -> T:
    """What `open_once` gives, tried again while another process holds the lock.

    Raises:
        CatalogBusy: it held it too long.
        StoreDamaged: `open_once` raised `NotOpened` for another reason, or it or its log is no
            file; to open a pipe would wait for ever.
        StoreNotFound: the same, where it is all that there is.
        StoreForbidden: this user may not read it.
        StoreUnwritable: its file system has no locks.
    """
    for file in (path, log_of(path)):
        if file.exists() and not file.is_file():
            raise unusable(path, f"{file} cannot be opened: it is no regular file")
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return open_once()
        except NotOpened as error:
            said = str(error)
            if os.strerror(errno.EACCES) in said:
                raise StoreForbidden.of(path) from error
            if any(word in said for word in NO_LOCKS):
                raise StoreUnwritable(
                    f"{path} cannot be locked: its file system has no locks. "
                    "Keep the store on one that has them"
                ) from error
            if not error.busy:
                raise unusable(path, f"{path} cannot be opened: {first_line(said)}") from error
            if time.monotonic() > deadline:
                told = re.search(r"held in (.+?\(PID \d+\))", said)
                who = told.group(1) if told else _holder(path.parent)
                raise CatalogBusy(
                    f"{path} is in use by {who}; waited {timeout_s:g} s. Try again when it is done."
                ) from error
        time.sleep(random.uniform(0.005, 0.05))


def _holder(folder: Path) -> str:
    """Who holds a folder, where the system tells it."""
    with suppress(OSError, ValueError):
        about = folder.stat()
        place = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, _, pid, where, *_ = line.split()
            if kind == "FLOCK" and where == place:
                return f"{Path(f'/proc/{pid}/exe').readlink()} (PID {pid})"
    return "another process"


@functools.cache
def views_version() -> str:
    """Stands among the migrations, so that a catalog with other views is told."""
    return f"views {content_id([sql.read(view) for view in VIEWS])}"


@functools.cache
def versions() -> frozenset[str]:
    """Names of the migrations that a catalog of this code has."""
    return frozenset({Path(name).name for name in sql.names("migrations")} | {views_version()})


def check_version(found: Collection[str]) -> None:
    """Refuse the catalog of an older or newer version, by the migrations that it has.

    Raises:
        StoreVersionMismatch: in a sentence with what to do.
    """
    own = ("views ", WRITE)
    if newer := {name for name in set(found) - versions() if not name.startswith(own)}:
        raise StoreVersionMismatch(
            f"the catalog is newer than this trephine: it has {max(newer)}. "
            "Upgrade with: pip install --upgrade trephine"
        )
    if missing := versions() - set(found):
        raise StoreVersionMismatch(
            f"the catalog is older than this trephine: it lacks {min(missing)}. "
            "Migrate it with: trephine init"
        )


def check_hand(found: Collection[str], last: int) -> None:
    """Refuse a catalog that another program wrote to, by the names in it and its last write.

    Each write of ours leaves its own number in it. One of an earlier version has none.

    Raises:
        StoreDamaged: in a sentence with what to do.
    """
    ours = [name for name in found if name.startswith(WRITE)]
    if ours and ours != [f"{WRITE}{last}"]:
        raise StoreDamaged(
            "the catalog was changed by another program, and may say what nobody told the store. "
            f"See what differs with: trephine verify. {MAKE_ANEW}"
        )


def unusable(path: Path, said: str) -> StoreDamaged | StoreNotFound:
    """What to say of a catalog that cannot be opened, or gives no rows, and what mends it."""
    if is_store(path.parent):
        return StoreDamaged(f"{said.rstrip('.')}. {MAKE_ANEW}")
    alone = f"{said.rstrip('.')}, and nothing else of a store is there"
    return StoreNotFound(f"{alone}. {make_beside(path.parent)}")


def make_beside(root: Path) -> str:
    """How to make a store where other things lie."""
    return f"Make it beside: trephine init --store {shlex.quote(f'{root.absolute()}-store')}"


def first_line(said: object) -> str:
    """The first line of what an error says."""
    return str(said).strip().splitlines()[0]
