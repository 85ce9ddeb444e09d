"""Find everything in a store that is not as it was written: arrays, ledger, Runs and catalog."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import polars as pl

import sql
from featurestore import (
    arrays,
    catalog,
    catalog_file,
    creation,
    folding,
    groups,
    layout,
    ledger,
    withdrawal,
    workplaces,
)
from featurestore.bounded_process import BoundedProcess, Bounds, Died, serve
from featurestore.checksums import MEND, check_sealed
from featurestore.device import processors
from featurestore.errors import StoreDamaged, StoreForbidden
from featurestore.fields import now
from featurestore.groups import GROUP, Groups, Seen, Survey, ToldArray, check_group
from featurestore.types import ArrayIds, Progress, silent
from featurestore.words import counted, size

ROOMS = ("slides", "ledger", "runs", "tmp", "quarantine")
REBUILD = "trephine verify --rebuild"
ADOPT = "trephine ingest --adopt-only"
MENDS = {  # of checks, with names of the first row
    "best_labels_without_label": REBUILD,
    "cohort_slides_without_embeddings": "what this names next: trephine status",
    "embeddings_without_names": REBUILD,
    "patients_on_two_sides": "trephine cohort delete {cohort}",
    "runs_without_cohort": "trephine runs delete {run_id}",
    "slides_of_two_patients": "a manifest with one patient_id for each content",
    "slides_without_case": "a manifest with the case_id of each slide",
}
LEDGER_FILES = "select kind || '/' || name, digest from ledger_files"
NOT_COMPARED = ("migrations", "checked_arrays")
PART = 32  # groups that are checked and told at once
SILENCE_S = 20.0  # after which a helper is ended that says nothing, at most of one group
MANY = 500  # groups that are worth a process, which takes a fifth of a second to start


def survey(root: Path, progress: Progress = silent) -> Survey:
    """Read every byte of a store, and compare the catalog with what is made anew of the rest."""
    found, started = Survey(root=root), time.monotonic()
    own = {*(root / room for room in ROOMS), *catalog_file.files_of(root)}
    with _checking(root) as check:  # first: processes take their time to start
        found.foreign += [entry.name for entry in sorted(root.iterdir()) if entry not in own]
        mark = withdrawal.begun(root)
        if mark.exists() and not workplaces.is_claimed(mark.parent):
            found.add(mark, "an erasure was stopped, and is not done")
        for left in workplaces.left_over(layout.tmp_dir(root)):
            found.add(left, "it is unfinished work that was left behind")
        there, doubtful = _groups(found), list[Path]()
        checked = check(there)
        _runs(found)  # while others read groups
        _compare(found)
        for n, (whole, others) in enumerate(checked, start=1):
            found.take(whole)
            doubtful += others
            what = f"{size(found.bytes)}, {counted(len(found.failures) + len(doubtful), 'finding')}"
            progress(min(n * PART, len(there)), len(there), what)
    for part in _again(root, doubtful) if doubtful else ():
        found.take(part)
    found.seconds = time.monotonic() - started
    return found


# -- arrays ----------------------------------------------------------------------------------------


@contextmanager
def _checking(root: Path) -> Iterator[Callable[[Groups], Iterator[tuple[Survey, list[Path]]]]]:
    """What finds all of groups, part by part; where there are many, other processes with this one.

    Most of a group are small files, of which each takes more of Python than of the disk.
    """
    many = sum(1 for _ in layout.slides_dir(root).glob("*")) // MANY
    limits = Bounds(memory_bytes=2**30, silence_s=SILENCE_S)
    n = min(processors() - 1, many)
    helpers = [BoundedProcess(limits, partial(serve, answer=groups.answer)) for _ in range(n)]
    free = SimpleQueue[BoundedProcess]()

    def check(part: Groups) -> tuple[Survey, list[Path]]:
        with suppress(Empty, Died):  # or it was stopped, or hangs at one group
            helper = free.get_nowait()
            found: tuple[Survey, list[Path]] = next(filter(None, helper.ask((root, part))))
            free.put(helper)
            return found
        return next(filter(None, groups.answer((root, part))))

    with ThreadPoolExecutor(len(helpers) + 2 if helpers else 2 * processors()) as pool:
        try:
            for one in helpers:
                one.start()
                free.put(one)
            yield lambda of: pool.map(check, [of[i : i + PART] for i in range(0, len(of), PART)])
        finally:
            for one in helpers:
                one.close()


def told_arrays(root: Path) -> pl.DataFrame:
    """The last word of the ledger on each array of Embeddings; `gone` where it was set aside."""
    last = ledger.last_arrays(_told(root, "embeddings"))
    erased = set(_told(root, "tombstones")["slide_key"].drop_nulls())
    erased -= {row[0] for row in _ask(root, "select slide_key from slides")}
    return last.filter(~pl.col("slide_key").is_in(list(erased)))


def _told(root: Path, kind: str) -> pl.DataFrame:
    """Rows of a kind, of the files that are whole; the others are told with the ledger."""
    whole = []
    for file in ledger.files(root, kind):
        with suppress(StoreDamaged, StoreForbidden):
            ledger.digest_of(file)
            whole.append(file)
    found, _ = ledger.read_many(whole, ledger.KINDS[kind].noun)
    return ledger.in_order(found)


def _by_key(root: Path) -> dict[str, list[ToldArray]]:
    """What the ledger tells of each Slide's arrays."""
    found: dict[str, list[ToldArray]] = {}
    for row in told_arrays(root).select(ToldArray._fields).iter_rows():
        found.setdefault(row[0], []).append(ToldArray(*row))
    return found


