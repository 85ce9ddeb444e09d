"""The DuckDB catalog: open, migrate, fold the ledger in, query; polars out."""

from __future__ import annotations

import itertools
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

import sql
from featurestore import ledger
from featurestore.catalog_file import LOCK_TIMEOUT_S as LOCK_TIMEOUT_S
from featurestore.catalog_file import (
    VIEWS,
    NotOpened,
    check_hand,
    check_version,
    last_write,
    log_of,
    must_exist,
    opened,
    unusable,
    views_version,
)
from featurestore.catalog_file import first_line as first_line
from featurestore.catalog_file import path_of as path_of
from featurestore.errors import DISK, writing
from featurestore.sql_child import turn
from featurestore.types import RecordedLabel, now

Connection = duckdb.DuckDBPyConnection
MADE = {  # what a catalog is made of, each by its name and its text
    "view": "view_name, sql from duckdb_views() where not internal",
    "table": "table_name, sql from duckdb_tables() where not internal",
    "macro": "function_name, concat(macro_definition, parameters::varchar) from duckdb_functions()"
    " where not internal",
    "index": "index_name, sql from duckdb_indexes() where true",
    "sequence": "sequence_name, null from duckdb_sequences() where true",
    "schema": "schema_name, null from duckdb_schemas() where not internal",
    "type": "type_name, null from duckdb_types() where not internal",
}
CONFIG: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "checkpoint_threshold": "0b",  # a commit writes the file at once, and leaves nothing in its log
}
BROKEN = (  # what DuckDB raises of a damaged file
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
)
HERE = "database_name = current_database()"  # the instance may have other catalogs at hand


def migrate(root: Path) -> list[str]:
    """Bring the catalog to this code's version; return what it lacked, migrations and views.

    A new one is made in one transaction, an older one takes a transaction a migration.
    """
    with _connect(path_of(root)) as into:
        return _migrate(*into)


def _migrate(con: Connection, written: Callable[[], int]) -> list[str]:
    has = f"select 1 from duckdb_tables() where table_name = 'migrations' and {HERE}"
    done = _names(con) if con.execute(has).fetchall() else set()
    check_hand(done, written())
    todo = [name for name in sql.names("migrations") if Path(name).name not in done]
    for some in [[name] for name in todo] if done else [todo]:
        with transaction(con, written):
            con.execute(
                "create table if not exists migrations"
                " (name varchar primary key, applied_at timestamp not null)"
            )
            for name in some:
                con.execute(sql.read(name))
                con.execute("insert into migrations values (?, ?)", [Path(name).name, now()])
    if todo or views_version() not in done:  # slide_facts has the columns of slides
        with transaction(con, written):
            of = f"select view_name from duckdb_views() where not internal and {HERE}"
            for (old,) in con.execute(of).fetchall():
                con.execute(f"drop view {old}")
            con.execute(
                "create or replace temp table touched as select slide_id from slides limit 0"
            )
            for view in VIEWS:
                con.execute(sql.read(view))
            if done:
                refresh(con, "select slide_id from slides")
            con.execute("delete from migrations where name like 'views %'")
            con.execute("insert into migrations values (?, ?)", [views_version(), now()])
        todo.append(views_version())
    return [Path(name).name for name in todo]


@contextmanager
def new(path: Path | None = None) -> Iterator[tuple[Connection, Callable[[], int]]]:
    """A catalog without rows, in memory or at a path where none is; see `locked`."""
    with _connect(path) as into:
        _migrate(*into)
        yield into


def refresh(con: Connection, touched: str) -> None:
    """Write the rows of `slide_facts` again, of the Slides that a SELECT of ours yields."""
    con.execute(f"create or replace temp table touched as {touched}")
    con.execute(sql.read("views/touched_facts"))
    con.execute(sql.read("folds/drop_slide_facts"))
    con.execute("insert into slide_facts by name from touched_facts")


