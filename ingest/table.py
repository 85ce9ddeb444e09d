"""The one reader of tables that people hand over: manifest, reports, labels, split, truth, gold."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from featurestore.errors import CohortError, ConfigError, TrephineError
from featurestore.types import Target
from ingest.cells import SHOWN, Cells, Column, Faults, column_of, is_missing, values_of
from ingest.config import TableConfig
from ingest.sheets import QUOTING, SUFFIXES, Rows, read_sheet, shown
from ingest.texts import cleaned, guessed, is_damaged, read_text

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "SUFFIXES",
    "Column",
    "cleaned",
    "column_of",
    "guessed",
    "is_damaged",
    "is_missing",
    "read_text",
    "values_of",
]  # of its parts
NAMED = 10  # faults that a message names
_is_there = os.path.exists  # of what lies in a folder that is shut, Path.exists raises


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table."""

    number: int  # as a spreadsheet counts: the header is row 1
    values: Mapping[str, Any]  # by our names; None where the value or the column is missing
    extra: Mapping[str, str]  # what stands in other columns, without blanks


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of a table, typed; blank rows and exact copies are left out."""

    path: Path
    columns: Sequence[Column]  # that were asked for
    found: frozenset[str]  # our names of the columns that it has
    rows: Sequence[Row]
    missing: Mapping[str, int]  # rows without a value, by column
    faults: Faults  # what is wrong so far; whoever judges further adds to it
    notes: list[str]  # what was left out or taken in another way than it stands

    def unread(self) -> str:
        """The columns with values that nothing was asked of, named; empty if there are none."""
        names = list(dict.fromkeys(name for row in self.rows for name in row.extra))
        more = f" and {len(names) - NAMED:,} more" * (len(names) > NAMED)
        return ", ".join(map(_cut, names[:NAMED])) + more

    def refuse(self, error: type[TrephineError]) -> None:
        """Raise an error that tells everything that is wrong, if anything is."""
        told = sorted(dict.fromkeys(self.faults), key=lambda fault: fault[0] or 0)
        lines = [f"row {row}: {text}" if row else text for row, text in told[:NAMED]]
        if len(told) == 1:
            raise error(f"{self.path}{' ' if told[0][0] else ': '}{lines[0]}.")
        if told:
            first = f"; the first {NAMED}" if len(told) > NAMED else ""
            raise error("\n  ".join([f"{self.path} has {len(told):,} faults{first}:", *lines]))

    def sound(self) -> list[Row]:
        """The rows that nothing is wrong with so far."""
        wrong = {row for row, _ in self.faults}
        return [row for row in self.rows if row.number not in wrong]


def read_table(
    path: Path,
    columns: Sequence[Column],
    config: TableConfig | None = None,
    *,
    error: type[TrephineError] = ConfigError,
) -> Table:
    """Read a table and give its values their types; what is wrong with rows stands in `faults`.

    CSV with any of `, ; tab |` in UTF-8 (with or without BOM), UTF-16 or Latin-1, Parquet, JSON
    lines and the first sheet of an Excel workbook. Case, blanks and marks of the header do not
    matter; relative paths in it start from its folder.

    Raises:
        TrephineError: of class `error`: no such file, not what its suffix says, or a column lacks.
    """
    config = config or TableConfig()
    named = lambda header: sum(bool(_hits(header, column)) for column in columns)  # noqa: E731
    header, body, notes = read_sheet(path, named, error)
    places, problem = _places(header, columns, config)
    if problem:
        raise error(f"{path} {problem}")
    rows = _without_copies(body, notes)
    faults: Faults = list(_cut_rows(rows, header, places, columns))
    values: dict[str, dict[int, Any]] = {column.name: {} for column in columns}
    missing: dict[str, int] = {}
    for column in columns:
        if at := places.get(column.name):
            cells = _cells_of(column, {n: header[n] for n in at}, rows, faults, notes)
            values[column.name], wrong = values_of(column, cells, config.date_format)
            faults += [*wrong, *_gaps_and_twins(column, rows, cells)]
            missing[column.name] = len(rows) - len(cells)
            if column.kind == "path":
                _find_paths(path.parent, column, values[column.name], faults)
    ours = set(chain.from_iterable(places.values()))
    others = [(n, name or f"column {n + 1}") for n, name in enumerate(header) if n not in ours]

    def made(row: int, cells: Sequence[Any]) -> Row:
        extra = {name: text for n, name in others if n < len(cells) and (text := shown(cells[n]))}
        return Row(number=row, values={n: of.get(row) for n, of in values.items()}, extra=extra)

    return Table(
        path=path,
        columns=columns,
        found=frozenset(places),
        rows=[made(row, cells) for row, cells in rows],
        missing=missing,
        faults=faults,
        notes=notes,
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _hits(header: Sequence[str], column: Column, given: str = "") -> list[int]:
    """Where a column may stand; a name of ours wins over what others call it."""
    plain = [_plain(name) for name in header]
    wanted = [{_plain(given)}] if given else [{_plain(column.name)}, {*map(_plain, column.also)}]
    hits = ([n for n, name in enumerate(plain) if name in names] for names in wanted)
    return next(filter(None, hits), [])


def _given(columns: Sequence[Column], config: TableConfig) -> dict[str, list[str]]:
    """The names that `--column` gives, by ours."""
    given: dict[str, list[str]] = {}
    for pair in config.column:
        ours, _, name = pair.partition("=")
        given.setdefault(ours, []).append(name)
    several = {column.name: column.several for column in columns}
    for ours, theirs in given.items():
        if ours not in several:
            names = ", ".join(several)
            raise ConfigError(f"--column {ours}=...: no such column here. It has: {names}")
        if len(theirs) > 1 and not several[ours]:
            said = " and ".join(f"{ours}={one}" for one in theirs)
            raise ConfigError(f"--column {said}: {ours} is one column. Name one of them")
    return given


def _places(
    header: Sequence[str], columns: Sequence[Column], config: TableConfig
) -> tuple[dict[str, list[int]], str]:
    """Where our columns stand, and what is wrong, as the end of a sentence."""
    given = _given(columns, config)
    places: dict[str, list[int]] = {}
    problems = []
    for column in columns:
        named = given.get(column.name, [])
        found = {one: _hits(header, column, one) for one in named or [""]}
        missing = [name or column.name for name, hits in found.items() if not hits]
        if any(len(hits) > 1 for hits in found.values()) and (named or not column.several):
            problems.append(f"more than one column for {column.name}")
        elif missing and (column.needed or named):
            problems.append(f"no column {' and '.join(missing)}")
        elif not missing:
            places[column.name] = list(dict.fromkeys(chain.from_iterable(found.values())))
    if not (problems and header):
        return places, ""
    needed = ", ".join(column.name for column in columns if column.needed)
    joins = [column.name for column in columns if column.needed and column.several]
    more = f", once for each that is joined to a {joins[0]}" if joins else ""
    others = ", ".join(column.name for column in columns if not column.needed)
    return places, (
        f"has {' and '.join(problems)}: found {', '.join(map(_cut, header))}; expected "
        f"{needed or 'some of these'}{others and f', and where known {others}'}. Rename the "
        f"columns, or say --column OURS=THEIRS{more}."
    )


def _cut(name: str) -> str:
    """A column's name; the beginning of one that may be a report, of a table without a header."""
    return repr(name) if len(name) <= 2 * SHOWN else f"{name[:SHOWN]!r}..."


