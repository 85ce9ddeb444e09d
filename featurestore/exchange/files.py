"""HDF5, tensors of torch, arrays of NumPy: read what may be damaged, write whole or not at all.

Foreign files are read in a process of its own: what kills or hangs it is refused.
"""

import csv
import io
import json
import math
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from featurestore.bounded_process import BoundedProcess, Bounds, Died, serve
from featurestore.errors import FeaturesRefused, write_beside
from featurestore.exchange.tools import SIGNS

T = TypeVar("T")
Inside = Mapping[str, tuple[int, ...]]  # an HDF5 file's datasets with their shapes, and SIGNS
MOST_BYTES = 4 * 2**30  # of the features of one slide
MEMORY_BYTES = 12 * 2**30
CPU_S, BYTES_A_CPU_S = 20.0, 2_000_000  # of a file: what torch takes to import, and by its size


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell whatever a damaged file makes its reader raise as one sentence."""
    try:
        yield
    except FeaturesRefused:
        raise
    except Exception as error:  # a damaged file has no end of ways to break its reader
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise FeaturesRefused(f"{path.name} cannot be read: {why}") from error


@contextmanager
def hdf5(path: Path) -> Iterator[Any]:
    """Open an HDF5 file to read, without its locks: archives are often read-only."""
    import h5py

    with told(path), h5py.File(path, "r", locking=False) as file:
        yield file


def inside(path: Path) -> Inside:
    """Look into an HDF5 file without reading its values."""
    with hdf5(path) as file:
        signs = SIGNS.intersection(file["coords"].attrs if "coords" in file else ())
        shapes = {name: tuple(getattr(file[name], "shape", None) or ()) for name in file}
        return dict.fromkeys(signs, ()) | shapes


def array_of(file: Any, name: str) -> np.ndarray:
    """Read a whole dataset; parts that were never written are no zeros."""
    import h5py

    data = file.get(name)
    if not isinstance(data, h5py.Dataset):
        raise FeaturesRefused(f"has no {name!r}: it holds {', '.join(file) or 'nothing'}")
    if data.dtype.kind not in "fiub" or data.shape is None:
        raise FeaturesRefused(f"{name!r} is of type {data.dtype}, expected numbers")
    if data.nbytes > MOST_BYTES:
        raise FeaturesRefused(
            f"says that {name!r} has the shape {data.shape}, which is no slide's: the file is "
            "damaged. Extract the slide again"
        )
    if data.size and not _is_written(data):
        raise FeaturesRefused(f"parts of {name!r} were never written: extract the slide again")
    return np.asarray(data[...])


def _is_written(data: Any) -> bool:
    if data.chunks is None:
        return bool(data.id.get_storage_size() >= data.nbytes)
    expected = math.prod(-(-n // c) for n, c in zip(data.shape, data.chunks, strict=True))
    return bool(data.id.get_num_chunks() == expected)


def said_of(holder: Any, names: Sequence[str]) -> dict[str, Any]:
    """Some attributes of a file or dataset as plain values; what says None is left out.

    No others are read: texts lie in a heap, and HDF5 may search a broken one for ever.
    """
    said: dict[str, Any] = {}
    for name in (one for one in names if one in holder.attrs):
        value = holder.attrs[name]
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, np.generic | np.ndarray):
            value = value.tolist()
        if value not in ("None", ""):
            said[name] = value
    return said


def number(said: Mapping[str, Any], *names: str) -> float | None:
    """The first of some attributes that is there, as a number over 0."""
    for name in names:
        with suppress(TypeError, ValueError, IndexError):
            value: Any = said.get(name)
            found = float(np.ravel(value)[0])
            if 0 < found < math.inf:
                return found
    return None


def bfloat16(rows: np.ndarray) -> np.ndarray:
    """The bits of float32 values rounded to bfloat16, ties to even, uint16."""
    bits = rows.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def rows_of(data: np.ndarray) -> np.ndarray:
    """Features as floats (N, D), of the file's own precision: to round twice is not to once."""
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    if data.shape == (0,):
        data = data.reshape(0, 0)
    if data.ndim != 2:
        what = "one vector of a whole slide" if data.ndim == 1 else f"of shape {data.shape}"
        raise FeaturesRefused(f"its features are {what}, expected a row a tile")
    return data if data.dtype.kind == "f" else data.astype(np.float32)