def _groups(found: Survey) -> list[tuple[Path, list[ToldArray]]]:
    """The groups that are there or told of, and what they must hold."""
    folder = layout.slides_dir(found.root)
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    by_key = _by_key(found.root)
    groups = [(path, by_key.pop(path.stem, [])) for path in there]
    return [*groups, *((layout.group_dir(found.root, key), told) for key, told in by_key.items())]


def _again(root: Path, groups: Sequence[Path]) -> Iterator[Survey]:
    """A second look at groups, with what the ledger tells now of what was published meanwhile.

    Who publishes claims the folder until it is recorded. So what is there is listed first, then the
    claim is looked at, then the ledger: what neither has was left by a process that was killed, or
    put there by hand. A group that changed during its look is looked at once more.
    """
    is_claimed, known = _known(root, groups)
    while groups:
        looked = {path: _look(root, path, *known[path], is_claimed) for path in groups}
        is_claimed, after = _known(root, groups)
        yield from (found for path, found in looked.items() if known[path] == after[path])
        groups, known = [path for path in groups if known[path] != after[path]], after


def _known(
    root: Path, groups: Sequence[Path]
) -> tuple[bool, dict[Path, tuple[list[ArrayIds], list[ToldArray]]]]:
    """Whether their folder is claimed; the arrays that are in each, and that are told of it."""
    are_there = {
        path: [*arrays.published(root, path.stem)] if GROUP.fullmatch(path.name) else []
        for path in groups
    }
    is_claimed, by_key = workplaces.is_claimed(layout.slides_dir(root)), _by_key(root)
    return is_claimed, {path: (ids, by_key.get(path.stem, [])) for path, ids in are_there.items()}


