"""The DuckDB catalog: open, migrate, fold the ledger in, query; polars out."""

from __future__ import annotations

import functools
import itertools
import os
import random
import re
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

import sql
from featurestore import layout, ledger, user_sql
from featurestore.errors import (
    DISK,
    CatalogBusy,
    StoreDamaged,
    StoreNotFound,
    StoreVersionMismatch,
    writing,
)
from featurestore.types import (
    RecordedLabel,
    content_id,
    now,
)

LOCK_TIMEOUT_S = 30.0
Connection = duckdb.DuckDBPyConnection
MAKE_ANEW = "Make it anew with: trephine verify --rebuild"
HERE = "database_name = current_database()"  # the instance may have other catalogs at hand

_VIEWS = [
    "macros/retired",
    "views/slide_facts",
    "macros/case_reports_at",
    "views/case_reports",
    "macros/best_labels_at",
    "views/slide_quality",
    "views/bags",
    "views/slide_overview",
    "views/cohort_bags",
]


def path_of(root: Path) -> Path:
    """Path of the catalog of a store."""
    return root / layout.CATALOG


def migrate(root: Path) -> list[str]:
    """Bring the catalog to this code's version; return the migrations that it lacked.

    A new one is made in one transaction, an older one takes a transaction a migration.
    """
    with _connect(path_of(root)) as con:
        con.execute(
            "create table if not exists migrations"
            " (name varchar primary key, applied_at timestamp not null)"
        )
        done = {row[0] for row in con.execute("select name from migrations").fetchall()}
        todo = [name for name in sql.names("migrations") if Path(name).name not in done]
        for some in [[name] for name in todo] if done else [todo]:
            with _transaction(con):
                for name in some:
                    con.execute(sql.read(name))
                    con.execute("insert into migrations values (?, ?)", [Path(name).name, now()])
        if _views_version() not in done:
            with _transaction(con):
                of = f"select view_name from duckdb_views() where not internal and {HERE}"
                for (old,) in con.execute(of).fetchall():
                    con.execute(f"drop view {old}")
                for view in _VIEWS:
                    con.execute(sql.read(view))
                if done:
                    refresh(con, "select slide_id from slides")
                con.execute("delete from migrations where name like 'views %'")
                con.execute("insert into migrations values (?, ?)", [_views_version(), now()])
    return todo


def refresh(con: Connection, touched: str) -> None:
    """Write the rows of `slide_facts` again, of the Slides that a SELECT of ours yields."""
    con.execute(f"create or replace temp table touched as {touched}")
    con.execute(sql.read("folds/drop_slide_facts"))
    con.execute(sql.read("folds/slide_facts"))


@functools.cache
def _views_version() -> str:
    """Stands among the migrations, so that a catalog with other views is told."""
    return f"views {content_id([sql.read(view) for view in _VIEWS])}"


@contextmanager
def reader(root: Path) -> Iterator[Connection]:
    """Open the catalog to read; close it before anything slow."""
    _must_exist(root)
    with _connect(path_of(root), read_only=True) as con:
        _check_version(con)
        yield con


