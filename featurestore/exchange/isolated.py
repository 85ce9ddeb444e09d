"""Foreign files are read in a process of its own, and seen to be whose they are."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from featurestore import bounded_process
from featurestore.bounded_process import BoundedProcess, Died, Limits
from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import Listing

T = TypeVar("T")
MEMORY_BYTES = 12 * 2**30
CPU_S, BYTES_A_CPU_S = 20.0, 2_000_000  # of a file: what torch takes to import, and by its size
PROBES = 3  # files of a folder that may say whose it is
NAMES = {"trident": "TRIDENT", "clam": "CLAM", "stamp": "STAMP", "slide2vec": "slide2vec"}


@dataclass(frozen=True)
class Inside:
    """What an HDF5 file holds: its datasets' shapes, and which known attributes its places have."""

    shapes: Mapping[str, tuple[int, ...]]
    said: frozenset[str] = frozenset()


Peek = Callable[[Path], Inside]
OF_TRIDENT = ("level0_magnification", "target_magnification")
OF_CLAM = ("patch_level", "downsample")


class Apart(BoundedProcess):
    """Reads one foreign file after the other; a file that kills or hangs it is refused.

    HDF5 may search a damaged file for ever or crash, and a declared shape may be of any size.
    """

    def __init__(self) -> None:
        super().__init__(Limits(memory_bytes=MEMORY_BYTES), _serve)
        self._broken: dict[Path, str] = {}
        self.start()

    def call(self, function: Callable[[Any], T], argument: Any, path: Path) -> T:
        """What a function of a module gives, called over there.

        Args:
            function: that reads.
            argument: its own.
            path: the file that it reads.

        Raises:
            FeaturesRefused: the function says so, or killed or hung its process.
        """
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

    def peek(self, path: Path) -> Inside:
        """What an HDF5 file holds."""
        return self.call(inside, path, path)


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


def inside(path: Path) -> Inside:
    """Look into an HDF5 file without reading its values."""
    with files.hdf5(path) as file:
        shapes = {name: tuple(getattr(file[name], "shape", None) or ()) for name in file}
        places = file["coords"].attrs if "coords" in file else {}
        return Inside(shapes, frozenset(name for name in OF_TRIDENT + OF_CLAM if name in places))


def owners(listing: Listing, peek: Peek) -> dict[Path, set[str]]:
    """Which tools may have written the features of each folder; empty where nothing tells."""
    by_folder: dict[Path, list[Path]] = {}
    for path in listing.ending(".h5", ".pt", ".npz"):
        by_folder.setdefault(path.parent, []).append(path)
    found: dict[Path, set[str]] = {}
    for folder, some in by_folder.items():
        looks = (_owners_of(path, peek) for path in some[:PROBES])
        found[folder] = next(filter(None, looks), set())
    return found


def _owners_of(path: Path, peek: Peek) -> set[str]:
    """Who may have written a file, by what it holds, else by the names of its folders."""
    parent, above = path.parent.name, path.parent.parent.name
    if path.suffix == ".h5":
        try:
            has = peek(path)
        except FeaturesRefused:
            return set()
        signs = {
            "stamp": "feats" in has.shapes,
            "trident": bool(has.said & set(OF_TRIDENT)) or re.fullmatch(r"\d.*x_.+overlap", above),
            "clam": bool(has.said & set(OF_CLAM)) or parent == "h5_files",
        }
        either = {"trident", "clam"} if {"features", "coords"} <= has.shapes.keys() else set()
        return {next((tool for tool, sign in signs.items() if sign), "")} - {""} or either
    if parent == "pt_files":
        return {"clam"}
    once = parent == "features" and (path.parents[1] / "coordinates").is_dir()
    return {"slide2vec"} if once or "tile_embeddings" in (parent, above) else set()