def places_of(data: np.ndarray) -> np.ndarray:
    """Coordinates as float64 (N, 2); none at all have lost their shape in old files."""
    if data.ndim == 3 and data.shape[0] == 1:
        data = data[0]
    return data.reshape(*(data.shape if data.size else (0, 2))).astype(np.float64)


def agreeing(patches: Sequence[Path], coords: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """What the first of some files of places says that has the same ones, in whatever order."""
    for path in patches:
        with hdf5(path) as file:
            places = places_of(array_of(file, "coords"))
            if sorted(map(tuple, places.tolist())) == sorted(map(tuple, coords.tolist())):
                return said_of(file["coords"], names)
    if patches:
        raise FeaturesRefused(
            f"has {len(coords):,} tiles at other places than its patches {patches[0].name}: one of "
            "the two is unfinished or of another extraction. Extract the slide again"
        )
    return {}


def tensor(path: Path) -> tuple[np.ndarray, bool]:
    """Read a file of torch that holds one tensor, and whether it is of bfloat16; runs no code."""
    import torch

    with told(path), warnings.catch_warnings(action="ignore"):
        if zipfile.is_zipfile(path):  # torch does not check what its container knows
            with zipfile.ZipFile(path) as packed:
                if broken := packed.testzip():
                    raise FeaturesRefused(f"{path.name} is damaged in {broken}")
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if "weights_only" not in str(error).lower():
                raise
            raise FeaturesRefused(
                f"{path.name} holds Python objects, which are not opened: they can run code. "
                "Hand in the .h5 of the same slide"
            ) from error
        if not isinstance(found, torch.Tensor):
            raise FeaturesRefused(f"{path.name} holds a {type(found).__name__}, expected a tensor")
        wide = found.dtype if found.dtype == torch.float64 else torch.float32
        rows = np.asarray(found.detach().to(wide).numpy())  # there is no bfloat16 in NumPy
        return rows, found.dtype == torch.bfloat16


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz, or of an .npy under the name of its suffix, without objects."""
    with told(path):
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"npy": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}


class Apart(BoundedProcess):
    """Reads one foreign file after the other; a file that kills or hangs it is refused.

    HDF5 may search a damaged file for ever or crash, and a declared shape may be of any size.
    """

    def __init__(self) -> None:
        super().__init__(Bounds(memory_bytes=MEMORY_BYTES), partial(serve, answer=_answer))
        self._broken: dict[Path, str] = {}
        self.start()

    def call(self, function: Callable[[Any], T], argument: Any, path: Path) -> T:
        """What a function of a module gives, called over there to read a file."""
        if path in self._broken:
            raise FeaturesRefused(self._broken[path])
        with told(path):
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


def _answer(request: tuple[Callable[[Any], Any], Any, float]) -> Iterator[Any]:
    function, argument, cpu_s = request
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield function(argument)
    except FeaturesRefused as error:
        yield FeaturesRefused(str(error))
    except Exception as error:  # a damaged file has no end of ways to break its reader
        yield FeaturesRefused(f"cannot be read: {str(error) or type(error).__name__}")


def write_hdf5(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    said: Mapping[str, Mapping[str, Any]],
    rows: int | None,
) -> None:
    """Write datasets in chunks of so many rows, or each in one piece, and the attributes of each.

    Attributes of the file stand under the name "".
    """
    import h5py

    with write_beside(path) as work, h5py.File(work, "w") as file:
        for name, data in arrays.items():
            wide, whole = data.shape[1], rows is None or not data.size
            cut = {} if whole else {"chunks": (rows, wide), "maxshape": (None, wide)}
            file.create_dataset(name, data=data, **cut).attrs.update(said.get(name, {}))
        file.attrs.update(said.get("", {}))


def write_tensor(path: Path, rows: np.ndarray) -> None:
    """Write rows as one tensor of torch."""
    import torch

    buffer = io.BytesIO()  # a full disk is then an OSError, not one of torch
    torch.save(torch.from_numpy(np.ascontiguousarray(rows)), buffer)
    with write_beside(path) as work:
        work.write_bytes(buffer.getbuffer())


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table for a program."""
    with write_beside(path) as work, work.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_json(path: Path, said: Mapping[str, Any]) -> None:
    """Write what stands beside an array."""
    with write_beside(path) as work:
        work.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", encoding="utf-8")
