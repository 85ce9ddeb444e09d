"""Write the many small files of a kind of ledger as one; nothing is lost, nothing said twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from featurestore import catalog, layout, ledger
from featurestore.errors import StoreDamaged
from featurestore.fields import now

MANY = 100  # files of a kind that are worth it
GROWTH = 2  # a compacted file is taken in again while it is at most so much of what joins it


def compact(root: Path, at_least: int = MANY) -> dict[str, int]:
    """Compact the kinds of which there are many files; return how many files became one, by kind.

    The new file is published before the old ones go, and each of its rows says in which it was: so
    whoever is killed on the way leaves rows that stand in two files, and every fold knows it.

    Raises:
        CatalogBusy: another process holds the lock; nothing was changed.
    """
    done: dict[str, int] = {}
    for kind in ledger.KINDS:
        files = _chosen(root, kind, at_least)
        if files and _compact(root, kind, files):
            done[kind] = len(files)
    return done


def _chosen(root: Path, kind: str, at_least: int) -> list[Path]:
    """Files that the catalog has whole: all small ones, and compacted ones that are no larger."""
    there = {file.name: file for file in ledger.files(root, kind)}
    if len(there) < at_least:
        return []
    with catalog.reader(root) as con:
        folded = con.execute(
            "select name, digest from ledger_files where kind = ? and part_of is null"
            " and not exists (select 1 from failures"
            " where stage = 'ledger' and contains(item, name))",
            [kind],
        ).fetchall()
    whole = [there[name] for name, digest in folded if name in there and _is(there[name], digest)]
    small = [file for file in whole if ledger.COMPACTED not in file.name]
    if len(small) < at_least:
        return []
    size = sum(file.stat().st_size for file in small)
    for file in sorted(set(whole) - set(small), key=lambda one: one.stat().st_size):
        if file.stat().st_size > GROWTH * size:
            break
        small, size = [*small, file], size + file.stat().st_size
    return sorted(small)


def _is(file: Path, digest: str) -> bool:
    try:
        return ledger.digest_of(file) == digest
    except StoreDamaged:
        return False


def _compact(root: Path, kind: str, files: Sequence[Path]) -> bool:
    noun = ledger.KINDS[kind].noun
    rows, broken = ledger.read_many(files, noun)
    if broken or rows["place"].n_unique() < len(files):  # an empty file would be forgotten
        return False
    with catalog.writer(root) as con:
        known = con.execute(
            "select count(*) from ledger_files where kind = ? and part_of is null"
            " and list_contains(?, name)",
            [kind, [file.name for file in files]],
        ).fetchall()[0][0]
        if known < len(files):
            return False  # another process was here meanwhile
        kept = ledger.in_order(rows).select(*ledger.schema_of(noun), ledger.ORIGIN)
        new = ledger.write_instead(root, kind, files, kept)
        con.execute(
            "insert into ledger_files by name select ? as kind, ? as name, ? as digest,"
            " ?::timestamp as folded_at",
            [kind, new.name, ledger.digest_of(new), now()],
        )
        know(con, kind, [new], rows.with_columns(place=pl.lit(0, pl.UInt32)))
    for file in files:
        file.unlink(missing_ok=True)
    return True


def know(
    con: catalog.Connection, kind: str, files: Sequence[Path], rows: pl.DataFrame
) -> list[Path]:
    """Keep which files' rows stand in compacted ones (`part_of`): nobody reads them again.

    The catalog has the folded files by name; `rows` are what `ledger.read_many` gave of them. It
    returns compacted files whose rows all stand in a later one.
    """
    place = pl.col("place")
    made = {n: file.name for n, file in enumerate(files) if ledger.COMPACTED in file.name}
    if not made:
        return []
    parts = (
        rows.filter(place.is_in(list(made)))
        .group_by(pl.col(ledger.ORIGIN).alias("name"))
        .agg(place.max().replace_strict(made, return_dtype=pl.String).alias("part_of"))
        .with_columns(kind=pl.lit(kind), digest=pl.lit(""), folded_at=now())
    )
    with catalog.inserting(con, parts=parts):
        con.execute("insert or replace into ledger_files by name from parts")
    gone = con.execute(
        "delete from ledger_files"
        " where kind = $kind and part_of is null and digest <> '' and contains(name, $mark)"
        " and name not in (select part_of from ledger_files where kind = $kind and part_of <> '')"
        " returning name",
        {"kind": kind, "mark": ledger.COMPACTED},
    ).fetchall()
    return [file.with_name(name) for (name,) in gone for file in files[:1]]


def left_over(con: catalog.Connection, root: Path) -> list[Path]:
    """Files of the ledger whose rows stand in a compacted one that is there, and whole."""
    told = con.execute(
        "select part.kind, part.name, whole.name, whole.digest from ledger_files as part"
        " join ledger_files as whole on whole.name = part.part_of and whole.kind = part.kind"
    ).fetchall()
    there = {kind: set(ledger.files(root, kind)) for kind in {row[0] for row in told}}
    whole: dict[Path, bool] = {}
    left = []
    for kind, part, of, digest in told:
        file, made = (layout.ledger_dir(root, kind) / name for name in (part, of))
        if file not in there[kind]:
            continue
        if made not in whole:
            whole[made] = made in there[kind] and _is(made, digest)
        if whole[made]:
            left.append(file)
    return left
