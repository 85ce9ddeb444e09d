"""Append-only files of what people and models said; the catalog is a fold of them.

A file that is not what was written is `StoreDamaged`.
"""

from __future__ import annotations

import errno
import functools
import io
import json
import math
import os
import stat
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import google_crc32c
import polars as pl

from featurestore import layout, workplaces
from featurestore.bookkeeping import COHORT_TEXTS, OF_CASE, OF_SLIDES, Gone, Published, Tombstone
from featurestore.errors import ConfigError, StoreDamaged, StoreForbidden, unread, writing
from featurestore.fields import about, content_id, from_json, types_of
from featurestore.types import (
    ArrayIds,
    Case,
    CohortSlide,
    Failure,
    FrozenSlide,
    GoldenTile,
    IngestTime,
    RecordedLabel,
    SeenReport,
    Slide,
    Sweep,
)

T = TypeVar("T")
DIGITS = 17  # of the number that a file's name begins with
ORIGIN = "origin"  # a column of compacted files: the name of the file that a row was first in
COMPACTED = "-all-"  # in the names of such files


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of ledger file: the noun of its rows, and how they enter the catalog."""

    noun: type
    tables: tuple[str, ...]  # that its rows are in, and nothing else
    folds: tuple[str, ...]  # statements of sql/folds, in order; each reads the view `said`


# Everything that is declared of a kind: its columns are those of its noun. `said` has beside them
# `row`, the order of what was said, and `sequence`, that of its file.
_BEST = ("drop_best_labels", "best_labels")
_BURY = tuple(
    f"drop_{table}" for table in ("cohorts", "cohort_slides", "runs", "metrics", "predictions")
)
KINDS: dict[str, Kind] = {
    "tombstones": Kind(noun=Tombstone, tables=("tombstones",), folds=("tombstones", *_BURY)),
    "cases": Kind(noun=Case, tables=("cases",), folds=("cases",)),
    "slides": Kind(noun=Slide, tables=("slides",), folds=("slides",)),
    "embeddings": Kind(
        noun=Published,
        tables=("embeddings", "tilings", "encoders"),
        folds=("tilings", "encoders", "embeddings", "drop_embeddings"),
    ),
    "reports": Kind(noun=SeenReport, tables=("reports",), folds=("reports", *_BEST)),
    "labels": Kind(
        noun=RecordedLabel, tables=("labels", "targets"), folds=("targets", "labels", *_BEST)
    ),
    "cohorts": Kind(
        noun=FrozenSlide, tables=("cohorts", "cohort_slides"), folds=("cohorts", "cohort_slides")
    ),
    "sweeps": Kind(noun=Sweep, tables=("sweeps",), folds=("sweeps",)),
    "failures": Kind(
        noun=Failure, tables=("failures where stage <> 'ledger'",), folds=("mended", "failures")
    ),
    "ingest_times": Kind(noun=IngestTime, tables=("ingest_times",), folds=("ingest_times",)),
    "golden_tiles": Kind(noun=GoldenTile, tables=("golden_tiles",), folds=("golden_tiles",)),
}
_KIND_OF = {kind.noun: name for name, kind in KINDS.items()}


def kind_of(noun: type) -> str:
    """The kind of ledger file, and the table, that rows of a noun stand in."""
    return _KIND_OF[noun]


_COLUMNS: dict[Any, Any] = {
    str: pl.String,
    int: pl.Int64,
    float: pl.Float64,
    bool: pl.Boolean,
    date: pl.Date,
    datetime: pl.Datetime("us"),
    tuple[float, ...]: pl.List(pl.Float32),
}


def schema_of(noun: type) -> dict[str, Any]:
    """Columns of a noun's rows; mappings are JSON texts."""
    return {name: _COLUMNS.get(plain, pl.String) for name, (plain, _, _) in types_of(noun).items()}


def frame_of(noun: type, rows: Sequence[Any]) -> pl.DataFrame:
    """Rows of one noun as a frame with its columns."""
    schema, texts = schema_of(noun), dict[int, str]()
    columns = {
        name: [_flat(getattr(row, name), dtype, texts) for row in rows]
        for name, dtype in schema.items()
    }
    return pl.DataFrame(columns, schema=schema, strict=True)


def nouns_of(noun: type[T], frame: pl.DataFrame) -> list[T]:
    """The inverse of `frame_of`; columns that the noun does not have are left out."""
    return [from_json(noun, row) for row in frame.iter_rows(named=True)]


