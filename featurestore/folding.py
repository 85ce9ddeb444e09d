"""Fold the ledger, the arrays and the Runs into the catalog: the one way rows enter it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

import sql
from featurestore import arrays, compacting, layout, ledger, workplaces
from featurestore.bookkeeping import Published
from featurestore.catalog import (
    BROKEN,
    HERE,
    LOCK_TIMEOUT_S,
    Connection,
    first_line,
    inserting,
    locked,
    refresh,
    transaction,
)
from featurestore.checksums import MEND, SealedRun, frames_of, read_runs
from featurestore.errors import ConfigError, StoreDamaged, TrephineError
from featurestore.fields import from_json, now
from featurestore.types import ArrayIds, EncoderDescription, Tiling

SHOWN = ("cases", "slides", "reports", "labels", "embeddings")  # kinds that slide_facts shows
# of the table that a fold is called after; what a noun has beside is of another table
OWN = f"select list(column_name) from duckdb_columns() where table_name = ? and {HERE}"
MANY = 50_000  # touched values from which all rows are written again
Undo = Callable[[], object]
Act = Callable[[Connection], Iterable[Any]]


class _CannotFold(Exception):
    """Files with rows that the catalog does not take, and why; their transaction is void."""

    def __init__(self, files: Sequence[str], reason: str) -> None:
        super().__init__(reason)
        self.files, self.reason = files, reason


@dataclass(kw_only=True)
class _Folding:
    """One fold: where, into what, and what broke the one before."""

    root: Path
    con: Connection
    aside: Mapping[str, str]  # files that broke the transaction, and why
    everything: bool = False  # whether any Slide may be touched
    alone: bool  # whether each file is folded by itself, to find the one that breaks it
    faults: dict[str, str]  # what is set aside, and why
    only: Collection[str] | None  # kinds and names of the ledger files to fold; all
    touched: dict[str, set[str]] = field(default_factory=dict)  # slide_id, case_id, slide_key
    left: list[Path] = field(default_factory=list)  # files whose rows all stand in another

    def name(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix()


def fold(
    root: Path,
    *,
    act: Act = lambda con: (),
    published: Iterable[ArrayIds] | None = None,
    timeout_s: float = LOCK_TIMEOUT_S,
    into: tuple[Connection, Callable[[], int]] | None = None,
    only: Collection[str] | None = None,
    undo: Iterable[Undo] = (),
) -> int:
    """Fold every ledger file, array and Run without a row into the catalog; return how many.

    A live write, the adoption of what a killed process left, and a rebuild are the same fold. What
    cannot be folded is set aside as a row of `failures` of stage `ledger`, and blocks nothing.
    `act` is called once under the writer's lock: it checks names, and gives nouns for the ledger.
    Where the fold fails, these are taken back, and what is in `undo` is done: it changed nothing.
    `published` are the arrays to look at, all unless given. `into` is another catalog than the
    store's, `catalog.new`, made of `only` these ledger files (kind and name).

    Raises:
        CatalogBusy: another process held the lock for `timeout_s`; nothing was written.
    """
    found = list(arrays.published(root) if published is None else published)
    aside, faults, made = dict[str, str](), dict[str, str](), list[Path]()
    alone, is_written = False, False
    with nullcontext(into) if into else locked(root, timeout_s) as (con, written):
        before = written()
        with workplaces.taking_back(made, undo, lambda: written() != before):
            while True:
                work = _Folding(
                    root=root, con=con, aside=aside, alone=alone, faults=faults, only=only
                )
                try:
                    with transaction(con, written):
                        if not is_written:
                            ledger.append(root, [*act(con), *_read_arrays(work, found)], made)
                            is_written = True
                        n = _fold_ledger(work) + _fold_runs(work)
                        _drop_erased(con)
                        _refresh(work)
                        _tell(work, published is None)
                        left = [] if into else [*work.left, *compacting.left_over(con, root)]
                    break
                except _CannotFold as refused:
                    if len(refused.files) == 1:
                        aside |= dict.fromkeys(refused.files, refused.reason)
                    alone = True
    for file in left:  # of a compaction that was killed
        file.unlink(missing_ok=True)
    return n


def _refresh(work: _Folding) -> None:
    """Write again what people choose Slides by, of those that the fold touched."""
    named = {name: some for name, some in work.touched.items() if some}
    if work.everything or sum(map(len, named.values())) > MANY:
        refresh(work.con, "select slide_id from slides union select slide_id from slide_facts")
    elif named:
        frames = {f"said_{name}": pl.DataFrame({name: list(some)}) for name, some in named.items()}
        texts = (
            f"select slide_id from slides where {name} in (from said_{name})" for name in named
        )
        with inserting(work.con, **frames):
            refresh(work.con, " union ".join(texts))


def _tell(work: _Folding, whole: bool) -> None:
    """Make what is set aside rows of failures; what was mended is none."""
    work.con.execute(
        "delete from failures where stage = 'ledger' and not list_contains($items, item)"
        " and (item like 'runs/%' or (item like 'embeddings %' and $whole))",
        {"items": list(work.faults), "whole": whole},
    )
    for item, reason in work.faults.items():
        work.con.execute(
            "insert into failures by name select $item as item, 'ledger' as stage,"
            " $reason as reason, 1 as attempts, $at as first_at, $at as last_at"
            " on conflict do nothing",
            {"item": item, "reason": reason, "at": now()},
        )


# -- ledger ----------------------------------------------------------------------------------------


def _fold_ledger(work: _Folding) -> int:
    done: dict[str, set[str]] = {name: set() for name in ledger.KINDS}
    for name, file in work.con.execute("select kind, name from ledger_files").fetchall():
        done.setdefault(name, set()).add(file)
    folded = 0
    for name in ledger.KINDS:
        files = ledger.files(work.root, name)
        if work.only is not None:
            files = [file for file in files if f"{name}/{file.name}" in work.only]
        todo = [file for file in files if file.name not in done[name]]
        if todo and todo[0].name < max(done[name], default=""):  # seen after what was said later
            forget(work.con, name)
            work.everything, todo, done[name] = True, files, set()
        if todo:
            _fold_files(work, name, todo, done[name])
        folded += len(todo)
    return folded


def forget(con: Connection, kind: str) -> None:
    """Empty the tables of a kind, so that the next fold reads all its files again."""
    for table in ledger.KINDS[kind].tables:
        con.execute(f"delete from {table}")
    con.execute("delete from ledger_files where kind = ?", [kind])


def _fold_files(work: _Folding, name: str, files: list[Path], known: set[str]) -> None:
    noun, digests = ledger.KINDS[name].noun, dict.fromkeys(files, "")
    for file in files:
        try:
            digests[file] = ledger.digest_of(file)
        except StoreDamaged as error:
            work.faults[work.name(file)] = f"{error} {MEND}"
    whole = [file for file in files if digests[file]]
    found, broken = ledger.read_many(whole, noun)
    for file, reason in broken.items():
        digests[file], work.faults[work.name(file)] = "", f"{reason} {MEND}"
    good, bad = ledger.sound(noun, found)
    for row in bad.iter_rows(named=True):
        work.faults[f"{work.name(whole[row['place']])} row {row['row']}"] = row["fault"]
    said = ledger.in_order(good, known).with_columns(
        pl.concat_str(pl.lit(f"ledger/{name}/"), ledger.ORIGIN).alias("file")
    )
    for file in set(said["file"].unique()) & work.aside.keys():
        work.faults[file] = f"{work.aside[file]} {MEND}"
    said = said.filter(~pl.col("file").is_in(list(work.aside)))
    for some in said.partition_by("file", maintain_order=True) if work.alone else [said]:
        if some.height:
            _fold_rows(work, name, some)
    told = {"name": [f.name for f in files], "digest": list(digests.values())}
    with inserting(work.con, files=pl.DataFrame({"kind": name, **told, "folded_at": now()})):
        work.con.execute("insert into ledger_files by name from files")
    work.left += compacting.know(work.con, name, whole, found)


def _fold_rows(work: _Folding, name: str, rows: pl.DataFrame) -> None:
    kind, files = ledger.KINDS[name], rows["file"].unique().to_list()
    number = pl.col(ledger.ORIGIN).str.slice(0, ledger.DIGITS).cast(pl.Int64, strict=False)
    said = rows.select(*ledger.schema_of(kind.noun), number.fill_null(0).alias("sequence"))
    if name == "cohorts":
        said = _whole_cohorts(work, said)
    work.everything |= name == "tombstones"
    for column in {"slide_id", "case_id", "slide_key"} & set(said.columns):
        if name in SHOWN:
            work.touched.setdefault(column, set()).update(said[column].to_list())
    try:
        with inserting(work.con, said=said.with_row_index("row")):
            for statement in kind.folds:
                work.con.execute(f"set variable own = ({OWN})", [statement])
                work.con.execute(sql.read(f"folds/{statement}"))
    except duckdb.Error as error:
        if isinstance(error, (*BROKEN, duckdb.InterruptException)):
            raise
        raise _CannotFold(files, first_line(error)) from error


def _drop_erased(con: Connection) -> None:
    """Leave nothing of the erased in any table: a late file brings nothing of theirs back."""
    if not con.execute("select 1 from tombstones where erase").fetchall():
        return
    columns = con.execute(
        f"select table_name, column_name from duckdb_columns() where table_name <> 'tombstones'"
        f" and {HERE} and table_name in (select table_name from duckdb_tables() where {HERE})"
    ).fetchall()
    for table, column in columns:
        if column in ("patient_id", "case_id", "slide_id"):
            of, hidden = column.removesuffix("_id"), f"'sha256:' || sha256({column})"
            erased = f"select name from tombstones where erase and kind = '{of}'"
            con.execute(
                f"delete from {table} where {column} in ({erased}) or {hidden} in ({erased})"
            )
    for table in ("embeddings", "ingest_times"):
        con.execute(
            f"delete from {table} where slide_key in (select slide_key from tombstones where erase)"
            " and slide_key not in (select slide_key from slides)"
        )


def _whole_cohorts(work: _Folding, said: pl.DataFrame) -> pl.DataFrame:
    """The rows of Cohorts that are what their ids say; the first of a name holds."""
    whole, ids = [], dict(work.con.execute("select cohort, cohort_id from cohorts").fetchall())
    deleted = "select name, max(sequence) from tombstones where kind = 'cohort' group by name"
    gone = dict(work.con.execute(deleted).fetchall())
    for rows in said.partition_by("cohort", "cohort_id", "sequence", maintain_order=True):
        cohort, cohort_id, sequence = rows.select("cohort", "cohort_id", "sequence").row(0)
        if sequence < gone.get(cohort, -1):
            continue
        is_erased = '"erased"' in rows["dropped"][0]  # some of its Slides are gone for good
        found = cohort_id if is_erased else ledger.cohort_id_of(rows)
        known = ids.setdefault(cohort, cohort_id)
        if known == found == cohort_id:
            whole.append(rows)
            continue
        fault = f"its slides hash to {found}, expected {cohort_id}: some are missing or changed."
        if known != cohort_id:
            said_first = f"a cohort of that name and id {known} was first."
            fault = f"it has the id {cohort_id}, and {said_first}"
        item = f"cohort {cohort} of ledger file {sequence:0{ledger.DIGITS}d}"
        work.faults[item] = f"{fault} {MEND}"
    return pl.concat(whole) if whole else said.clear()


# -- arrays ----------------------------------------------------------------------------------------


def _read_arrays(work: _Folding, published: Iterable[ArrayIds]) -> list[Published]:
    """What the ledger lacks of the arrays that are published."""
    wanted = list(dict.fromkeys(published))
    if not wanted:
        return []
    frame = pl.DataFrame(wanted, schema=list(ArrayIds._fields), orient="row")
    with inserting(work.con, wanted=frame):
        rows = work.con.execute(
            "select slide_key, tiling_id, encoder_id, embedded_at, digest from embeddings"
            " semi join wanted using (slide_key, tiling_id, encoder_id)"
        ).fetchall()
    known = {row[:3] for row in rows if row[4] is not None}
    since = {row[:3]: row[3] for row in rows}
    found = []
    for ids in wanted:
        if tuple(ids) in known:
            continue
        try:
            found.append(read_published(work.root, ids, since.get(tuple(ids)) or now()))
        except StoreDamaged as error:
            work.faults[f"embeddings {'/'.join(ids)}"] = f"{error} {MEND}"
    return found


def read_published(root: Path, ids: ArrayIds, at: datetime) -> Published:
    """What an array that is published says of itself; its chunks are as their checksums say.

    Raises:
        StoreDamaged: it is no such array, or another's.
    """
    try:
        tiling = arrays.attributes(root, ids.slide_key, ids.tiling_id)
        (n_tiles, dim), said = arrays.embedding_header(root, *ids)
        encoder = from_json(EncoderDescription, said["encoder"])
        digests = arrays.digests_of(root, ids)
        chunk = layout.chunk(layout.embedding_dir(root, *ids), 2)
        path = chunk.relative_to(layout.group_dir(root, ids.slide_key)).as_posix()
        return Published(
            **ids._asdict(),
            n_tiles=n_tiles,
            dim=dim,
            precision=said.get("precision"),
            device=said.get("device"),
            runtime=said.get("runtime"),
            **{one.name: tiling[one.name] for one in fields(Tiling)},
            encoder_name=encoder.name,
            weights=encoder.weights,
            weights_hash=encoder.weights_hash,
            identity=json.dumps(encoder.identity, sort_keys=True),
            digests=digests,
            digest=digests[path] if n_tiles else "empty",
            embedded_at=at,
        )
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        raise StoreDamaged(str(error)) from error


# -- runs ------------------------------------------------------------------------------------------


def _fold_runs(work: _Folding) -> int:
    """Fold the Runs without a row, all at once."""
    gone = "select run_id from runs union all select name from tombstones where kind = 'run'"
    done = {row[0] for row in work.con.execute(gone).fetchall()}
    there = (folder for folder in layout.runs_dir(work.root).glob("*/") if folder.name not in done)
    folders = sorted(there)
    found: list[SealedRun] = []
    for folder, run in read_runs(folders, {}):
        name = work.name(folder)
        if isinstance(run, TrephineError):
            work.faults[name] = str(run)
        elif name in work.aside:
            work.faults[name] = f"{work.aside[name]} {MEND}"
        else:
            found.append(run)
    for some in [[one] for one in found] if work.alone else [found] if found else []:
        try:
            for table, rows in frames_of(some).items():
                has = {column[0] for column in work.con.execute(f"describe {table}").fetchall()}
                with inserting(work.con, said=rows.select(c for c in rows.columns if c in has)):
                    work.con.execute(f"insert into {table} by name from said")
        except duckdb.Error as error:
            names = [work.name(layout.runs_dir(work.root) / run.run_id) for run, *_ in some]
            raise _CannotFold(names, first_line(error)) from error
    return len(folders)
