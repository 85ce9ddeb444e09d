"""Write into the ledger what it lost and the catalog still has; say what nobody has any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

import sql
from featurestore import arrays, catalog, creation, layout, ledger
from featurestore.errors import StoreDamaged
from featurestore.groups import Survey
from featurestore.types import ArrayIds
from featurestore.verify import LEDGER_FILES, check_ledger, told_arrays
from featurestore.words import counted

FROM_BACKUP = "a copy of it from a backup, or the command that wrote it"
AT_THEIR_PLACE = ("tombstones", "cohorts")  # what came before them, in the store's order, counts


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What the catalog has of the ledger: files with their digests, and the rows of some kinds."""

    files: dict[str, str | None]  # by kind and name; no digest: none of its rows was folded
    rows: dict[str, pl.DataFrame]
    runs: Sequence[str]  # that were not taken out


def salvage(root: Path) -> Survey:
    """Set broken ledger files aside, and write anew what the catalog has of them and of missing.

    The catalog is no proof of what was said, as only Cohorts carry an id that their rows hash to:
    `mended` says what was taken from it, and findings are what nobody has any more. Arrays whose
    rows are gone too are adopted by a fold.
    """
    found, done = Survey(root=root), Survey(root=root)
    try:
        kept = _kept(root)
    except Exception:  # whatever DuckDB makes of garbage; told with the catalog
        kept = _Kept(files={}, rows={}, runs=())
    for run_id in kept.runs:
        if not (layout.runs_dir(root) / run_id).exists():
            fault = "it is lost: its folder with weights and predictions is gone."
            done.add(f"runs/{run_id}", fault, FROM_BACKUP)
    with creation.fresh(root) as anew:
        check_ledger(found, anew, kept.files)
    faulty = {one.path for one in found.failures if one.path.startswith("ledger/")}
    if not faulty:
        return done
    broken = sorted(path for path in faulty if (root / path).exists())
    known = {name for name in kept.files if f"ledger/{name}" in faulty}
    absent = {_kind(f"ledger/{name}") for name in known if f"ledger/{name}" not in broken}
    for path in broken:
        done.mended.append(f"{path} is in {arrays.quarantine(root, root / path)}")
        was_folded = kept.files.get(path.removeprefix("ledger/"))
        is_renamed = _kind(path) in absent  # likely: one that was folded is not there
        if ledger.sequence_of(Path(path).name) and not (was_folded or is_renamed):
            fault = "its rows are lost: it was set aside, and the catalog does not have them."
            done.add(path, fault, FROM_BACKUP)
    if not known:
        return done
    kinds = {_kind(f"ledger/{name}") for name in known}
    with creation.fresh(root) as anew:
        left = _rows(anew, kinds)
    for kind in sorted(kinds - {"embeddings"}):
        rows = kept.rows[kind].join(left[kind], on=left[kind].columns, how="anti", nulls_equal=True)
        _write(root, kind, rows)
        if rows.height:
            what = f"{counted(rows.height, 'row')} of ledger/{kind}"
            done.mended.append(f"{what}, written anew from the catalog, which is no proof of them")
    if "embeddings" in kinds:
        done.mended += _adopted(root, kept.rows["embeddings"])
    done.mended += creation.make_anew(root)
    _tell_lost(root, done, kept, kinds)
    return done


def is_anothers(root: Path) -> bool:
    """Whether no file of the ledger here is one that the catalog has: it is another store's."""
    try:
        with catalog.reader(root, any_hand=True) as con:
            known = _files(con)
    except Exception:  # whatever DuckDB makes of garbage; told with the catalog
        return False
    here = {f"{path.parent.name}/{path.name}" for path in root.glob("ledger/*/*")}
    return bool(known and here) and here.isdisjoint(known)


def _kind(path: str) -> str:
    return path.split("/")[1]


def _files(con: catalog.Connection) -> dict[str, str | None]:
    return dict(con.execute(f"{LEDGER_FILES} where part_of is null").fetchall())


def _kept(root: Path) -> _Kept:
    with catalog.reader(root, any_hand=True) as con:
        files = _files(con)
        out = "select name from tombstones where kind = 'run'"
        runs = con.execute(f"select run_id from runs where run_id not in ({out})").fetchall()
        rows = _rows(con, {name.partition("/")[0] for name in files})
    return _Kept(files=files, rows=rows, runs=[run_id for (run_id,) in runs])


def _rows(con: catalog.Connection, kinds: set[str]) -> dict[str, pl.DataFrame]:
    """The rows of a catalog as the ledger writes them; of Embeddings and what has a place, more."""
    found = {}
    for kind in sorted(kinds & ledger.KINDS.keys()):
        own = f"queries/kept_{kind}"
        text = sql.read(own) if own in sql.names("queries") else f"from {kind}"
        rows = catalog.rows_of(con.sql(text))
        if kind != "embeddings":
            also = {"sequence": pl.Int64} if kind in AT_THEIR_PLACE else {}
            schema = ledger.schema_of(ledger.KINDS[kind].noun) | also
            rows = rows.select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        found[kind] = rows
    return found


def _write(root: Path, kind: str, rows: pl.DataFrame) -> None:
    """Write rows that keep their noun's limits to the ledger, at their place or as the last."""
    good, _ = ledger.sound(ledger.KINDS[kind].noun, rows)
    if kind in AT_THEIR_PLACE:
        for (number,), some in good.partition_by("sequence", as_dict=True).items():
            ledger.write(root, kind, some.drop("sequence"), max(1, number or 1))
    elif good.height:
        ledger.write(root, kind, good)


def _adopted(root: Path, kept: pl.DataFrame) -> Iterator[str]:
    """Leave arrays that only the catalog knows to the next fold, but for what is not theirs."""
    told = set(told_arrays(root).select(ArrayIds._fields).iter_rows())
    n = n_gone = 0
    for row in kept.iter_rows(named=True):
        ids = ArrayIds(*(row[name] for name in ArrayIds._fields))
        if tuple(ids) in told:
            continue
        array = layout.embedding_dir(root, *ids)
        chunk = layout.chunk(array, 2).relative_to(layout.group_dir(root, ids.slide_key)).as_posix()
        try:
            digest = arrays.digests_of(root, ids).get(chunk, "empty") if row["n_tiles"] else "empty"
        except StoreDamaged:
            digest = ""
        if digest == row["digest"]:
            n += 1
            continue
        n_gone += 1
        if array.exists():
            yield f"{array.relative_to(root)} is in {arrays.quarantine(root, array)}"
    if n:
        yield f"{counted(n, 'array')} were taken in again, as their own checksums say they are"
    if n_gone:
        what = counted(n_gone, "array")
        yield f"{what} must be made again by the ingest or import that made them"


def _tell_lost(root: Path, done: Survey, kept: _Kept, kinds: set[str]) -> None:
    """Say how many rows of each kind the new catalog lacks, and where the old one is."""
    with catalog.reader(root, any_hand=True) as con:
        now = _rows(con, kinds)
    old = max(layout.quarantine_dir(root).glob(f"*/{layout.CATALOG}"), default=None)
    for kind in sorted(kinds - {"embeddings"}):  # a row without its array is worth nothing
        gone = kept.rows[kind].join(now[kind], on=now[kind].columns, how="anti", nulls_equal=True)
        if gone.height:
            fault = (
                f"{counted(gone.height, 'row')} that the catalog had could not be written anew; "
                f"the old catalog is {old}."
            )
            done.add(f"ledger/{kind}", fault, FROM_BACKUP)
