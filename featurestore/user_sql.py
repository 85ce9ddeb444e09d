"""Run a user's SQL in a child process: bounded in time, memory, rows and bytes, ended at will."""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore import sql_child
from featurestore.catalog_file import (
    NotOpened,
    check_hand,
    check_version,
    first_line,
    opened,
    unusable,
)
from featurestore.errors import FileUnwritable, QueryRefused
from featurestore.words import size

if TYPE_CHECKING:
    import polars as pl

    from featurestore.bounded_process import BoundedProcess

MOST_ROWS = 10_000_000
MOST_BYTES = 2_000_000_000  # of the rows
MOST_MEMORY_BYTES = 4_000_000_000
FEWER = "Ask for fewer columns or rows, or add: limit 1000"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a SQL text may use."""

    time_s: float = 60.0
    memory_bytes: int = field(default_factory=lambda: min(MOST_MEMORY_BYTES, _half_of_memory()))
    rows: int = MOST_ROWS
    bytes: int = MOST_BYTES


@dataclass(frozen=True)
class Plain:
    """Rows as plain values, which need no polars; of many perhaps both ends alone."""

    names: Sequence[str]
    numeric: Sequence[bool]  # whether a column holds numbers
    rows: Sequence[Sequence[Any]]
    height: int  # of all rows


class Question:
    """One SELECT over a catalog, which runs each time that its rows are asked for.

    Every type of DuckDB comes as one of polars': what has none (intervals, bits, times) as text, a
    map, union or variant as JSON, whole numbers beyond 64 bits as 128 bits or text. A column whose
    name comes twice gets a number.

    Args:
        catalog: its file.
        text: of a user.
        parameters: by name.
        limits: what it may use.
        versions: the migrations that the catalog must have; none: any.

    Raises:
        CatalogBusy, StoreDamaged, StoreVersionMismatch: the catalog cannot be asked.
        QueryRefused: the text is not exactly one SELECT, fails, or asks for more than the limits.
    """

    def __init__(
        self,
        catalog: Path,
        text: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        versions: frozenset[str] = frozenset(),
    ) -> None:
        self.limits = limits or Limits()
        self.aside: int | None = None  # ledger rows that the catalog could not take, once known
        self.other = ""  # what the catalog is to the ledger: older, or of an other
        self._catalog = catalog
        self._request = {
            "catalog": str(catalog.absolute()),
            "versions": versions,
            "text": str(text),
            "parameters": dict(parameters or {}),
            "memory_bytes": self.limits.memory_bytes * 3 // 4,
            "most_rows": self.limits.rows,
            "seconds": min(max(self.limits.time_s, 1e-3), 1e6),
        }

    def frame(self) -> pl.DataFrame:
        """All rows."""
        import polars as pl

        with self._asked(half=None) as (told, _, result):
            frame = pl.read_parquet(result)
        whole = [pl.col(names).cast(getattr(pl, kind)) for kind, names in told["wide"].items()]
        return frame.with_columns(whole)

    def plain(self, half: int | None = None) -> Plain:
        """All rows, or where they are many the first and last `half`."""
        rows: list[tuple[Any, ...]] = []
        with self._asked(half=half or 0) as (told, answers, _), _to_the_end():
            while more := next(answers):
                self._judge(more)
                rows += more
        return Plain(told["names"], told["numeric"], rows, told["height"])

    @contextmanager
    def _asked(self, half: int | None) -> Iterator[tuple[dict[str, Any], Iterator[Any], Path]]:
        """Ask the child; what it tells first, what it tells then, and where the rows are."""
        with _lock:
            with _to_the_end():
                child = _the_child(self.limits)
                result = Path(child.folder, f"{next(_numbers)}.parquet")
                request = self._request | {"half": half, "result": str(result)}
                first, answers = opened(self._catalog, lambda: _once(child, request, self.limits))
                self._judge(first)
                told = next(answers)
            try:
                self._judge(told)
                yield told, answers, result
            finally:
                result.unlink(missing_ok=True)

    def _judge(self, told: Any) -> None:
        """Raise what the child found, if it is no rows."""
        if not isinstance(told, dict):
            return
        self.aside = told.get("aside", self.aside)
        self.other = told.get("other", self.other)
        if "versions" in told:
            check_version(told["versions"])
            check_hand(told["versions"], told["last"])
        if "unreadable" in told:
            said = f"the catalog cannot be read: {first_line(told['unreadable'])}"
            raise unusable(self._catalog, said)
        if "refused" in told:
            raise QueryRefused(_said(told["refused"], self.limits))


def _said(why: str, limits: Limits) -> str:
    """Why a SQL text gives no rows: a limit by its name, or a sentence."""
    known = {
        "time": f"took longer than {limits.time_s:g} s and was stopped",
        "memory": f"needs more than the {size(limits.memory_bytes)} of memory it may have",
        "bytes": f"yields more than {size(limits.bytes)}, the limit",
        "room": "finds no room for its rows where temporary files are: name another TMPDIR",
        "rows": f"yields more than {limits.rows:,} rows, the limit",
    }
    more = "" if why == "time" else f". {FEWER}"
    return f"the SQL {known[why]}{more}" if why in known else why


def _once(
    child: BoundedProcess, request: Mapping[str, Any], limits: Limits
) -> tuple[Any, Iterator[Any]]:
    """What it tells of the catalog, and all that it tells then."""
    answers = _answers(child, request, limits)
    told = next(answers)
    if "closed" in told:
        raise NotOpened(told["closed"])
    return told, answers


def _answers(child: BoundedProcess, request: Mapping[str, Any], limits: Limits) -> Iterator[Any]:
    from featurestore.bounded_process import Died

    try:
        yield from child.ask(request)
    except Died as died:
        why = "time" if died.code in (None, -signal.SIGALRM) else "memory"
        failed = died.code is not None and died.code >= 0
        why = f"the SQL failed ({died.code})" if failed else why
        raise QueryRefused(_said(why, limits)) from died


@contextmanager
def _to_the_end() -> Iterator[None]:
    """End the child unless all that it tells is heard: after a Ctrl-C nothing of it goes on."""
    try:
        yield
    except BaseException:
        stop()
        raise


def start(limits: Limits | None = None) -> None:
    """Start the child, which takes its time, while the caller does other things."""
    with _lock, suppress(FileUnwritable):  # told when something is asked
        _the_child(limits or Limits())


def stop() -> None:
    """End the child at once."""
    global _child
    child, _child = _child, None
    if child is not None and _of[0] == os.getpid():
        child.close()


_child: BoundedProcess | None = None
_of: tuple[float, ...] = ()  # whose it is, and to what the system holds it
_numbers = itertools.count()
_lock = threading.RLock()
atexit.register(stop)


def _the_child(limits: Limits) -> BoundedProcess:
    """The process that waits for requests, or a new one; it starts."""
    global _child, _of
    from featurestore.bounded_process import BoundedProcess, Bounds  # slow to import

    of = (os.getpid(), limits.memory_bytes, limits.bytes, limits.time_s)
    if _child is None or _of != of:
        stop()
        silence_s = min(limits.time_s, 1e6) + 10  # it ends itself before, unless it is halted
        bounds = Bounds(memory_bytes=limits.memory_bytes, silence_s=silence_s, one_thread=False)
        _child = BoundedProcess(bounds, partial(sql_child.serve, file_bytes=limits.bytes))
        _of = of
    _child.start()
    return _child


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