def _cells_of(
    column: Column, at: Mapping[int, str], rows: Rows, faults: Faults, notes: list[str]
) -> list[tuple[int, str]]:
    """The texts of a column that are there; tells of words that stand for a missing one.

    Of several columns prose stands under their names, in order; other texts in one line.
    """
    found: list[tuple[int, str]] = []
    words: Counter[str] = Counter()
    for row, cells in rows:
        parts = []
        for name, cell in [(name, cells[n]) for n, name in at.items() if n < len(cells)]:
            if isinstance(cell, list) and column.kind == "list":
                cell = ",".join(map(str, cell))
            if not isinstance(cell, str | None):
                faults.append((row, f"{column.name} is a {type(cell).__name__}, expected a text"))
            elif shown(cell) and column.kind != "prose" and is_missing(cell or "", column):
                words[shown(cell)] += 1
            elif cell and cell.strip():
                parts.append((name, cell))
        if text := _as_one(column, parts) if len(at) > 1 else "".join(cell for _, cell in parts):
            found.append((row, text))
    if words:
        said = ", ".join(f"{n:,} {word!r}" for word, n in words.most_common(3))
        word = f". Write {column.words[0]!r} where that is meant" if column.words else ""
        notes.append(f"{column.name} is missing where it says: {said}{word}")
    return found


def _as_one(column: Column, parts: Sequence[tuple[str, str]]) -> str:
    if column.kind != "prose":
        return ", ".join(text.strip() for _, text in parts)
    there = [(name.replace("_", " "), text) for name, text in parts if not is_missing(text)]
    return "\n\n".join(headed(name, text) for name, text in there)


