"""The DuckDB catalog: open, migrate, fold the ledger in, query; polars out."""

from __future__ import annotations

import errno
import functools
import json
import os
import random
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

import sql
from featurestore import arrays, layout, ledger
from featurestore.errors import (
    CatalogBusy,
    ConfigError,
    QueryRefused,
    StoreDamaged,
    StoreVersionMismatch,
    writing,
)
from featurestore.fields import from_json
from featurestore.types import (
    ArrayIds,
    EncoderDescription,
    RecordedLabel,
    RunRecord,
    content_id,
    now,
)

LOCK_TIMEOUT_S = 30.0
_DISK = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO)

_VIEWS = [
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
    """Bring the catalog to this code's version, a transaction a migration; return the new ones."""
    with _connect(path_of(root)) as con:
        con.execute(
            "create table if not exists migrations"
            " (name varchar primary key, applied_at timestamp not null)"
        )
        done = {row[0] for row in con.execute("select name from migrations").fetchall()}
        todo = [name for name in sql.names("migrations") if Path(name).name not in done]
        for name in todo:
            with _transaction(con):
                con.execute(sql.read(name))
                con.execute("insert into migrations values (?, ?)", [Path(name).name, now()])
        with _transaction(con):
            for view in _VIEWS:
                con.execute(sql.read(view))
            con.execute("delete from migrations where name like 'views %'")
            con.execute("insert into migrations values (?, ?)", [_views_version(), now()])
    return todo


@functools.cache
def _views_version() -> str:
    """Stands among the migrations, so that a catalog with other views is told."""
    return f"views {content_id([sql.read(view) for view in _VIEWS])}"


@contextmanager
def reader(root: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog to read; close it before anything slow."""
    with _connect(path_of(root), read_only=True) as con:
        _check_version(con)
        yield con


@contextmanager
def writer(root: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the catalog to write, in one transaction; close it before anything slow."""
    with _connect(path_of(root), timeout_s=timeout_s) as con:
        _check_version(con)
        with writing(root), _disk_errors(), _transaction(con):
            yield con


def fold(
    root: Path,
    *,
    published: Iterable[ArrayIds] | None = None,
    timeout_s: float = LOCK_TIMEOUT_S,
) -> int:
    """Fold every ledger file, array and Run without a row into the catalog; return how many.

    The one way rows enter the catalog: a live write, the adoption of what a killed process left,
    and a rebuild are the same fold. What cannot be folded is set aside as a row of `failures` of
    stage `ledger`, and blocks nothing.

    Args:
        root: the store.
        published: the arrays to look at; all of the store's unless given.
        timeout_s: how long to wait for the lock.
    """
    found = list(arrays.published(root) if published is None else published)
    aside: dict[Path, str] = {}  # files that broke the transaction, and why
    alone = False  # whether each file is folded by itself, to find the one that breaks it
    while True:
        try:
            with writer(root, timeout_s) as con:
                n_files = _fold_ledger(con, root, aside, alone)
                return n_files + _fold_arrays(con, root, found) + _fold_runs(con, root)
        except _CannotFold as refused:
            if len(refused.files) == 1:
                aside |= dict.fromkeys(refused.files, refused.reason)
            alone = True


def best_of(labels: Iterable[RecordedLabel]) -> pl.DataFrame:
    """The Label to use of each Case and Target among some: the rule of `best_labels_at`."""
    frame = ledger.frame_of(RecordedLabel, list(labels))
    with duckdb.connect(":memory:") as con:
        for name in (*sql.names("migrations"), *_VIEWS):
            con.execute(sql.read(name))
        con.register("said", _Arrow(frame))
        con.execute(sql.read("folds/labels"))
        return _frame(con.sql("from best_labels_at('infinity'::timestamp)"))


def pending(root: Path, kind: str) -> pl.DataFrame:
    """Read the ledger's rows of a kind that the catalog does not know yet, in the order said."""
    with reader(root) as con:
        done = con.execute("select name from ledger_files where kind = ?", [kind]).fetchall()
    return ledger.since(root, kind, {row[0] for row in done})


def query(
    root: Path,
    text: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout_s: float = 60.0,
    memory_limit: str = "4GB",
) -> pl.DataFrame:
    """Run one SELECT that a user wrote: read-only, closed to files and network, bounded.

    Raises:
        QueryRefused: the text is not exactly one SELECT, fails, or runs out of time or memory.
    """
    with reader(root) as con:
        for setting in (
            "enable_external_access = false",
            "autoinstall_known_extensions = false",
            "autoload_known_extensions = false",
            f"memory_limit = '{memory_limit}'",
            "lock_configuration = true",
        ):
            con.execute(f"set {setting}")
        try:
            statements = con.extract_statements(text)
        except duckdb.Error as error:
            raise QueryRefused(f"the SQL cannot be read: {_first_line(error)}") from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            got = ", ".join(s.type.name for s in statements) or "nothing"
            raise QueryRefused(f"expected exactly one SELECT, got {got}. The catalog is read-only.")
        wanted = set(statements[0].named_parameters)
        given = dict(parameters or {})
        if missing := sorted(wanted - set(given)):
            raise QueryRefused(f"parameter {missing[0]!r} has no value. Add: -p {missing[0]}=VALUE")
        if surplus := sorted(set(given) - wanted):
            raise QueryRefused(
                f"the SQL has no parameter {surplus[0]!r}; "
                f"it has: {', '.join(sorted(wanted)) or 'none'}"
            )
        timer = threading.Timer(timeout_s, con.interrupt)
        timer.daemon = True
        timer.start()
        try:
            return _frame(con.sql(text, params=given or None))
        except duckdb.InterruptException as error:
            raise QueryRefused(
                f"the SQL took longer than {timeout_s:g} s and was stopped"
            ) from error
        except duckdb.Error as error:
            raise QueryRefused(f"the SQL fails: {_first_line(error)}") from error
        finally:
            timer.cancel()


def read_frame(root: Path, name: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
    """Run one of our own SQL texts, named as `queries/runs`."""
    with reader(root) as con:
        return _frame(con.sql(sql.read(name), params=dict(parameters or {}) or None))


class _CannotFold(Exception):
    """Files with rows that the catalog does not take, and why; their transaction is void."""

    def __init__(self, files: list[Path], reason: str) -> None:
        super().__init__(reason)
        self.files, self.reason = files, reason


class _Arrow:
    """Rows for DuckDB without pyarrow: it takes what has this one method."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def read_rows(root: Path, table: str) -> pl.DataFrame:
    """Read a whole table of ours."""
    with reader(root) as con:
        return _frame(con.sql(f"from {table}"))


def _fold_ledger(
    con: duckdb.DuckDBPyConnection, root: Path, aside: Mapping[Path, str], alone: bool
) -> int:
    done = set(con.execute("select kind, name from ledger_files").fetchall())
    folded = 0
    for name, kind in ledger.KINDS.items():
        todo = [file for file in ledger.files(root, name) if (name, file.name) not in done]
        together = kind.together and todo and not alone
        for files in [todo] if together else [[file] for file in todo]:
            _fold_files(con, name, files, aside)
        folded += len(todo)
    return folded


def _fold_files(
    con: duckdb.DuckDBPyConnection, name: str, files: list[Path], aside: Mapping[Path, str]
) -> None:
    kind = ledger.KINDS[name]
    frames = []
    for file in files:
        try:
            if file in aside:
                raise StoreDamaged(aside[file])
            good, bad = ledger.sound(kind.noun, ledger.read(file, name))
        except StoreDamaged as error:
            _set_aside(con, str(file), str(error))
            continue
        frames.append(good)
        for row in bad.iter_rows(named=True):
            _set_aside(con, f"{file} row {row['row']}", row["fault"])
    if frames and (said := pl.concat(frames)).height:
        con.register("said", _Arrow(said))
        try:
            for statement in kind.folds:
                con.execute(sql.read(f"folds/{statement}"))
        except duckdb.Error as error:
            if isinstance(error, duckdb.IOException | duckdb.InterruptException):
                raise
            raise _CannotFold(files, _first_line(error)) from error
        con.unregister("said")
    con.execute(
        "insert into ledger_files select ?, unnest(?), ?", [name, [f.name for f in files], now()]
    )


def _set_aside(con: duckdb.DuckDBPyConnection, item: str, reason: str) -> None:
    con.execute(
        "insert into failures by name select $item as item, 'ledger' as stage, $reason as reason,"
        " 1 as attempts, $at as first_at, $at as last_at on conflict do nothing",
        {"item": item, "reason": reason, "at": now()},
    )


def _insert(con: duckdb.DuckDBPyConnection, table: str, row: Mapping[str, Any]) -> None:
    """Insert one row by name, of the columns that the table has; a known key is left as it is."""
    has = [column[0] for column in con.execute(f"describe {table}").fetchall()]
    names = [name for name in has if name in row]
    con.execute(
        f"insert into {table} ({', '.join(names)}) values ({', '.join('?' * len(names))})"
        " on conflict do nothing",
        [_value(row[name]) for name in names],
    )


def _value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, Mapping) else value


def _fold_arrays(con: duckdb.DuckDBPyConnection, root: Path, published: Iterable[ArrayIds]) -> int:
    rows = con.execute("select slide_key, tiling_id, encoder_id from embeddings").fetchall()
    done, folded = set(rows), 0
    for ids in published:
        if ids in done:
            continue
        done.add(ids)
        try:
            tiling = arrays.attributes(root, ids.slide_key, ids.tiling_id)
            shape, said = arrays.embedding_header(root, *ids)
            encoder = from_json(EncoderDescription, said["encoder"])
        except (StoreDamaged, ConfigError, KeyError) as error:
            _set_aside(con, f"embeddings {'/'.join(ids)}", str(error))
            continue
        _insert(con, "tilings", {"tiling_id": ids.tiling_id, **tiling})
        _insert(
            con,
            "encoders",
            {
                **asdict(encoder),
                "encoder_id": ids.encoder_id,
                "dim": shape[1],
                "identity": json.dumps(encoder.identity, sort_keys=True),
            },
        )
        _insert(
            con,
            "embeddings",
            {**said, **ids._asdict(), "n_tiles": shape[0], "dim": shape[1], "embedded_at": now()},
        )
        folded += 1
    return folded


def _fold_runs(con: duckdb.DuckDBPyConnection, root: Path) -> int:
    done = {row[0] for row in con.execute("select run_id from runs").fetchall()}
    folded = 0
    for file in sorted(layout.runs_dir(root).glob("*/run.json")):
        if file.parent.name in done:
            continue
        try:
            run = from_json(RunRecord, json.loads(file.read_text()))
        except (ConfigError, ValueError) as error:
            _set_aside(con, str(file), str(error))
            continue
        _insert(con, "runs", asdict(run))
        said = [(s, name, v) for s, found in run.metrics.items() for name, v in found.items()]
        con.execute(  # in one statement: a row each takes longer than a small training
            "insert into metrics select ?, unnest(?), unnest(?), unnest(?::double[])",
            [run.run_id, *map(list, zip(*said, strict=True))] if said else [run.run_id, [], [], []],
        )
        con.execute(
            "insert into predictions by name select $run_id as run_id, * from read_parquet($file)",
            {"run_id": run.run_id, "file": str(file.with_name("predictions.parquet"))},
        )
        folded += 1
    return folded


def _frame(relation: duckdb.DuckDBPyRelation | None) -> pl.DataFrame:
    return pl.DataFrame(relation) if relation is not None else pl.DataFrame()


def _check_version(con: duckdb.DuckDBPyConnection) -> None:
    found = {row[0] for row in con.execute("select name from migrations").fetchall()}
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
    path: Path, *, read_only: bool = False, timeout_s: float = LOCK_TIMEOUT_S
) -> Iterator[duckdb.DuckDBPyConnection]:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            con = duckdb.connect(
                str(path),
                read_only=read_only,
                config={"autoinstall_known_extensions": "false"},
            )
            break
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            message = str(error)
            if not read_only:
                with writing(path.parent), _disk_errors():
                    if any(os.strerror(n) in message for n in _DISK):
                        raise
            if "lock" not in message and "different configuration" not in message:
                raise StoreVersionMismatch(
                    f"{path} cannot be opened: {_first_line(error)}"
                ) from error
            if time.monotonic() > deadline:
                holder = re.search(r"held in (.+?\(PID \d+\))", message)
                who = holder.group(1) if holder else "another process"
                raise CatalogBusy(
                    f"{path} is in use by {who}; waited {timeout_s:g} s. Try again when it is done."
                ) from error
            time.sleep(random.uniform(0.005, 0.05))
    try:
        yield con
    finally:
        con.close()


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise DuckDB's words about a full or read-only disk as the OSError they are."""
    try:
        yield
    except duckdb.Error as error:
        found = [n for n in _DISK if os.strerror(n) in str(error)]
        if not found:
            raise
        raise OSError(found[0], os.strerror(found[0])) from error


@contextmanager
def _transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.execute("begin")
    try:
        yield
    except BaseException:
        con.execute("rollback")
        raise
    con.execute("commit")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
