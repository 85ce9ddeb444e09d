"""Per-slide Zarr arrays: publish them atomically, read their rows fast (docs/format.md)."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featurestore import layout
from featurestore.errors import StoreDamaged, writing
from featurestore.types import SCORES, ArrayIds, Tiling


class _Zarr:
    """Zarr, imported where an array is opened through it: it takes as long as a whole command."""

    def __getattr__(self, name: str) -> Any:
        import zarr

        return getattr(zarr, name)


zarr: Any = _Zarr()

LATER_SCORES = ("marrow",)  # tiles that an older version wrote lack them: they are unknown


@dataclass(frozen=True, kw_only=True)
class SlideArrays:
    """Everything measured from one Slide's pixels, rows in stored order."""

    slide_key: str
    attributes: Mapping[str, Any]  # fingerprint, size, mpp, reader; no case, patient, path, date
    thumbnail: np.ndarray | None  # uint8 (h, w, 3); imported Slides have none
    tiling: Tiling
    coords: np.ndarray  # int32 (N, 2), level-0 corners
    scores: Mapping[str, np.ndarray]  # tissue, blur, pen: float16 (N,)
    encoder_id: str
    embeddings: np.ndarray  # float16 (N, D)
    provenance: Mapping[str, Any]  # the encoder's identity; precision, device, versions


def row_order(slide_key: str, coords: np.ndarray) -> np.ndarray:
    """Order tiles at random, the same on every machine: by blake2b(slide_key, x, y).

    Any block of consecutive rows is then a uniform sample without replacement.

    Args:
        slide_key: 16 hex digits.
        coords: level-0 corners, shape (N, 2).

    Returns:
        Indices into coords, shape (N,), int64.
    """
    key = slide_key.encode()
    rows = np.ascontiguousarray(coords, dtype=layout.COORDS_DTYPE)
    digests = [hashlib.blake2b(row.tobytes(), key=key, digest_size=8).digest() for row in rows]
    hashes = np.frombuffer(b"".join(digests), dtype=">u8")
    return np.lexsort((rows[:, 1], rows[:, 0], hashes)) if len(rows) else np.empty(0, np.int64)


def publish(root: Path, arrays: SlideArrays) -> int:
    """Write what the store lacks of a Slide: its group, its Tiling or its Embeddings.

    Work happens in tmp/, is flushed to disk, and appears by one rename. A rename that meets a
    finished target discards its own work: both were made from the same pixels.

    Returns:
        Bytes written.
    """
    group = layout.group_dir(root, arrays.slide_key)
    tiling = group / arrays.tiling.tiling_id
    embedding = tiling / "embeddings" / arrays.encoder_id
    if not group.exists():
        target, write = group, _write_group
    elif not tiling.exists():
        target, write = tiling, _write_tiling
    else:
        target, write = embedding, _write_embeddings
    if target.exists():
        return 0
    work = layout.tmp_dir(root) / f"{arrays.slide_key}-{uuid.uuid4().hex[:12]}"
    with writing(root):
        try:
            write(work, arrays)
            n_bytes = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
            with contextlib.suppress(FileExistsError):
                publish_folder(work, target)
            return n_bytes
        finally:
            shutil.rmtree(work, ignore_errors=True)


def publish_folder(work: Path, target: Path) -> None:
    """Flush a finished folder to disk and rename it into place.

    Raises:
        FileExistsError: the target is there already; `work` is left as it is.
    """
    for folder, _, files in os.walk(work):
        for name in files:
            _fsync(Path(folder) / name)
        _fsync(Path(folder))
    try:
        work.rename(target)
    except OSError as error:
        if target.exists():
            raise FileExistsError(f"{target} exists already") from error
        raise
    _fsync(target.parent)


def published(root: Path) -> Iterator[ArrayIds]:
    """Yield the names of every published Embedding array."""
    for group in sorted(layout.slides_dir(root).glob("*.zarr")):
        for array in sorted(group.glob("*/embeddings/*/zarr.json")):
            yield ArrayIds(
                slide_key=group.stem, tiling_id=array.parts[-4], encoder_id=array.parts[-2]
            )


def has(root: Path, slide_key: str, tiling_id: str, encoder_id: str | None = None) -> bool:
    """Whether these Embeddings are published; without an Encoder, whether the tiles are."""
    if encoder_id is None:
        return layout.tiles_dir(root, slide_key, tiling_id).exists()
    return layout.embedding_dir(root, slide_key, tiling_id, encoder_id).exists()