def _look(
    root: Path, path: Path, there: Sequence[ArrayIds], told: Sequence[ToldArray], is_claimed: bool
) -> Survey:
    """What is found of one group; what no row tells of is held against itself."""
    known, new = {one[:3] for one in told}, []
    for ids in there:
        if ids not in known:
            with suppress(StoreDamaged):
                it = folding.read_published(root, ids, now())
                digests = json.dumps(dict(it.digests))
                new.append(ToldArray(*ids[:3], dim=it.dim, gone=False, digests=digests))
    found = check_group(root, path, [*told, *new])
    if is_claimed:
        found.waiting, new = len(new), []
    tilings, places = {one.tiling_id for one in told}, set()
    for one in new:  # what no row tells of, its tiles too, has no digest to be held against
        array = layout.embedding_dir(root, *one[:3])
        places.add(array if one.tiling_id in tilings else array.parents[1] if told else path)
    for place in sorted(places):
        found.add(place, "the catalog does not know it: an ingest was stopped", ADOPT)
    return found


# -- runs, ledger and catalog ----------------------------------------------------------------------


def _runs(found: Survey) -> None:
    room = layout.runs_dir(found.root)
    digests = dict(_ask(found.root, "select run_id, digest from runs"))
    gone = dict(_ask(found.root, "select name, erase from tombstones where kind = 'run'"))
    for folder in sorted(room.iterdir()) if room.is_dir() else []:
        digest = digests.pop(folder.name, None)
        if folder.name in gone:
            continue
        try:
            if folder.is_symlink() or not folder.is_dir():
                raise StoreDamaged("it is no run.")
            if check_sealed(folder, digest) is None:
                raise StoreDamaged(f"{folder} has no SHA256SUMS.")
            inside = [file for file in folder.rglob("*") if file.is_file()]
            found.files += len(inside)
            found.bytes += sum(file.stat().st_size for file in inside)
        except StoreDamaged as error:
            found.add(folder, str(error).replace(f"{found.root}/", ""))
        except StoreForbidden:
            found.unread(folder, PermissionError())
    for run_id in digests:
        found.add(room / run_id, "it is missing")


def _ask(root: Path, text: str) -> list[tuple[Any, ...]]:
    """Rows of the catalog; none where it cannot be read, which is told once, with the catalog."""
    try:
        with catalog.reader(root, any_hand=True) as con:
            return con.execute(text).fetchall()
    except Exception:  # whatever DuckDB makes of garbage
        return []


def _compare(found: Survey) -> None:
    """Make the catalog anew beside the store: what cannot be folded, and what differs, is told."""
    part, is_claimed = Survey(root=found.root), workplaces.is_claimed(layout.slides_dir(found.root))
    try:
        with catalog.reader(found.root, any_hand=True) as con:
            _compare_with(con, part, is_claimed)
        if not any(one.path.startswith(layout.CATALOG) for one in part.failures):
            try:
                with catalog.reader(found.root):
                    pass
            except StoreDamaged:
                part.add(layout.CATALOG, "another program wrote to it", REBUILD)
    except Exception as error:  # whatever DuckDB makes of garbage
        part = Survey(root=found.root)
        with creation.fresh(found.root) as anew:
            check_ledger(part, anew, {})
        said = catalog.first_line(error).partition(f" {catalog_file.MAKE_ANEW}")[0]
        part.add(layout.CATALOG, f"it cannot be read: {said}", REBUILD)
    found.take(part)