@contextmanager
def writer(root: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[Connection]:
    """Open the catalog to write, in one transaction; close it before anything slow."""
    _must_exist(root)
    with _connect(path_of(root), timeout_s=timeout_s) as con:
        _check_version(con)
        with writing(root), _disk_errors(), _transaction(con):
            yield con


def best_of(labels: Iterable[RecordedLabel]) -> pl.DataFrame:
    """The Label to use of each Case and Target among some: the rule of `best_labels_at`."""
    frame = ledger.frame_of(RecordedLabel, list(labels))
    with _connect(None) as con:
        for name in (*sql.names("migrations"), *_VIEWS):
            con.execute(sql.read(name))
        with inserting(con, said=frame.with_columns(sequence=pl.lit(0)).with_row_index("row")):
            con.execute(sql.read("folds/labels"))
        return _frame(con.sql("from best_labels_at('infinity'::timestamp)"))


def pending(root: Path, kind: str) -> pl.DataFrame:
    """Read the ledger's rows of a kind that the catalog does not know yet, in the order said."""
    with reader(root) as con:
        done = con.execute("select name from ledger_files where kind = ?", [kind]).fetchall()
    return ledger.since(root, kind, {row[0] for row in done})


def query(
    root: Path, text: str, parameters: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0
) -> pl.DataFrame:
    """Run one SELECT that a user wrote: read-only, closed to files and network, bounded.

    Raises:
        QueryRefused: the text is not exactly one SELECT, fails, or goes beyond `user_sql.Limits`.
    """
    user_sql.start()
    with reader(root):  # the version is this code's, and nobody writes while the child reads
        limits = user_sql.Limits(time_s=timeout_s)
        return user_sql.ask(path_of(root), text, parameters or {}, limits)


def read_text(root: Path, text: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Run a SELECT of this code's own."""
    with reader(root) as con:
        return _frame(con.sql(text, params=dict(parameters or {}) or None))


def read_frame(
    root: Path, name: str, parameters: Mapping[str, Any] | None = None, **frames: pl.DataFrame
) -> pl.DataFrame:
    """Run one of our own SQL texts, named as `queries/runs`; it may read frames by their names."""
    with reader(root) as con, inserting(con, **frames):
        return frame_of_query(con, name, parameters)


def frame_of_query(
    con: Connection, name: str, parameters: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """The same on an open catalog."""
    return _frame(con.sql(sql.read(name), params=dict(parameters or {}) or None))


class _Arrow:
    """Rows for DuckDB without pyarrow: it takes what has this one method."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


@contextmanager
def inserting(con: Connection, **frames: pl.DataFrame) -> Iterator[None]:
    """Show frames to SQL texts under names of their own."""
    for name, frame in frames.items():
        con.register(name, _Arrow(frame))
    try:
        yield
    finally:
        for name in frames:
            con.unregister(name)


def digests(
    root: Path, bags: pl.DataFrame
) -> tuple[list[str | None], list[tuple[int, int, int] | None]]:
    """What each array of Embeddings must be, and what `verify` found whole within a week."""
    wanted = bags.select("slide_key", "tiling_id", "encoder_id").with_row_index("number")
    with reader(root) as con, inserting(con, wanted=wanted):
        since = {"since": now() - timedelta(days=7)}
        rows = frame_of_query(con, "queries/array_digests", since).rows()
    return [row[0] for row in rows], [None if row[1] is None else row[1:] for row in rows]


def differences(
    root: Path, other: Path, without: Collection[str]
) -> Iterator[tuple[str, int, int]]:
    """Tables of two catalogs that differ: the name, and how many rows only the one or other has."""
    with (
        _cursor() as con,
        _attached(con, path_of(root)) as live,
        _attached(con, path_of(other)) as fresh,
    ):
        made = "from duckdb_{}s() where database_name = '{}' and not internal"
        for what in ("view", "table"):
            of = f"select {what}_name, sql {made}"
            both = [set(con.execute(of.format(what, n)).fetchall()) for n in (live, fresh)]
            for name in sorted({name for name, _ in both[0] ^ both[1]}):
                yield f"{what} {name}", 1, 1
        tables = con.execute(f"select table_name {made.format('table', fresh)}").fetchall()
        for (table,) in tables:
            if table in without:
                continue
            columns = "* exclude (folded_at)" if table == "ledger_files" else "*"
            but = " where stage <> 'ledger'" if table == "failures" else ""
            one, two = (f"(select {columns} from {n}.{table}{but})" for n in (live, fresh))
            count = "select count(*) from ({} except all {})"
            n_live = con.execute(count.format(one, two)).fetchall()[0][0]
            n_fresh = con.execute(count.format(two, one)).fetchall()[0][0]
            if n_live or n_fresh:
                yield table, n_live, n_fresh


def read_rows(root: Path, table: str) -> pl.DataFrame:
    """Read a whole table of ours."""
    with reader(root) as con:
        return _frame(con.sql(f"from {table}"))


def _frame(relation: duckdb.DuckDBPyRelation | None) -> pl.DataFrame:
    return pl.DataFrame(relation) if relation is not None else pl.DataFrame()


def _must_exist(root: Path) -> None:
    if not path_of(root).exists():
        raise StoreNotFound(gone(root))


def nowhere(root: Path) -> str:
    """What to say where there is no store."""
    return f"there is no store at {root}. Make one with: trephine init --store {root}"


def gone(root: Path) -> str:
    """What to say of a store without a catalog."""
    return f"the catalog of the store {root} is gone. {MAKE_ANEW} --store {root}"


def _check_version(con: Connection) -> None:
    try:
        found = {row[0] for row in con.execute("select name from migrations").fetchall()}
    except duckdb.Error as error:
        raise StoreDamaged(
            f"the catalog cannot be read: {first_line(error)} {MAKE_ANEW}"
        ) from error
    known = {Path(name).name for name in sql.names("migrations")}
    newer = {name for name in found - known if not name.startswith("views ")}
    if newer:
        raise StoreVersionMismatch(
            f"the catalog is newer than this trephine: it has {max(newer)}. "
            "Upgrade with: pip install --upgrade trephine"
        )
    missing = (known | {_views_version()}) - found
    if missing:
        raise StoreVersionMismatch(
            f"the catalog is older than this trephine: it lacks {min(missing)}. "
            "Migrate it with: trephine init"
        )


@contextmanager
def _connect(
    path: Path | None, *, read_only: bool = False, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[Connection]:
    """Open a catalog (None: an empty one in memory) in this process's instance."""
    with _cursor() as con, _attached(con, path, read_only, timeout_s) as name:
        con.execute(f"use {name}")
        try:
            yield con
        finally:
            con.execute("use memory")


@contextmanager
def _attached(
    con: Connection, path: Path | None, read_only: bool = True, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[str]:
    """Attach a catalog, whose file is locked as long, and yield its name in the instance.

    An instance of its own costs 22 to 36 ms of processor time, to attach and detach one 4.
    """
    name, deadline = f"catalog_{next(_numbers)}", time.monotonic() + timeout_s
    place = ":memory:" if path is None else str(path).replace("'", "''")
    mode = " (read_only)" if read_only else ""
    while True:
        try:
            con.execute(f"attach '{place}' as {name}{mode}")
            break
        except duckdb.Error as error:  # of garbage it raises what it likes
            assert path is not None
            _must_be_in_use(path, error, to_write=not read_only)
            if time.monotonic() > deadline:
                holder = re.search(r"held in (.+?\(PID \d+\))", str(error))
                who = holder.group(1) if holder else "another process"
                raise CatalogBusy(
                    f"{path} is in use by {who}; waited {timeout_s:g} s. Try again when it is done."
                ) from error
            time.sleep(random.uniform(0.005, 0.05))
    try:
        yield name
    finally:
        con.execute(f"detach {name}")


def _must_be_in_use(path: Path, error: duckdb.Error, *, to_write: bool) -> None:
    """Return where waiting may help, else raise what is wrong with the file."""
    message = str(error)
    if to_write:
        with writing(path.parent), _disk_errors():
            if any(os.strerror(n) in message for n in DISK):
                raise error
    if "lock" not in message and not isinstance(error, duckdb.ResourceInUseException):
        raise StoreDamaged(f"{path} cannot be opened: {first_line(error)} {MAKE_ANEW}") from error


_numbers = itertools.count()
_instance: Connection | None = None
_instances_lock = threading.Lock()
_of_parents: list[Connection | None] = []  # never closed: their threads are not in this process


@contextmanager
def _cursor() -> Iterator[Connection]:
    """A connection to this process's instance, which is given up after an error that breaks it."""
    global _instance
    with _instances_lock:
        if _instance is None:
            _instance = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
        instance, con = _instance, _instance.cursor()
    try:
        yield con
    except (duckdb.FatalException, duckdb.InternalException):
        with _instances_lock:
            _instance = None if _instance is instance else _instance
        raise
    finally:
        con.close()


def _after_fork() -> None:
    global _instance, _instances_lock
    _of_parents.append(_instance)
    _instance, _instances_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise DuckDB's words about a full or read-only disk as the OSError they are."""
    try:
        yield
    except duckdb.Error as error:
        found = [n for n in DISK if os.strerror(n) in str(error)]
        if not found:
            raise
        raise OSError(found[0], os.strerror(found[0])) from error


@contextmanager
def _transaction(con: Connection) -> Iterator[None]:
    con.execute("begin")
    try:
        yield
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return str(error).strip().splitlines()[0]