def attributes(root: Path, slide_key: str, tiling_id: str = "") -> dict[str, Any]:
    """Read the attributes of a Slide's group, or of one of its Tilings."""
    return dict(_open(root, slide_key, tiling_id).attrs)


def embedding_header(
    root: Path, slide_key: str, tiling_id: str, encoder_id: str
) -> tuple[tuple[int, int], dict[str, Any]]:
    """Read the shape (N, D) and the provenance of an Embedding array, not its rows."""
    array = _open(root, slide_key, f"{tiling_id}/embeddings/{encoder_id}")
    return (int(array.shape[0]), int(array.shape[1])), dict(array.attrs)


def read_tiles(root: Path, slide_key: str, tiling_id: str) -> dict[str, np.ndarray]:
    """Read coords int32 (N, 2) and the scores float16 (N,) in stored order."""
    group = _open(root, slide_key, f"{tiling_id}/tiles")
    tiles = {"coords": np.asarray(group["coords"][...])}
    for name in SCORES:
        missing = name in LATER_SCORES and name not in group
        n_tiles = len(tiles["coords"])
        tiles[name] = _unknown(n_tiles) if missing else np.asarray(group[name][...])
    return tiles


def _unknown(n_tiles: int) -> np.ndarray:
    return np.full(n_tiles, np.nan, layout.SCORE_DTYPE)