def _compare_with(con: catalog.Connection, found: Survey, is_claimed: bool) -> None:
    """The same with an open catalog, so that nobody writes to it meanwhile.

    The new one is made of the ledger files that this one has folded; others wait to be folded, or
    were left by a process that was killed.
    """
    if catalog_file.is_cut(catalog.path_of(found.root)):
        found.add(layout.CATALOG, "its end is missing", REBUILD)
    if (log := catalog_file.log_of(catalog.path_of(found.root))).exists():
        found.add(log, "a process that was killed left it, or it is foreign", ADOPT)
    names = dict(con.execute(LEDGER_FILES).fetchall())
    live = dict(con.execute(f"{LEDGER_FILES} where part_of is null").fetchall())
    unread = set(_unread(found.root))
    folded = names.keys() - {name.partition("/")[2] for name in unread}
    with creation.fresh(found.root, folded) as anew:
        for file in check_ledger(found, anew, live):
            if not is_claimed:
                found.add(file, "it is not folded: its command was stopped", ADOPT)
            found.waiting += is_claimed
        differing = [] if unread else catalog.differences(con, anew, NOT_COMPARED)
        for table, n_live, n_fresh in differing:
            found.add(
                f"{layout.CATALOG} {table}",
                f"it has {n_live:,} rows that ledger, arrays and runs do not give, and lacks "
                f"{n_fresh:,} that they give",
                REBUILD,
            )
    for check in sql.names("checks"):
        if rows := catalog.frame_of_query(con, check).rows(named=True):
            name = Path(check).name
            named = {column: shlex.quote(str(value)) for column, value in rows[0].items()}
            mend = f"{MENDS[name].format(**named)}, or see them with: trephine sql --named {name}"
            found.add(layout.CATALOG, f"{len(rows):,} rows break the check {name}", mend)


def _unread(root: Path) -> Iterator[str]:
    """What may not be read of ledger and Runs, which is told by name: nothing can be made of it."""
    for of in ("ledger/*/*", "runs/*", "runs/*/*"):
        for path in root.glob(of):
            if not os.access(path, os.R_OK, effective_ids=True) and os.path.lexists(path):
                yield path.relative_to(root).as_posix()


def check_ledger(
    found: Survey, con: catalog.Connection, folded: Mapping[str, str | None]
) -> list[Path]:
    """Find what is foreign, missing, other than was folded, or set aside by a fold into `con`.

    `folded` are the digests of files that the catalog has; those that neither has are returned.
    """
    anew, room, new = dict(con.execute(LEDGER_FILES).fetchall()), found.root / "ledger", []
    live = dict(folded)
    for entry in sorted(room.iterdir()) if room.is_dir() else []:
        if entry.name not in ledger.KINDS or entry.is_symlink() or not entry.is_dir():
            found.add(entry, "it is no part of a ledger")
            continue
        for file in sorted(entry.iterdir()):
            name = f"{entry.name}/{file.name}"
            was, digest = live.pop(name, None), anew.get(name)
            found.files, found.bytes = found.files + 1, found.bytes + file.lstat().st_size
            if digest is None:
                try:
                    ledger.digest_of(file)
                    new.append(file)
                except StoreDamaged as error:
                    found.add(file, str(error).removeprefix(f"{file} "))
                except StoreForbidden:
                    found.unread(file, PermissionError())
            elif was and digest and was != digest:
                found.add(file, "it is not what was folded: its digest differs")
    for name in live:
        found.add(f"ledger/{name}", "it is missing, and the catalog has its rows")
    _set_aside(found, con)
    return new


def _set_aside(found: Survey, con: catalog.Connection) -> None:
    """What a fold sets aside of ledger and Runs, if it is not told already, and may be read."""
    told, unread = {one.path for one in found.failures}, [*_unread(found.root)]
    aside = "select item, reason from failures where stage = 'ledger'"
    for item, reason in con.execute(aside).fetchall():
        path, _, row = item.partition(" row ")
        fault = reason.partition(f" {MEND}")[0].replace(f"{found.root}/", "")
        fault = fault.removeprefix(f"{path} ")
        if path not in told and not any(f"{one}/".startswith(f"{path}/") for one in unread):
            found.add(path, f"in its row {row}, {fault}" if row else fault)


def remember(root: Path, whole: Iterable[Seen]) -> None:
    """Keep which arrays were found whole: processes need not check them again for a week."""
    told = pl.DataFrame(
        [(*told[:3], *stamp, now()) for told, stamp in whole],
        schema=["slide_key", "tiling_id", "encoder_id", "size_bytes", "mtime_ns", "inode", "at"],
        orient="row",
    )
    with catalog.writer(root) as con, catalog.inserting(con, told=told):
        if told.height:
            con.execute("insert or replace into checked_arrays from told")
