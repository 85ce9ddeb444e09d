"""How counts, bytes, seconds, cells of a spreadsheet and progress are written for a person."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featurestore.types import Progress

TELL_EVERY_S = 60.0  # of work, where nobody looks
NAME = 12  # columns of what a line of `text()` is of


@dataclass(frozen=True)
class Told:
    """What a command found: as text for a person, and as data for a program."""

    words: str
    data: Any
    gave_up: bool = False  # whether some of it failed

    def text(self) -> str:
        """For a person."""
        return self.words

    def json(self) -> Any:
        """For a program."""
        return self.data


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line a row, its words under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return [line.rstrip() for line in lines]


def counted(n: int, what: str) -> str:
    """How many of what: `1 slide`, `2,000 slides`."""
    return f"{n:,} {what}{'s' * (n != 1)}"


def size(n_bytes: float) -> str:
    """Bytes in the largest unit that fits: `999 bytes`, `1.5 MB`."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds in at most two units: `12 s`, `3 min 5 s`, `2 h 7 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def grouped(what: str, reasons: Mapping[str, str]) -> Iterator[str]:
    """A line an item, or a line a reason where several items share it but for names and numbers."""
    alike: dict[str, list[str]] = {}
    for item, reason in reasons.items():
        alike.setdefault(re.sub(r"'[^']*'|\d+", "", reason), []).append(item)
    for names in alike.values():
        others = f" ({len(names) - 1} more like this: {', '.join(names[1:4])}" if names[1:] else ""
        others += (", ..." if names[4:] else "") + (")" if others else "")
        yield " ".join(f"{what}: {names[0]}: {reasons[names[0]]}{others}".splitlines())


_RUNS = re.compile(r"'*(?:\s*[=+\-@]|[\t\r\n])")  # what a spreadsheet takes for a formula


def quoted(cell: Any) -> Any:
    """A cell of a CSV for people: a text that a spreadsheet would run begins with an apostrophe."""
    return f"'{cell}" if isinstance(cell, str) and _RUNS.match(cell) else cell


def unquoted(cell: str) -> str:
    """The inverse of `quoted`, for any text."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell) else cell


def as_html(lines: Iterable[str]) -> str:
    """Lines of a name of up to `NAME` columns, or of one word, and what is said, as a table."""
    from html import escape

    cells = (
        (line[:NAME], line[NAME:]) if line[NAME - 1 : NAME] == " " else line.partition(" ")[::2]
        for line in lines
        if line.strip()
    )
    rows = (f"<tr><th>{escape(a.strip())}</th><td>{escape(b)}</td></tr>" for a, b in cells)
    return f'<table style="text-align: left">{"".join(rows)}</table>'


@contextmanager
def progress(unit: str) -> Iterator[Progress]:
    """Lend a function that shows what is done, with a rate and the time left.

    A bar on a terminal; where nobody looks, a line a minute.
    """
    from tqdm import tqdm

    started = told = time.monotonic()

    def tell(done: int, total: int, also: str) -> None:
        nonlocal told
        if bar.disable and time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            left = (told - started) / max(1, done) * (total - done)
            note = f", {also}" if also else ""
            line = f"{done:,} of {total:,} {unit}{note}, {duration(left)} left"
            print(line, file=sys.stderr, flush=True)
        bar.total = total
        rate = pace(done, time.monotonic() - started, unit)
        bar.set_postfix_str(", ".join(filter(None, (rate, also))), refresh=False)
        bar.update(done - bar.n)

    shape = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {postfix}]"
    with tqdm(unit=unit, disable=None, file=sys.stderr, bar_format=shape) as bar:
        yield tell


def pace(done: int, seconds: float, unit: str) -> str:
    """How fast work goes, in what reads better: `12.5 slides/s`, `3.2 s/slide`."""
    if not done or not seconds:
        return ""
    if done >= seconds:
        return f"{done / seconds:.3g} {unit}/s"
    each = seconds / done
    one = unit.removesuffix("s")
    return f"{each:.1f} s/{one}" if each < 60 else f"{duration(each)}/{one}"
