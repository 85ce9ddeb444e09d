"""Write rows for a person or a program: a table that fits the terminal, CSV, JSON or Parquet."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from featurestore.fields import as_json
from featurestore.user_sql import Plain, Question
from featurestore.words import counted, quoted

if TYPE_CHECKING:
    import polars as pl

FORMATS = ("table", "csv", "json", "parquet")
MOST_ROWS_SHOWN = 40  # on a terminal, half of them from the end
NARROWEST = 16  # columns of text are cut to, before whole columns are left out
GAP = 2


@dataclass(frozen=True)
class Rows:
    """Rows to print, and what is said of them."""

    frame: pl.DataFrame | Question
    notes: Sequence[str] = ()
    columns: Sequence[str] = ()  # those of the table, where not all
    objects: Sequence[str] = ()  # columns of JSON texts
    failures: Sequence[str] = ()  # names of what was asked for and has no row


def to_text(value: Any, indent: int | None = 2) -> str:
    """Any value as JSON: letters stand as they are, what is no number is null."""
    return json.dumps(as_json(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _odd(told: Any) -> list[str]:
    """What to say of values that JSON cannot hold."""
    try:
        json.dumps(told, default=str, skipkeys=True, allow_nan=False)
    except ValueError:
        return ["NaN and infinity are null: JSON has no such numbers"]
    return []


def rendered(rows: Rows, form: str) -> tuple[str | bytes, list[str]]:
    """Rows in one of `FORMATS`, Parquet as bytes; and what to say of them."""
    source, notes = rows.frame, list(rows.notes)
    if form == "json":
        all_of = _plain(source)
        told = [dict(zip(all_of.names, row, strict=True)) for row in all_of.rows]
        told = [row | {name: json.loads(row[name]) for name in rows.objects} for row in told]
        return to_text(told) + "\n", [*_odd(told), *notes]
    if form == "table":
        text, said = table(source, terminal_width(), rows.columns)
        return text, [*said, *notes]
    frame = source.frame() if isinstance(source, Question) else source
    if form == "parquet":
        frame.write_parquet(buffer := io.BytesIO())
        return buffer.getvalue(), notes
    nested = [one.to_list() for one in frame if one.dtype.is_nested()]  # JSON in their cells
    return _flat(frame).rename(quoted).write_csv(), [*_odd(nested), *notes]


def _plain(
    source: pl.DataFrame | Question, half: int | None = None, columns: Sequence[str] = ()
) -> Plain:
    """All rows, or the first and last `half`, of some columns or of all; a question is asked."""
    if isinstance(source, Question):
        return source.plain(half)
    frame = shown = source.select(columns or source.columns)
    if half is not None and frame.height > 2 * half:
        shown = frame.head(half).vstack(frame.tail(half))
    numeric = [kind.is_numeric() for kind in frame.dtypes]
    return Plain(frame.columns, numeric, shown.rows(), frame.height)


def terminal_width() -> int | None:
    """Columns of the terminal that is printed to; None where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists and structs as JSON texts, and no text that a spreadsheet would run."""
    import polars as pl

    texts = {
        name: [
            v if v is None else quoted(v) if kind == pl.String else to_text(v, None)
            for v in frame[name].to_list()
        ]
        for name, kind in frame.schema.items()
        if kind == pl.String or kind.is_nested()
    }
    return frame.with_columns(pl.Series(name, cells, pl.String) for name, cells in texts.items())


def table(
    source: pl.DataFrame | Question, width: int | None = None, columns: Sequence[str] = ()
) -> tuple[str, list[str]]:
    """Rows as a table no wider than a terminal, and what is said under it.

    Texts are cut, then columns left out from the middle; a single row that is too wide stands as
    `listed`. Without a width all is shown.
    """
    half = MOST_ROWS_SHOWN // 2
    found = _plain(source, None if width is None else half, columns)
    cut = half if found.height > len(found.rows) else None
    shown = _columns(found)
    notes = [counted(found.height, "row") + (f", {2 * half} shown" if cut else "")]
    if width is not None and _needed(shown) > width - 4:
        if found.height == 1:
            return _listed(shown, width), notes
        shown, left_out = _fitted(shown, width - 4)
        if left_out:
            names = ", ".join(left_out)
            notes.append(f"{counted(len(left_out), 'column')} left out: {names}. All: --format csv")
    return _boxed(shown, cut), notes


class _Column(NamedTuple):
    cells: list[str]  # its name first
    right: bool
    width: int


def _columns(found: Plain) -> list[_Column]:
    rows = [list(map(_cell, row)) for row in [found.names, *found.rows]]
    columns = zip(map(list, zip(*rows, strict=True)), found.numeric, strict=True)
    return [_Column(cells, right, max(map(_width, cells))) for cells, right in columns]


def _needed(columns: Sequence[_Column]) -> int:
    return sum(one.width for one in columns) + GAP * (len(columns) - 1)


def _narrow(columns: Sequence[_Column], most: int) -> list[_Column]:
    return [one if one.right else one._replace(width=min(one.width, most)) for one in columns]


def _fitted(columns: list[_Column], room: int) -> tuple[list[_Column], list[str]]:
    """Columns as wide as there is room: texts are cut, then the middle is left out."""
    for most in range(max(one.width for one in columns), NARROWEST - 1, -1):
        if _needed(narrow := _narrow(columns, most)) <= room:
            return narrow, []
    narrow = _narrow(columns, NARROWEST)
    dots = _Column(["…"] * len(narrow[0].cells), False, 1)
    first: list[_Column] = narrow[:1]
    last: list[_Column] = []
    for i in range(1, len(narrow)):  # one from the front, one from the end, in turn
        one = narrow[len(first)] if i % 3 else narrow[-1 - len(last)]
        if _needed([*first, *last, one, dots]) > room:
            break
        first, last = ([*first, one], last) if i % 3 else (first, [one, *last])
    left_out = [one.cells[0] for one in narrow[len(first) : len(narrow) - len(last)]]
    most = max(1, room - (GAP + 1 if left_out else 0))
    first[0] = first[0]._replace(width=min(first[0].width, most))
    return [*first, *([dots] if left_out else []), *last], left_out


def _boxed(columns: Sequence[_Column], half: int | None) -> str:
    gap = " " * GAP
    lines = [gap.join(row) for row in zip(*map(_padded, columns), strict=True)]
    wide = _needed(columns) + 2
    body = [f"│ {line} │" for line in lines]
    if half is not None:
        body.insert(1 + half, f"│ {'·':^{wide - 2}} │")
    rule = (f"┌{'─' * wide}┐", f"╞{'═' * wide}╡", f"└{'─' * wide}┘")
    return "\n".join([rule[0], body[0], rule[1], *body[1:], rule[2]]) + "\n"


def _padded(column: _Column) -> Iterator[str]:
    for cell in (_cut(cell, column.width) for cell in column.cells):
        space = " " * (column.width - _width(cell))
        yield space + cell if column.right else cell + space


def listed(frame: pl.DataFrame, width: int | None = None) -> str:
    """The one row of a frame as names and values, a line each; long values go on in the next."""
    return _listed(_columns(_plain(frame)), width)


def _listed(columns: Sequence[_Column], width: int | None) -> str:
    most = max(_width(name) for (name, *_), *_ in columns)
    lines = []
    for (name, cell), *_ in columns:
        name += " " * (most - _width(name) + GAP)
        for part in _folded(cell, width and max(1, width - len(name))):
            lines.append(_cut(name + part, width or sys.maxsize))
            name = " " * len(name)
    return "\n".join(lines) + "\n"


def _folded(text: str, width: int | None) -> Iterator[str]:
    """A text in pieces that fit a width."""
    while width and _width(text) > width:
        end = next(n for n in range(width, 0, -1) if _width(text[:n]) <= width or n == 1)
        yield text[:end]
        text = text[end:]
    yield text


def _cell(value: Any) -> str:
    """One value as a person reads it, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_cell(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_cell, value))}]"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _number(value: float) -> str:
    """A number with at most six decimals; tiny and huge ones with six digits and an exponent."""
    if not math.isfinite(value) or (value and not 1e-4 <= abs(value) < 1e15):
        return f"{value:.6g}"
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _cut(text: str, width: int) -> str:
    if _width(text) <= width:
        return text
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"