@contextmanager
def reader(
    root: Path, *, any_hand: bool = False, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[Connection]:
    """Open the catalog to read; close it before anything slow.

    `any_hand`: also one that another program wrote to, for who looks for what it changed.
    """
    must_exist(root)
    with _checked(root, read_only=True, any_hand=any_hand, timeout_s=timeout_s) as (con, _):
        yield con


@contextmanager
def writer(root: Path) -> Iterator[Connection]:
    """Open the catalog to write, in one transaction; close it before anything slow."""
    with locked(root) as (con, written), transaction(con, written):
        yield con


@contextmanager
def locked(
    root: Path, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[tuple[Connection, Callable[[], int]]]:
    """Keep all others from the catalog; also the number of its last write, whenever asked."""
    must_exist(root)
    with writing(root), _checked(root, timeout_s=timeout_s) as (con, written):
        yield con, written


def best_of(labels: Iterable[RecordedLabel]) -> pl.DataFrame:
    """The Label to use of each Case and Target among some: the rule of `best_labels_at`."""
    frame = ledger.frame_of(RecordedLabel, list(labels))
    with new() as (con, _):
        with inserting(con, said=frame.with_columns(sequence=pl.lit(0)).with_row_index("row")):
            con.execute(sql.read("folds/labels"))
        return rows_of(con.sql("from best_labels_at('infinity'::timestamp)"))


def pending(root: Path, kind: str) -> pl.DataFrame:
    """Read the ledger's rows of a kind that the catalog does not know yet, in the order said."""
    with reader(root) as con:
        done = con.execute("select name from ledger_files where kind = ?", [kind]).fetchall()
    return ledger.since(root, kind, {row[0] for row in done})


def read_text(root: Path, text: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Run a SELECT of this code's own."""
    with reader(root) as con:
        return rows_of(con.sql(text, params=dict(parameters or {}) or None))


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
    return rows_of(con.sql(sql.read(name), params=dict(parameters or {}) or None))


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
        with suppress(duckdb.Error):  # of a broken transaction, which ends with the connection
            for name in frames:
                con.unregister(name)


def with_digests(root: Path, ids: pl.DataFrame, known: pl.DataFrame | None = None) -> pl.DataFrame:
    """Put beside ids of arrays what each must be, and what `verify` found whole within a week.

    If an earlier answer, `known`, has all of them, the catalog is not asked.
    """
    if known is not None:
        of, keys = ids.select("tiling_id", "encoder_id").unique(), ids.columns
        if of.height == 1:  # as nearly always: one key is joined in a tenth of the time of three
            known, keys = known.filter(**of.row(0, named=True)), ["slide_key"]
        known = known.with_columns(known=True).select(pl.exclude({*ids.columns} - {*keys}))
        found = ids.join(known, on=keys, how="left", maintain_order="left")
        if not found["known"].null_count():
            return found
    with reader(root) as con, inserting(con, wanted=ids.with_row_index("number")):
        since = {"since": now() - timedelta(days=7)}
        found = frame_of_query(con, "queries/array_digests", since)
    return pl.concat([ids, found], how="horizontal")


def differences(
    con: Connection, other: Connection, without: Collection[str]
) -> Iterator[tuple[str, int, int]]:
    """Tables of two catalogs that differ: the name, and how many rows only the one or other has."""
    here = "select current_database()"
    live, fresh = (one.execute(here).fetchall()[0][0] for one in (con, other))
    texts = [
        f"select database_name, '{what}', {of} and database_name in ('{live}', '{fresh}')"
        for what, of in MADE.items()
    ]
    made: dict[str, set[tuple[str, ...]]] = {live: set(), fresh: set()}
    for database, *each in con.execute(" union all ".join(texts)).fetchall():
        made[database].add(tuple(each))
    for what, name in sorted({(what, name) for what, name, _ in made[live] ^ made[fresh]}):
        yield f"{what} {name}", 1, 1
    rows = {}
    tables = f"select {MADE['table']} and database_name = '{fresh}'"
    for table, _ in con.execute(tables).fetchall():
        columns = "* exclude (folded_at)" if table == "ledger_files" else "*"
        but = " where stage <> 'ledger'" if table == "failures" else ""
        if table not in without:
            rows[table] = [f"(select {columns} from {n}.{table}{but})" for n in (live, fresh)]
    sums = con.execute(
        " union ".join(  # tables that are alike give one row, in a twentieth of the time
            f"select '{table}', count(*), sum(hash(one)) from {side} as one"
            for table, sides in rows.items()
            for side in sides
        )
    ).fetchall()
    for table, n in Counter(name for name, *_ in sums).items():
        if n > 1:
            one, two = rows[table]
            count = "select count(*) from ({} except all {})"
            n_live = con.execute(count.format(one, two)).fetchall()[0][0]
            n_fresh = con.execute(count.format(two, one)).fetchall()[0][0]
            if n_live or n_fresh:
                yield table, n_live, n_fresh


def rows_of(relation: duckdb.DuckDBPyRelation | None) -> pl.DataFrame:
    """The rows of a SELECT."""
    return pl.DataFrame(relation) if relation is not None else pl.DataFrame()


def _names(con: Connection) -> set[str]:
    return {name for (name,) in con.execute("select name from migrations").fetchall()}


@contextmanager
def _checked(
    root: Path, *, any_hand: bool = False, **how: Any
) -> Iterator[tuple[Connection, Callable[[], int]]]:
    """Open a catalog of this version that no other program wrote to."""
    with _connect(path_of(root), **how) as (con, written):
        try:
            found = _names(con)
        except duckdb.Error as error:
            said = f"the catalog cannot be read: {first_line(error)}"
            raise unusable(path_of(root), said) from error
        check_version(found)
        if not any_hand:
            check_hand(found, written())
        yield con, written


@contextmanager
def _connect(
    path: Path | None, *, read_only: bool = False, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[tuple[Connection, Callable[[], int]]]:
    """Open a catalog (None: an empty one in memory) in this process's instance.

    Beside it comes what tells the number of its last write.
    """
    with (
        _in_words(path),
        _cursor() as own,
        _attached(own, path, read_only, timeout_s) as (name, written),
        own.cursor() as con,  # closed first: what it left open would keep the file open
    ):
        con.execute(f"use {name}")
        yield con, written


@contextmanager
def _attached(
    con: Connection, path: Path | None, read_only: bool = True, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[tuple[str, Callable[[], int]]]:
    """Attach a catalog, whose folder is held as long, and yield its name in the instance.

    An instance of its own costs 22 to 36 ms of processor time, to attach and detach one 4.
    """
    name = f"catalog_{next(_numbers)}"
    place = ":memory:" if path is None else str(path.absolute()).replace("'", "''")
    mode = " (read_only)" if read_only else ""

    def attach() -> ExitStack:
        with ExitStack() as held:
            try:
                if path is not None:
                    held.enter_context(turn(str(path.absolute()), writes=not read_only))
                with _instances_lock:
                    con.execute(f"attach '{place}' as {name}{mode}")
            except duckdb.InterruptException:
                raise
            except BlockingIOError as error:
                raise NotOpened(str(error)) from error
            except duckdb.Error as error:  # of garbage it raises what it likes
                if not read_only and _disk_number(error):
                    raise
                busy = isinstance(error, duckdb.ResourceInUseException)
                raise NotOpened(str(error), busy=busy) from error
            return held.pop_all()

    with opened(path or Path(place), attach, timeout_s):
        file = os.open(path or os.devnull, os.O_RDONLY)
        try:
            yield name, lambda: 0 if path is None else last_write(file, str(log_of(path)))
        finally:
            with _instances_lock:  # no thread has this file by now, which would lose its lock
                with con.cursor() as other:  # to whom it is not the one in use, nor broken
                    other.execute(f"detach {name}")
                os.close(file)


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
            _instance = duckdb.connect(":memory:", config=CONFIG)
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


def _disk_number(error: duckdb.Error) -> int:
    """The number of a disk's fault that DuckDB tells of, or 0."""
    return next((n for n in DISK if os.strerror(n) in str(error)), 0)


@contextmanager
def _in_words(path: Path | None) -> Iterator[None]:
    """Tell what DuckDB says of a full or read-only disk, or of a damaged catalog, in a sentence."""
    try:
        yield
    except duckdb.InterruptException as error:  # Ctrl-C, which is no damage
        raise KeyboardInterrupt from error
    except duckdb.Error as error:
        if path is None or not (_disk_number(error) or isinstance(error, BROKEN)):
            raise
        if number := _disk_number(error):
            with writing(path.parent):
                raise OSError(number, os.strerror(number)) from error
        raise unusable(path, f"the catalog cannot be read: {first_line(error)}") from error


@contextmanager
def transaction(con: Connection, written: Callable[[], int]) -> Iterator[None]:
    """One write, which leaves its number in the catalog: another hand's write has another one."""
    con.execute("begin")
    try:
        yield
        con.execute("delete from migrations where name like 'write %'")
        number = written() + 1
        con.execute("insert into migrations values (?, ?)", [f"write {number}", now()])
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")
    if written() != number:  # a later DuckDB may count in another way
        con.execute("delete from migrations where name like 'write %'")