def headed(heading: str, text: str) -> str:
    """A text below its heading."""
    return f"{heading}:\n{text}"


def _gaps_and_twins(column: Column, rows: Rows, cells: Cells) -> Iterator[tuple[int, str]]:
    there = dict(cells)
    for row, _ in rows if column.filled else ():
        if row not in there:
            yield row, f"no {column.name}"
    seen: dict[str, int] = {}
    for row, text in cells if column.unique else ():
        if (first := seen.setdefault(text.strip(), row)) != row:
            yield row, f"{column.name} {text.strip()!r} is there twice, first in row {first}"


def _cut_rows(
    rows: Rows, header: Sequence[str], places: Mapping[str, list[int]], columns: Sequence[Column]
) -> Iterator[tuple[int, str]]:
    """Rows of a CSV whose cells are too many, or end before a needed column."""
    needed = max([max(places[one.name]) + 1 for one in columns if one.needed], default=0)
    for row, cells in rows:
        if not needed <= len(cells) or any(map(shown, cells[len(header) :])):
            yield row, f"has {len(cells)} cells, expected {len(header)}. {QUOTING}"


def _without_copies(rows: Rows, notes: list[str]) -> Rows:
    """The rows without exact copies of earlier ones, which is told in `notes`."""
    first = {tuple(map(shown, cells)): (row, cells) for row, cells in reversed(rows)}
    kept = sorted(first.values(), key=lambda one: one[0])
    if n := len(rows) - len(kept):
        notes.append(f"rows that are exact copies of others, left out: {n:,}")
    return kept


def _find_paths(folder: Path, column: Column, paths: dict[int, Any], faults: Faults) -> None:
    """Make paths of texts, from the table's folder; two of Windows that end in one are a fault."""
    said: dict[Path, str] = {}
    for row, text in paths.items():
        paths[row] = _path(text, folder)
        if (before := said.setdefault(paths[row], text)) != text and "\\" in before + text:
            faults.append((row, f"{column.name} {text!r} and {before!r} are one file here"))


def _path(text: str, folder: Path) -> Path:
    """A path as it is given; one of Windows by the longest end of it that lies in the folder."""
    given = (folder / text).absolute()
    if "\\" not in text or _is_there(given):
        return given
    parts = PureWindowsPath(text).parts[bool(PureWindowsPath(text).anchor) :]
    ends = [folder.joinpath(*parts[start:]).absolute() for start in range(len(parts))]
    return next(filter(_is_there, ends), ends[0] if ends else given)


def read_split(path: Path, config: TableConfig | None = None) -> dict[str, str]:
    """Read which side each Slide or Patient is on: columns split, and slide_id or patient_id."""
    columns = [
        Column(name="slide_id", kind="id", unique=True, also=("slide",)),
        Column(name="patient_id", kind="id", also=("patient",)),
        Column(name="split", kind="text", needed=True, filled=True, also=("fold", "side")),
    ]
    table = read_table(path, columns, config, error=CohortError)
    key = next((name for name in ("slide_id", "patient_id") if name in table.found), None)
    if key is None:
        raise CohortError(f"{path} has neither slide_id nor patient_id. Add one of the two.")
    sides: dict[str, str] = {}
    for row in table.rows:
        if (name := row.values[key]) is None:
            table.faults.append((row.number, f"no {key}"))
        elif sides.setdefault(name, row.values["split"]) != row.values["split"]:
            table.faults.append((row.number, f"{key} {name!r} is on two sides"))
    table.refuse(CohortError)
    return sides


def read_truth(path: Path, target: Target, config: TableConfig | None = None) -> "pl.DataFrame":
    """Read what is known better than by Labels: columns slide_id and one named as the Target.

    Gives one row per Slide: slide_id, truth in the Target's units.
    """
    import polars as pl

    limits: Any = {"at_least": target.low, "at_most": target.high}
    limits["yes_no"] = target.kind == "binary"
    columns = [
        Column(name="slide_id", kind="id", needed=True, filled=True, unique=True, also=("slide",)),
        Column(name=target.name, kind="number", needed=True, also=("truth", "value"), **limits),
    ]
    table = read_table(path, columns, config)
    table.refuse(ConfigError)
    pairs = [(row.values["slide_id"], row.values[target.name]) for row in table.rows]
    known = [pair for pair in pairs if pair[1] is not None]
    return pl.DataFrame(known, {"slide_id": pl.String, "truth": pl.Float64}, orient="row")
