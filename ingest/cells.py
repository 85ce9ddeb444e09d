"""Turn a column of texts, as people write them, into values: ids, numbers, dates, choices."""

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, TypeVar
from unicodedata import category

from featurestore.fields import about, types_of

Kind = Literal["id", "text", "prose", "list", "number", "date", "choice", "path"]
Cells = Sequence[tuple[int, str]]  # row number and what stands there; missing ones are left out
Faults = list[tuple[int | None, str]]  # row number, None for the whole table, and what is wrong

MISSING = {"", "nan", "na", "n/a", "null", "-", "unknown", "none", "nat", "<na>", "#n/a"}
SHOWN = 20  # characters of a wrong value in a message: a wrong column may hold reports
EXCEL_EPOCH = date(1899, 12, 30)
FIRST_YEAR = 1850

_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # of Unicode's categories

V = TypeVar("V")
May = Mapping[Hashable, V]  # what a text may mean, by the convention it is read with

_TIME = r"(?:[T ]\s*\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?\s*(?:[AP]M)?\s*(?:Z|UTC|[+-]\d\d:?\d\d)?)?"
_YEAR_FIRST = re.compile(rf"(\d{{4}})([-/.]?)(\d\d?)\2(\d\d?){_TIME}", re.IGNORECASE)
_YEAR_LAST = re.compile(rf"(\d\d?)([-/.])(\d\d?)\2(\d{{4}}){_TIME}", re.IGNORECASE)
_AFTER_DAY = re.compile(rf"(?<=\d){_TIME}$", re.IGNORECASE)
_SERIAL = re.compile(r"([1-9]\d{4})(?:\.\d+)?")  # days since Excel's epoch: 1927 to 2173
_NUMBERS = {  # by the decimal mark; the other one groups thousands
    ".": re.compile(r"[+-]?(?=\.?\d)(?:\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d*)?(?:e[+-]?\d+)?"),
    ",": re.compile(r"[+-]?(?=,?\d)(?:\d*|[1-9]\d{0,2}(?:\.\d{3})+)(?:,\d*)?(?:e[+-]?\d+)?"),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column that a table may have, and what its values must be."""

    name: str
    kind: Kind = "text"  # prose is kept as it stands; of every other kind blanks are stripped
    needed: bool = False  # the table must have it
    filled: bool = False  # every row must have a value
    unique: bool = False  # no two rows may have the same
    several: bool = False  # it may be made of several columns of the table
    also: tuple[str, ...] = ()  # what others call it, in small letters with _ between words
    choices: tuple[str, ...] = ()
    at_least: float = -math.inf
    at_most: float = math.inf
    missing: str = ""  # pattern of further texts that stand for a missing value here
    by_blanks: bool = False  # nothing but a blank is a missing value here
    yes_no: bool = False  # true and false are the numbers 1 and 0
    words: tuple[str, ...] = ()  # that are values beside the numbers
    hints: tuple[tuple[str, str], ...] = ()  # pattern of what is no value, and what to write for it


def column_of(noun: type, field: str, **more: Any) -> Column:
    """The column of a noun's field: its kind, choices and limits are those of the field."""
    plain, _, choices = types_of(noun)[field]
    said = about(noun.__dataclass_fields__[field])  # type: ignore[attr-defined]
    kinds: dict[Any, Kind] = {float: "number", int: "number", date: "date"}
    text: Kind = "id" if field.endswith("_id") else "text"
    kind = "choice" if choices else kinds.get(plain, text)
    told: dict[str, Any] = {"name": field, "kind": kind, "choices": choices}
    told |= {"at_least": said.at_least, "at_most": said.at_most}
    return Column(**told | more)


def is_missing(text: str, column: Column | None = None) -> bool:
    """Whether a text is blank, or a program's or this column's word for a missing value."""
    text = text.strip()
    if len(text) >= 8 or (column is not None and column.by_blanks):  # a long one is a report
        return not text
    codes = column.missing if column is not None else ""
    return text.casefold() in MISSING or (codes != "" and bool(re.fullmatch(codes, text)))


def values_of(
    column: Column, cells: Cells, date_format: str | None = None
) -> tuple[dict[int, Any], Faults]:
    """The values of a column by row number, and what is wrong with the others.

    A column is read as a whole: what one value leaves open (day or month first, which mark is the
    decimal one), another of the column may settle, and nothing is guessed.
    """
    if column.kind == "prose":
        return dict(cells), []
    cells = [(row, text.strip()) for row, text in cells]
    if column.kind in ("id", "path"):
        return dict(cells), [
            (row, f"{column.name} {text[:SHOWN]!r} has a control character or another unseen one")
            for row, text in cells
            if not text.isprintable() and any(category(c) in _UNSEEN for c in text)
        ]
    if column.kind == "list":
        return {row: [one.strip() for one in text.split(",")] for row, text in cells}, []
    if column.kind == "number":
        said = {row: " ".join(text.casefold().split()) for row, text in cells}
        words = {row: text for row, text in said.items() if text in column.words}
        values, faults = _numbers(column, [(row, text) for row, text in cells if row not in words])
        return values | words, faults
    if column.kind == "date":
        return _dates(column, cells, date_format)
    if column.kind == "choice":
        return _choices(column, cells)
    return dict(cells), []


def _choices(column: Column, cells: Cells) -> tuple[dict[int, Any], Faults]:
    known = {choice.casefold(): choice for choice in column.choices}
    values = {row: known[text.casefold()] for row, text in cells if text.casefold() in known}
    wrong = [(row, text[:SHOWN]) for row, text in cells if row not in values]
    expected = f"expected {', '.join(column.choices)}"
    return values, [(row, f"{column.name} is {text!r}, {expected}") for row, text in wrong]


def _settle(
    cells: Cells, read: Mapping[int, May[V]], usual: Callable[[str], Hashable]
) -> tuple[dict[int, V], dict[int, str]]:
    """Choose what each text means, by the conventions that the column's plain cases prove.

    Where it proves none, the `usual` one of a text decides, if any. Gives the values by row, and
    the texts that stay open.
    """
    proven = {next(iter(may)) for may in read.values() if len(may) == 1}
    values, unclear = {}, {}
    for row, text in cells:
        may = read[row]
        allowed = proven & set(may) or {usual(text)}
        left = {value for by, value in may.items() if by in allowed} or set(may.values())
        if len(left) == 1:
            values[row] = left.pop()
        elif left:
            unclear[row] = text
    return values, unclear


def _numbers(column: Column, cells: Cells) -> tuple[dict[int, Any], Faults]:
    read = {row: _number_readings(text, column.yes_no) for row, text in cells}
    values, unclear = _settle(cells, read, lambda text: None if "," in text else ".")
    faults: Faults = []
    for row, text in cells:
        if not read[row]:
            told = (said for form, said in column.hints if re.fullmatch(form, text.casefold()))
            what = next(told, " nor ".join(["is not a number", *map(repr, column.words)]))
            faults.append((row, f"{column.name} {text[:SHOWN]!r} {what}"))
    for row, text in unclear.items():
        one, other = sorted(set(read[row].values()))
        faults.append((row, f"{column.name} {text!r} could be {one:g} or {other:g}"))
    for row, value in values.items():
        if not column.at_least <= value <= column.at_most:
            limits = f"{column.at_least:g} to {column.at_most:g}"
            faults.append((row, f"{column.name} is {value:g}, expected {limits}"))
    return values, faults


def _number_readings(text: str, yes_no: bool) -> May[float]:
    """What a text may mean, by its decimal mark."""
    text = text.removesuffix("%").rstrip().casefold()
    if yes_no and text in ("true", "false"):
        return {".": float(text == "true"), ",": float(text == "true")}
    plain = {".": text.replace(",", ""), ",": text.replace(".", "").replace(",", ".")}
    may: dict[Hashable, float] = {
        mark: float(plain[mark]) for mark, form in _NUMBERS.items() if form.fullmatch(text)
    }
    return may if all(map(math.isfinite, may.values())) else {}


def _dates(column: Column, cells: Cells, form: str | None) -> tuple[dict[int, Any], Faults]:
    read = {row: _date_readings(text, form) for row, text in cells}
    values, unclear = _settle(cells, read, lambda text: None)
    faults: Faults = []
    for row, text in cells:
        if not read[row]:
            told = f" as {form}" if form else "; write it as 2019-12-31, or pass --date-format"
            faults.append((row, f"{column.name} {text[:SHOWN]!r} is not a date{told}"))
        elif row in values and values[row] > date.today() + timedelta(days=1):  # zones differ
            faults.append((row, f"{column.name} {text[:SHOWN]!r} lies in the future"))
    first = {by: text for row, text in cells if len(read[row]) == 1 for by in read[row]}
    doubt = ""
    if unclear:
        text = next(iter(unclear.values()))[:SHOWN]
        others = f" and {len(unclear) - 1} more" if len(unclear) > 1 else ""
        doubt = f"{text!r}{others} could have the day or"
    elif {"day", "month"} <= first.keys():
        doubt = f"{first['day']!r} has the day and {first['month']!r}"
    if doubt:
        which = "Say which: --date-format %d/%m/%Y or %m/%d/%Y"
        faults.append((None, f"{column.name} {doubt} the month first. {which}"))
    return values, faults


def _date_readings(text: str, form: str | None) -> May[date]:
    """What a text may mean, by what stands first: year, day or month."""
    for one in (text, _AFTER_DAY.sub("", text)) if form else ():
        with suppress(ValueError):
            return {"given": datetime.strptime(one, str(form)).date()}
    if (found := _YEAR_FIRST.fullmatch(text)) and (found[2] or len(found[3] + found[4]) == 4):
        may = {"year": _day(found[1], found[3], found[4])}
    elif found := _SERIAL.fullmatch(text):
        may = {"year": EXCEL_EPOCH + timedelta(days=int(found[1]))}
    elif form is None and (found := _YEAR_LAST.fullmatch(text)):
        may = {"day": _day(found[4], found[3], found[1])}
        if found[2] != ".":  # nobody puts the month first before a dot
            may["month"] = _day(found[4], found[1], found[3])
    else:
        may = {}
    return {by: day for by, day in may.items() if day is not None}


def _day(year: str, month: str, day: str) -> date | None:
    with suppress(ValueError):
        made = date(int(year), int(month), int(day))
        return made if made.year >= FIRST_YEAR else None
    return None