def _flat(value: Any, dtype: Any, texts: dict[int, str]) -> Any:
    """A value of a column; a mapping that many rows share is written once."""
    if dtype != pl.String or not isinstance(value, Mapping | tuple):
        return value
    if id(value) not in texts:
        plain = dict(value) if isinstance(value, Mapping) else value
        texts[id(value)] = json.dumps(plain, default=str)
    return texts[id(value)]


@dataclass(frozen=True, kw_only=True)
class Many:
    """Rows of one noun as a frame, where to make and check each for itself takes seconds.

    Raises:
        ConfigError: a row is beyond the noun's limits.
    """

    noun: type
    frame: pl.DataFrame

    def __post_init__(self) -> None:
        bad = sound(self.noun, self.frame)[1]
        if bad.height:
            raise ConfigError(
                f"{bad.height:,} rows cannot be kept: in the first, {bad['fault'][0]}"
            )


def append(root: Path, rows: Iterable[Any], made: list[Path] | None = None) -> list[Path]:
    """Write the rows, a file a kind, all or none, and list them in `made`; names sort by time.

    Rows are nouns of `KINDS`, or `Many` of one, and were checked where they were made.
    """
    by_kind: dict[str, list[Any]] = {}
    frames: dict[str, pl.DataFrame] = {}
    for row in rows:
        if isinstance(row, Many):
            frames[kind_of(row.noun)] = row.frame
        else:
            by_kind.setdefault(kind_of(type(row)), []).append(row)
    frames |= {kind: frame_of(KINDS[kind].noun, some) for kind, some in by_kind.items()}
    frames = {kind: _without_erased(root, kind, frame) for kind, frame in frames.items()}
    made = [] if made is None else made
    with workplaces.taking_back(made):
        for kind in (kind for kind in KINDS if kind in frames and frames[kind].height):
            made.append(write(root, kind, frames[kind]))
    return made


