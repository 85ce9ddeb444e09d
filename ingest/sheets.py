"""Read the cells of a file of rows: CSV, Parquet, JSON lines, an Excel workbook."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from featurestore.errors import TrephineError, reading
from featurestore.words import unquoted
from ingest.texts import guessed, read_text

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", ".xlsx")
SEPARATORS = ",;\t|"
HEAD = 65_536  # characters that hold the header
QUOTING = (
    'A text with the separator, quotes or line ends stands in "quotes", its own quotes doubled'
)
RENAME = "Rename a text with , ; | or tabs between its cells to .csv, or save it anew"
SAVE = "Save what a program writes to a file first: PROGRAM > table.csv"
csv.field_size_limit(2**31 - 1)  # a long report is one field

# A text, None, or what JSON and Parquet hold that is no text: a list or a structure.
Cell = Any
Rows = list[tuple[int, list[Cell]]]  # row number and cells


class _Broken(Exception):
    """The file is not what its suffix says; the message quotes none of it."""


def read_sheet(
    path: Path, fit: Callable[[Sequence[str]], int], error: type[TrephineError]
) -> tuple[list[str], Rows, list[str]]:
    """Read the header, the rows that hold anything, and notes; every value that has a text is one.

    A row's number is that of a spreadsheet, where the header is row 1; in JSON lines it is the
    line, and in Parquet it counts from 1. How well names `fit` as a header chooses the separator
    of a CSV.

    Raises:
        TrephineError: of class `error`: there is no such file, it is not what its suffix says, or
            it has no rows.
    """
    suffix, expected = path.suffix.lower(), f"Expected a table: {', '.join(SUFFIXES)}."
    with reading(path, error, expected):
        if str(path) == "-" or (path.exists() and not path.is_file() and not path.is_dir()):
            raise error(f"{path} is no regular file. {expected} {SAVE}.")
        path.open("rb").close()
    if suffix not in SUFFIXES:
        raise error(f"{path} has the suffix {suffix!r}. {expected} {RENAME}.")
    notes: list[str] = []
    try:
        if suffix == ".parquet":
            header, rows = _parquet(path)
        elif suffix == ".xlsx":
            header, rows = _excel(path)
        else:
            text, guess = read_text(path, error, expected)
            notes = guessed([guess])
            header, rows = _json(text) if suffix == ".jsonl" else _csv(text, fit)
    except _Broken as broken:
        raise error(f"{path} {broken}.") from None
    rows = [(row, cells) for row, cells in rows if any(map(shown, cells))]
    if not rows:
        raise error(f"{path} has a header and no rows. Fill it in, or hand over the right file.")
    return header, rows, notes


def shown(cell: Cell) -> str:
    """A cell as a text; blanks around it do not count."""
    if isinstance(cell, str):
        return cell.strip()
    return "" if cell is None else json.dumps(cell, default=str)


def _csv(text: str, fit: Callable[[Sequence[str]], int]) -> tuple[list[str], Rows]:
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own first line
        return _split(rest, first.strip()[-1])

    head = text[:HEAD]

    def suits(separator: str) -> tuple[int, int]:
        try:
            header = next(filter(any, csv.reader(io.StringIO(head), delimiter=separator)), [])
        except csv.Error:
            return 0, 0
        return fit(header), len(header)

    return _split(text, max(SEPARATORS, key=suits))


def _split(text: str, separator: str) -> tuple[list[str], Rows]:
    rows: Rows = []
    try:
        for cells in csv.reader(io.StringIO(text), delimiter=separator, strict=True):
            rows.append((len(rows) + 1, list(map(unquoted, cells))))
    except csv.Error:
        raise _Broken(f"is not a well-formed CSV, from row {len(rows) + 1} on. {QUOTING}") from None
    return _headed(rows)


def _headed(rows: Rows) -> tuple[list[str], Rows]:
    """Take the first row that holds anything as the header."""
    at = next((n for n, (_, cells) in enumerate(rows) if any(map(shown, cells))), None)
    if at is None:
        raise _Broken("is empty. Expected a header and rows")
    return [shown(cell) for cell in rows[at][1]], rows[at + 1 :]


def _json(text: str) -> tuple[list[str], Rows]:
    found: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise _Broken(f"line {number} is not a JSON object. Expected one a line")
            found.append((number, row))
    header = list(dict.fromkeys(name for _, row in found for name in row))
    return header, [(number, [_cell(row.get(name)) for name in header]) for number, row in found]


def _parquet(path: Path) -> tuple[list[str], Rows]:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError:  # its message may quote a report
        raise _Broken(f"is not a well-formed .parquet file. {RENAME}") from None
    rows = enumerate(frame.iter_rows(), 1)
    return frame.columns, [(number, [_cell(value) for value in row]) for number, row in rows]


def _excel(path: Path) -> tuple[list[str], Rows]:
    import fastexcel

    try:
        how: Any = {"header_row": None, "skip_rows": 0, "dtypes": "string"}
        rows = fastexcel.read_excel(path).load_sheet(0, **how).to_polars().rows()
    except fastexcel.FastExcelError:
        raise _Broken(f"is not a workbook with a table on its first sheet. {RENAME}") from None
    return _headed([(number, list(row)) for number, row in enumerate(rows, 1)])


def _cell(value: Any) -> Cell:
    if isinstance(value, float):  # whole ones are ids that passed a program of decimals
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):  # Parquet's texts without a type
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, list | dict) else str(value)
