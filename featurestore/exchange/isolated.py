"""Foreign files are read in a process of its own: what kills or hangs it is refused."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from featurestore import bounded_process
from featurestore.bounded_process import BoundedProcess, Died, Limits
from featurestore.errors import FeaturesRefused
from featurestore.exchange import files, finding

T = TypeVar("T")
MEMORY_BYTES = 12 * 2**30
CPU_S, BYTES_A_CPU_S = 20.0, 2_000_000  # of a file: what torch takes to import, and by its size


class Apart(BoundedProcess):
    """Reads one foreign file after the other; a file that kills or hangs it is refused.

    HDF5 may search a damaged file for ever or crash, and a declared shape may be of any size.
    """

    def __init__(self) -> None:
        super().__init__(Limits(memory_bytes=MEMORY_BYTES), _serve)
        self._broken: dict[Path, str] = {}
        self.start()

    def call(self, function: Callable[[Any], T], argument: Any, path: Path) -> T:
        """What a function of a module gives, called over there to read a file."""
        if path in self._broken:
            raise FeaturesRefused(self._broken[path])
        with files.told(path):
            cpu_s = CPU_S + path.stat().st_size / BYTES_A_CPU_S
        try:
            answer = next(self.ask((function, argument, cpu_s), cpu_s))
        except Died as why:
            self._broken[path] = f"{path.name} cannot be read: it is damaged, and {why}"
            raise FeaturesRefused(self._broken[path]) from why
        if isinstance(answer, FeaturesRefused):
            raise answer
        return answer  # type: ignore[no-any-return]

    def peek(self, path: Path) -> finding.Inside:
        """What an HDF5 file holds."""
        return self.call(finding.inside, path, path)


def _serve(connection: Connection, limits: Limits) -> None:
    bounded_process.serve(connection, limits, _answer)


def _answer(request: tuple[Callable[[Any], Any], Any, float]) -> Iterator[Any]:
    function, argument, cpu_s = request
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield function(argument)
    except FeaturesRefused as error:
        yield FeaturesRefused(str(error))
    except Exception as error:  # a damaged file has no end of ways to break its reader
        yield FeaturesRefused(f"cannot be read: {str(error) or type(error).__name__}")