def _without_erased(root: Path, kind: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that name nothing erased: whoever says it, no byte of it comes back.

    Raises:
        ConfigError: they are of a Cohort, which would be another without them.
    """
    gone = erased(root)
    if not gone.names or kind == "tombstones":
        return rows
    kept = rows
    for of in OF_SLIDES:
        if (column := f"{of}_id") in rows.columns:
            names = [one for one in kept[column].drop_nulls().unique() if gone.has([(of, one)])]
            kept = kept.filter(~pl.col(column).is_in(names).fill_null(False))
    if kind == "failures":
        is_of = [
            gone.has([("case", item.removeprefix(OF_CASE)), ("slide", Path(item).stem)])
            for item in kept["item"]
        ]
        kept = kept.filter(~pl.Series(is_of, dtype=pl.Boolean))
    if kind == "cohorts":
        if kept.height < rows.height:
            raise ConfigError("slides of the cohort were erased meanwhile. Create it again")
        for one in COHORT_TEXTS:
            blank = {text: gone.blank(text) for text in kept[one].unique()}
            kept = kept.with_columns(pl.col(one).replace(blank))
    return kept


def erased(root: Path) -> Gone:
    """The Slides, Cases and Patients that were erased, by all that stands in the ledger."""
    return _erased(root, tuple(file.name for file in files(root, "tombstones")))


@functools.lru_cache(maxsize=2)
def _erased(root: Path, _: tuple[str, ...]) -> Gone:
    said = read_many(files(root, "tombstones"), Tombstone)[0].filter(pl.col("erase"))
    return Gone(set(said.select("kind", "name").iter_rows()))


def write(
    root: Path, kind: str, frame: pl.DataFrame, sequence: int | None = None, mark: str = ""
) -> Path:
    """Publish one file at its place in the store's order; the last one unless given."""
    folder = layout.ledger_dir(root, kind)
    number = next_sequence(root) if sequence is None else sequence
    buffer = io.BytesIO()  # a full disk is then an OSError, not one of polars
    frame.write_parquet(buffer)
    stem = f"{number:0{DIGITS}d}-{mark or os.getpid()}-{uuid.uuid4().hex[:8]}"
    name = f"{stem}-{_digest(stem, buffer.getvalue())}.parquet"
    work = layout.tmp_dir(root) / name
    with writing(root), workplaces.taking_back([folder / name]):
        try:
            layout.make(folder)
            with work.open("wb") as file:
                os.fchmod(file.fileno(), layout.rights(folder)[1])
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            return work.rename(folder / name)
        finally:
            work.unlink(missing_ok=True)


def write_instead(root: Path, kind: str, files: Sequence[Path], rows: pl.DataFrame) -> Path:
    """Publish rows that say whence they are in place of files, which the caller removes then.

    It is a compacted file, at their place in the store's order, and just after a compacted one.
    """
    number = max(sequence_of(file.name) + (COMPACTED in file.name) for file in files)
    return write(root, kind, rows, number, mark=COMPACTED.strip("-"))


def _digest(stem: str, content: bytes) -> str:
    """What a file's name ends with: a checksum over the rest of its name and its content."""
    return f"{google_crc32c.value(stem.encode() + content):08x}"


def digest_of(file: Path) -> str:
    """The checksum of a file's content, which the catalog keeps when it folds it."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(file, flags), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise StoreDamaged(f"{file} is no regular file.")
            content = opened.read()
    except OSError as error:
        raise unread(file, error) from error
    stem, _, said = file.stem.rpartition("-")
    marks = file.stem.count("-")
    if not sequence_of(file.name) or file.suffix != ".parquet" or marks not in (2, 3):
        raise StoreDamaged(f"{file} has no name of the ledger.")
    if marks == 3 and said != _digest(stem, content):
        raise StoreDamaged(f"{file} was changed, or renamed: its name says another checksum.")
    return _digest("", content)


def next_sequence(root: Path) -> int:
    """The next number of the store's order: the time in microseconds, and past all that is there.

    So a clock that was set back, or another machine's, does not change what is the last word.
    """
    folders = [folder for kind in KINDS if (folder := layout.ledger_dir(root, kind)).is_dir()]
    there = (sequence_of(name) for folder in folders for name in os.listdir(folder))  # noqa: PTH208
    return max(time.time_ns() // 1000, 1 + max(there, default=0))


def sequence_of(name: str) -> int:
    """The number of a file in the store's order, by its name; 0 of a foreign one."""
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() and len(number) == DIGITS and number < "9" else 0


def files(root: Path, kind: str) -> list[Path]:
    """List the files of a kind, oldest first."""
    return sorted(layout.ledger_dir(root, kind).glob("*.parquet"))


def read(path: Path, kind: str) -> pl.DataFrame:
    """Read the rows of one file in the order said, and whence each comes (`origin`).

    A column that the file does not have yet takes the noun's default.
    """
    found, broken = read_many([path], KINDS[kind].noun)
    if broken:
        raise StoreDamaged(broken[path])
    return found.drop("place", "row")


def read_many(files: Sequence[Path], noun: type) -> tuple[pl.DataFrame, dict[Path, str]]:
    """Read the rows of many files, and say of the others why they cannot be read.

    Rows have three columns more: `place`, the number of their file; `row`, their own in it, from 1;
    and `origin`, the name of the file that they were first written to.
    """
    frames, broken = [pl.DataFrame(schema={**schema_of(noun), **_WHENCE})], {}
    for some, found in _scanned(files, noun):
        if isinstance(found, str):
            broken[some[0]] = found
        else:
            frames.append(found)
    whole = pl.concat(frames)
    places = {str(file): n for n, file in enumerate(files)}
    place = pl.col("file").replace_strict(places, return_dtype=pl.UInt32).alias("place")
    return whole.select(*schema_of(noun), place, "row", ORIGIN), broken


_WHENCE = {"file": pl.String, "row": pl.Int64, ORIGIN: pl.String}


def _column(one: Any, there: Collection[str]) -> pl.Expr:
    """What a file has of a field, by its name or its former one; else the field's default."""
    if known := [name for name in (one.name, about(one).formerly) if name in there]:
        return pl.col(known[0])
    return pl.lit(None if one.default is MISSING else one.default)


def _scanned(files: Sequence[Path], noun: type) -> Iterator[tuple[Sequence[Path], Any]]:
    """Read files at once where they have the same columns, as those of one version have."""
    if not files:
        return
    try:
        found = pl.read_parquet(
            list(files), include_file_paths="file", glob=False, hive_partitioning=False
        )
        there, schema = set(found.columns), schema_of(noun)
        said = (_column(one, there).cast(schema[one.name]).alias(one.name) for one in fields(noun))
        row = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("file").alias("row")
        origin = pl.col(ORIGIN) if ORIGIN in there else pl.col("file").str.split("/").list.last()
        yield files, found.select(*said, "file", row, origin.alias(ORIGIN))
    except BaseException as error:  # of garbage, polars panics
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError | GeneratorExit):
            raise
        if len(files) > 1:
            for part in (files[: len(files) // 2], files[len(files) // 2 :]):
                yield from _scanned(part, noun)
            return
        if os.strerror(errno.EACCES) in str(error):
            raise StoreForbidden.of(files[0]) from error
        why = (str(error).splitlines() or [type(error).__name__])[0]
        yield files, f"{files[0]} cannot be read: {why}."


def in_order(rows: pl.DataFrame, known: Collection[str] = ()) -> pl.DataFrame:
    """Rows of `read_many` as they were said, each once, but for those first said in known files."""
    is_once = rows.select(ORIGIN, "place").n_unique() == rows[ORIGIN].n_unique()
    if not (is_once and rows[ORIGIN].is_sorted()):  # some are compacted, or twice there
        last = pl.col("place").max().over(ORIGIN)
        rows = rows.filter(pl.col("place") == last).sort(ORIGIN, maintain_order=True)
    return rows.filter(~pl.col(ORIGIN).is_in(list(known))) if known else rows


def since(root: Path, kind: str, known: Collection[str]) -> pl.DataFrame:
    """Read the sound rows of a kind that were not said in files of the known names."""
    noun = KINDS[kind].noun
    new = [file for file in files(root, kind) if file.name not in known]
    if not new:
        return pl.DataFrame(schema=schema_of(noun))
    found, broken = read_many(new, noun)
    if broken:
        raise StoreDamaged(next(iter(broken.values())))
    return sound(noun, in_order(found, known))[0].select(*schema_of(noun))


def last_arrays(rows: pl.DataFrame) -> pl.DataFrame:
    """The last word on each array of Embeddings, of rows in the order said."""
    return rows.unique(ArrayIds._fields, keep="last", maintain_order=True)


def told_digest(root: Path, slide_key: str, name: str) -> str | None:
    """What a file of a Slide's group must be, by the last word on it; None where nobody said."""
    try:
        stamp = layout.ledger_dir(root, "embeddings").stat().st_mtime_ns
    except OSError:
        return None
    for text in reversed(_told_digests(root, stamp).get(slide_key, ())):
        if digest := json.loads(text).get(name):
            return str(digest)
    return None


@functools.lru_cache(maxsize=2)
def _told_digests(root: Path, _: int) -> dict[str, list[str]]:
    """JSON texts of the digests of each Slide's files, while no file of the kind comes or goes."""
    last = last_arrays(in_order(read_many(files(root, "embeddings"), Published)[0]))
    told = last.filter(~pl.col("gone") & pl.col("digests").is_not_null())
    found: dict[str, list[str]] = {}
    for slide_key, text in told.select("slide_key", "digests").iter_rows():
        found.setdefault(slide_key, []).append(text)
    return found


def sound(noun: type, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Divide rows into those that keep their noun's limits, and the rest with a column `fault`.

    The same limits as `fields.check`, which every row of this version passed before it was written.
    """
    faults = [fault for one in fields(noun) for fault in _faults(noun, one)]
    judged = frame.with_columns(fault=pl.coalesce(*faults, None))
    good = judged.filter(pl.col("fault").is_null()).drop("fault")
    return good, judged.filter(pl.col("fault").is_not_null())


def _faults(noun: type, one: Any) -> Iterator[pl.Expr]:
    """Expressions that are null for a sound value of one field, else say what is wrong."""
    plain, optional, choices = types_of(noun)[one.name]
    value, said = pl.col(one.name), about(one)
    if not optional:
        yield pl.when(value.is_null()).then(pl.lit(f"{one.name} has no value"))
    if choices:
        yield _fault(one.name, value, ~value.is_in(choices), f"one of {', '.join(choices)}")
    if plain is float:
        yield _fault(one.name, value, value.is_nan(), "a number")
    if plain in (int, float) and said.at_least > -math.inf:
        outside = (value < said.at_least) | (value > said.at_most)
        yield _fault(one.name, value, outside, f"{said.at_least:g} to {said.at_most:g}")


def _fault(name: str, value: pl.Expr, wrong: pl.Expr, expected: str) -> pl.Expr:
    got = pl.format(f"{name} is {{}}, expected {expected}", value)
    return pl.when(wrong).then(got)


def cohort_id_of(rows: pl.DataFrame) -> str:
    """The id that the frozen Slides of one Cohort have; rows have the columns of `FrozenSlide`."""
    slides = rows.sort("slide_id").select(one.name for one in fields(CohortSlide))
    return content_id([rows["target"][0], slides.rows(named=True)])