def read_scores(
    root: Path, slide_key: str, tiling_id: str, n_tiles: int, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Read some scores, float16 (N,) each, by position and without checksums.

    `read_tiles` checks them.
    """
    scores = {}
    for name in names:
        array = layout.tiles_dir(root, slide_key, tiling_id) / name
        if name in LATER_SCORES and not array.exists():
            scores[name] = _unknown(n_tiles)
            continue
        path = layout.chunk(array, 1)
        expected = n_tiles * np.dtype(layout.SCORE_DTYPE).itemsize + layout.CHECKSUM_BYTES
        try:
            raw = path.read_bytes()
        except FileNotFoundError as error:
            raise _damaged(path, "is missing") from error
        if len(raw) != expected:
            raise _damaged(path, f"has {len(raw)} bytes, expected {expected}")
        scores[name] = np.frombuffer(raw, layout.SCORE_DTYPE, n_tiles)
    return scores


def read_embeddings(root: Path, slide_key: str, tiling_id: str, encoder_id: str) -> np.ndarray:
    """Read all Embeddings of a Slide with their checksum, float16 (N, D)."""
    array = _open(root, slide_key, f"{tiling_id}/embeddings/{encoder_id}")
    path = layout.embedding_dir(root, slide_key, tiling_id, encoder_id)
    if array.shape[0] and not layout.chunk(path, 2).exists():
        raise _damaged(path, "has no data")
    try:
        return np.asarray(array[...])
    except ValueError as error:
        raise _damaged(path, f"is damaged: {error}") from error


def read_thumbnail(root: Path, slide_key: str) -> np.ndarray:
    """Read a Slide's thumbnail, uint8 (h, w, 3)."""
    return np.asarray(_open(root, slide_key, "thumbnail")[...])


class RowReader:
    """Read rows of many Slides' Embeddings by position, through few descriptors.

    Slides are numbered as in `chunks`. Checksums are not read here; `read_embeddings` checks them.

    Args:
        chunks: the chunk file of each Slide (`layout.chunk`); not opened before it is read.
        n_tiles: rows of each Slide.
        dim: columns, D.
        max_open: descriptors held at the same time.
    """

    def __init__(
        self, chunks: Sequence[Path], n_tiles: Sequence[int], dim: int, max_open: int = 64
    ) -> None:
        self.dim = dim
        self.row_bytes = dim * np.dtype(layout.EMBEDDING_DTYPE).itemsize
        self.bytes_read = 0
        self._chunks = list(chunks)
        self._n_tiles = [int(n) for n in n_tiles]
        self._max_open = max_open
        self._open: OrderedDict[int, int] = OrderedDict()

    def read_blocks(
        self, slides: Sequence[int], starts: Sequence[int], lengths: Sequence[int], out: np.ndarray
    ) -> None:
        """Fill a batch with one circular block of rows a Slide.

        Args:
            slides: numbers of B Slides.
            starts: first row of each block.
            lengths: rows of each block, at most those of its Slide.
            out: float16 (B, N, D), contiguous; row i is filled up to lengths[i].
        """
        if out.size == 0:
            return
        view, row = out.data.cast("B"), self.row_bytes
        stride = out.shape[1] * row
        for slide, start, n in zip(slides, starts, lengths, strict=True):
            if slide not in self._open:  # likely not cached either: let the disk see all at once
                fd = self._open_slide(slide)
                os.posix_fadvise(fd, start * row, n * row, os.POSIX_FADV_WILLNEED)
        for i, (slide, start, n) in enumerate(zip(slides, starts, lengths, strict=True)):
            head = min(n, self._n_tiles[slide] - start)
            middle = i * stride + head * row
            self._pread(slide, start, view[i * stride : middle])
            if head < n:
                self._pread(slide, 0, view[middle : i * stride + n * row])

    def read_rows(self, slide: int, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out`, float16 (n, D), with the given rows; runs of neighbours are one read."""
        if len(rows) == 0:
            return
        view, row = out.data.cast("B"), self.row_bytes
        cuts = np.flatnonzero(np.diff(rows) != 1) + 1
        bounds = [0, *cuts.tolist(), len(rows)]
        for first, last in itertools.pairwise(bounds):
            self._pread(slide, int(rows[first]), view[first * row : last * row])

    def close(self) -> None:
        """Give the descriptors back."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pread(self, slide: int, row: int, out: memoryview) -> None:
        fd = self._open.get(slide)
        if fd is None:
            fd = self._open_slide(slide)
        else:
            self._open.move_to_end(slide)
        got = os.preadv(fd, (out,), row * self.row_bytes)
        if got != len(out):
            found = f"gave {got} bytes at row {row}, expected {len(out)}"
            raise _damaged(self._chunks[slide], found)
        self.bytes_read += got

    def _open_slide(self, slide: int) -> int:
        while len(self._open) >= self._max_open:
            os.close(self._open.popitem(last=False)[1])
        path = self._chunks[slide]
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _damaged(path, "is missing") from error
        size = os.fstat(fd).st_size
        expected = self._n_tiles[slide] * self.row_bytes + layout.CHECKSUM_BYTES
        if size != expected:
            os.close(fd)
            raise _damaged(path, f"has {size} bytes, expected {expected}")
        self._open[slide] = fd
        return fd


def _damaged(path: Path, found: str) -> StoreDamaged:
    group = next((p for p in (path, *path.parents) if p.suffix == ".zarr"), path)
    return StoreDamaged(
        f"{path} {found}. Delete the folder {group}, and embed its slide again with: "
        "trephine ingest SLIDES"
    )


def _open(root: Path, slide_key: str, inner: str) -> Any:
    path = layout.group_dir(root, slide_key) / inner
    try:
        return zarr.open(str(path), mode="r")
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise _damaged(path, f"cannot be opened: {error}") from error


def _write_group(path: Path, arrays: SlideArrays) -> None:
    attrs = {"format_version": layout.FORMAT_VERSION, **arrays.attributes}
    group = zarr.create_group(str(path), zarr_format=3, attributes=attrs)
    if arrays.thumbnail is not None:
        thumbnail = np.ascontiguousarray(arrays.thumbnail, dtype=np.uint8)
        group.create_array("thumbnail", data=thumbnail, chunks=thumbnail.shape)
    _write_tiling(path / arrays.tiling.tiling_id, arrays)


def _write_tiling(path: Path, arrays: SlideArrays) -> None:
    zarr.create_group(str(path), zarr_format=3, attributes=asdict(arrays.tiling))
    zarr.create_group(str(path / "tiles"), zarr_format=3)
    _write_array(path / "tiles" / "coords", np.asarray(arrays.coords, layout.COORDS_DTYPE), -1)
    for name in SCORES:
        scores = np.asarray(arrays.scores[name], layout.SCORE_DTYPE)
        _write_array(path / "tiles" / name, scores, np.nan)
    zarr.create_group(str(path / "embeddings"), zarr_format=3)
    _write_embeddings(path / "embeddings" / arrays.encoder_id, arrays)


def _write_embeddings(path: Path, arrays: SlideArrays) -> None:
    data = np.asarray(arrays.embeddings, layout.EMBEDDING_DTYPE)
    _write_array(path, data, np.nan, dict(arrays.provenance))


def _write_array(
    path: Path, data: np.ndarray, fill: float, attrs: dict[str, Any] | None = None
) -> None:
    # One uncompressed chunk: the file is a plain little-endian buffer and a crc32c, so rows are
    # read by position, and any Zarr reader still verifies it.
    array = zarr.create_array(
        str(path),
        shape=data.shape,
        dtype=data.dtype,
        chunks=tuple(max(1, n) for n in data.shape),
        compressors=[zarr.codecs.Crc32cCodec()],
        filters=None,
        fill_value=fill,
        attributes=attrs or {},
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    if data.size:
        array[...] = data


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
