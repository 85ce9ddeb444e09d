"""Run a user's SQL in a child process: bounded in time, memory, rows and bytes, ended at will."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.errors import QueryRefused
from featurestore.words import size

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 10_000_000
MOST_BYTES = 2_000_000_000  # of the rows
MOST_MEMORY_BYTES = 4_000_000_000
FEWER = "Ask for fewer columns or rows, or add: limit 1000"


class Word(str):
    """A parameter's value as it was typed: its type is that of the column it is compared with."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a SQL text may use."""

    time_s: float = 60.0
    memory_bytes: int = field(default_factory=lambda: min(MOST_MEMORY_BYTES, _half_of_memory()))
    rows: int = MOST_ROWS
    bytes: int = MOST_BYTES


def ask(
    catalog: Path, text: str, parameters: Mapping[str, Any], limits: Limits | None = None
) -> pl.DataFrame:
    """Run one SELECT over a catalog that the caller holds open, and return its rows.

    Every type of DuckDB comes as one of polars': what has none (intervals, bits, times) as text, a
    map, union or variant as JSON, whole numbers beyond 64 bits as 128 bits or text. A column whose
    name comes twice gets a number.

    Raises:
        QueryRefused: the text is not exactly one SELECT, fails, or asks for more than the limits.
    """
    limits = limits or Limits()
    with _lock:
        try:
            child = _the_child(limits)
            result = child.folder / f"{uuid.uuid4().hex}.parquet"
            request = {
                "catalog": str(catalog.absolute()),
                "text": text,
                "parameters": {k: _plain(v) for k, v in parameters.items()},
                "result": str(result),
                "limits": {"memory_bytes": limits.memory_bytes * 3 // 4, "rows": limits.rows + 1},
            }
            told = child.tell(request, limits)
        except BaseException:  # a Ctrl-C too: nothing of it goes on
            stop()
            raise
        try:
            return _read(result, told, limits)
        finally:
            result.unlink(missing_ok=True)


def start(limits: Limits | None = None) -> None:
    """Start the child, which takes its time, while the caller does other things."""
    with _lock:
        _the_child(limits or Limits())


def stop() -> None:
    """End the child at once."""
    global _child
    child, _child = _child, None
    if child is not None and child.parent == os.getpid():
        child.end()


class _Child:
    """A process of `featurestore.sql_child`, and the folder that it may write to."""

    def __init__(self, limits: Limits) -> None:
        self.parent, self.limits = os.getpid(), limits
        self._kept = tempfile.TemporaryDirectory(prefix="trephine-", ignore_cleanup_errors=True)
        self.folder = Path(self._kept.name)
        found = importlib.util.find_spec("duckdb")
        places = [str(Path(str(found and found.origin)).parents[1])]
        words = [str(self.folder), str(limits.memory_bytes), str(limits.bytes), *places]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("sql_child.py")), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C comes to the parent alone
        )

    def fits(self, limits: Limits) -> bool:
        """Whether the system holds it to these limits."""
        kept = self.limits
        return (kept.memory_bytes, kept.bytes) == (limits.memory_bytes, limits.bytes)

    def tell(self, request: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
        """Send one request, and wait for its answer as long as the limit says."""
        said = pickle.dumps(request)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(len(said).to_bytes(8, "little") + said)
            self._process.stdin.flush()
        deadline = time.monotonic() + limits.time_s
        head = self._bytes(8, deadline, limits)
        return dict(pickle.loads(self._bytes(int.from_bytes(head, "little"), deadline, limits)))

    def _bytes(self, n: int, deadline: float, limits: Limits) -> bytes:
        assert self._process.stdout is not None
        got, pipe = b"", self._process.stdout.fileno()
        while len(got) < n:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise QueryRefused(f"the SQL took longer than {limits.time_s:g} s and was stopped")
            more = os.read(pipe, n - len(got))
            if not more:
                code = self._process.wait()
                raise QueryRefused(_too_large(limits) if code < 0 else f"the SQL failed ({code})")
            got += more
        return got

    def end(self) -> None:
        """Kill it: there is nothing that it could lose."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()
        self._kept.cleanup()


_child: _Child | None = None
_lock = threading.RLock()
atexit.register(stop)


def _the_child(limits: Limits) -> _Child:
    """The child that waits for requests, or a new one."""
    global _child
    kept = _child
    if kept is None or kept.parent != os.getpid() or not kept.fits(limits):
        stop()
        kept = _child = _Child(limits)
    return kept


def _read(result: Path, told: dict[str, Any], limits: Limits) -> pl.DataFrame:
    import polars as pl

    if "refused" in told:
        known = {"memory": _too_large(limits), "bytes": _too_long(limits)}
        raise QueryRefused(known.get(told["refused"], told["refused"]))
    frame = pl.read_parquet(result)
    if frame.height > limits.rows:
        raise QueryRefused(f"the SQL yields more than {limits.rows:,} rows, the limit. {FEWER}")
    return frame.with_columns(_whole(frame[name]) for name in told["wide"])


def _whole(numbers: pl.Series) -> pl.Series:
    """Whole numbers written as text, as the first of 64 bits, 128 bits and text that holds all."""
    import polars as pl

    for kind in (pl.Int64, pl.Int128):
        made = numbers.cast(kind, strict=False)
        if made.null_count() == numbers.null_count():
            return made
    return numbers


def _plain(value: Any) -> tuple[Any, bool]:
    return (str(value), True) if isinstance(value, Word) else (value, False)


def _too_large(limits: Limits) -> str:
    return f"the SQL needs more than the {size(limits.memory_bytes)} of memory it may have. {FEWER}"


def _too_long(limits: Limits) -> str:
    return f"the SQL yields more than {size(limits.bytes)}, the limit. {FEWER}"


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
