"""Read rows of many Slides' Embeddings by position; each array is checked at its first opening.

One that is not what was written is `StoreDamaged`, one with values that are no numbers `NotFinite`.
"""

import functools
import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from featurestore import layout
from featurestore.errors import NotFinite, StoreDamaged, unread

SET_ASIDE = " Set it aside with: trephine verify --repair, which says what makes it anew"
Stamp = tuple[int, int, int]  # size, mtime in ns, inode
_seen: dict[str, Stamp] = {}  # arrays that this process found whole


class Chunks(Sequence[Path]):
    """The chunk file of each Slide's Embeddings; a path is made where it is asked for.

    To make those of 100,000 Slides takes seconds, and a first step needs a few hundred.
    """

    def __init__(self, root: Path, *ids: Sequence[str]) -> None:
        self._root, self._ids = root, ids

    def __len__(self) -> int:
        return len(self._ids[0])

    def __getitem__(self, i: Any) -> Any:
        slide_key, *rest = (some[i] for some in self._ids)
        return Path(slide_key.join(_around(self._root, *rest)))


@functools.cache
def _around(root: Path, tiling_id: str, encoder_id: str) -> list[str]:
    """The text of a chunk's path before and behind the slide_key: to join paths takes longer."""
    return str(layout.chunk(layout.embedding_dir(root, "\0", tiling_id, encoder_id), 2)).split("\0")


class RowReader(AbstractContextManager["RowReader"]):
    """Read rows of many Slides' Embeddings by position, through few descriptors.

    Slides are numbered as in `chunks`. An array is checked against its crc32c, and that against the
    digest that the catalog has, when the process first opens it, unless `verify` found it whole
    lately (`checked`; None trusts everything). `dim` is D; `names` are slide_ids, for messages.
    """

    def __init__(
        self,
        chunks: Sequence[Path],
        n_tiles: Sequence[int],
        dim: int,
        max_open: int = 64,
        *,
        digests: Sequence[str | None] = (),
        checked: Callable[[int], Sequence[int | None]] | None = lambda slide: (),
        names: Sequence[str] = (),
    ) -> None:
        self.dim = dim
        self.row_bytes = dim * np.dtype(layout.EMBEDDING_DTYPE).itemsize
        self.bytes_read = 0
        self._chunks = chunks
        self._n_tiles = [int(n) for n in n_tiles]
        self._max_open = max_open
        self._open: OrderedDict[int, int] = OrderedDict()
        self._digests, self._checked, self._names = digests, checked, names

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
        self.expect(slides, starts, lengths)
        for i, (slide, start, n) in enumerate(zip(slides, starts, lengths, strict=True)):
            head = min(n, self._n_tiles[slide] - start)
            middle = i * stride + head * row
            self._pread(slide, start, view[i * stride : middle])
            if head < n:
                self._pread(slide, 0, view[middle : i * stride + n * row])

    def expect(self, slides: Sequence[int], starts: Sequence[int], lengths: Sequence[int]) -> None:
        """Let the disk see blocks that are read next, all at once, where they may not be cached."""
        row = self.row_bytes
        for slide, start, n in zip(slides, starts, lengths, strict=True):
            if slide not in self._open:  # likely not cached either
                fd = self._open_slide(slide)
                os.posix_fadvise(fd, start * row, n * row, os.POSIX_FADV_WILLNEED)

    def check(self, slide: int) -> None:
        """Open a Slide's Embeddings, which checks them."""
        if slide not in self._open:
            self._open_slide(slide)

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
            raise damaged(self._chunks[slide], found)
        self.bytes_read += got

    def _open_slide(self, slide: int) -> int:
        while len(self._open) >= self._max_open:
            os.close(self._open.popitem(last=False)[1])
        path = self._chunks[slide]
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise unread(path, error, SET_ASIDE) from error
        try:
            self._check(path, slide, fd)
        except (StoreDamaged, NotFinite) as error:
            os.close(fd)
            name = f"slide {self._names[slide]!r}: " if len(self._names) else ""
            raise type(error)(f"{name}{error}") from error
        self._open[slide] = fd
        return fd

    def _check(self, path: Path, slide: int, fd: int) -> None:
        about = os.fstat(fd)
        expected = self._n_tiles[slide] * self.row_bytes + layout.CHECKSUM_BYTES
        if about.st_size != expected:
            raise damaged(path, f"has {about.st_size} bytes, expected {expected}")
        stamp = (about.st_size, about.st_mtime_ns, about.st_ino)
        if self._checked is None or _seen.get(str(path)) == stamp:
            return
        if self._checked(slide) != stamp:
            raw = os.pread(fd, expected, 0)
            check_digest(path, raw, self._digests[slide] if len(self._digests) else None)
            check_rows(path, raw, self.dim)
        _seen[str(path)] = stamp


def check_digest(path: Path, raw: bytes, told: str | None) -> None:
    """Check a chunk against its own checksum, and the digest that was told of it, if any."""
    found = digest(raw)
    if int(found[:8], 16) != int.from_bytes(raw[-layout.CHECKSUM_BYTES :], "little"):
        raise damaged(path, "does not have the checksum it was written with")
    if told and told != found:
        raise damaged(path, "is whole, but is the array of another slide or time")


def check_rows(path: Path, raw: bytes | memoryview, dim: int) -> None:
    """Check the bytes of an Embedding array for NaN and infinity."""
    bits = np.frombuffer(raw, "<u2", (len(raw) - layout.CHECKSUM_BYTES) // 2)
    if bits.size and has_no_number(bits):
        rows = np.unique(np.flatnonzero((bits & _INFINITE) == _INFINITE) // dim)
        group = next((p.stem for p in path.parents if p.suffix == ".zarr"), path)
        raise NotFinite(
            f"the embeddings of slide_key {group} hold values that are no numbers in {len(rows):,} "
            f"rows, the first is row {rows[0]}. Set it aside with: trephine verify --repair"
        )


_INFINITE = 0x7C00  # bits of a float16: no positive one from here on is a number


def has_no_number(bits: np.ndarray) -> bool:
    """Whether some float16 values, as whole bytes, hold NaN or infinity."""
    signed, plain = bits.view("<i2"), bits.view("<u2")
    return bool(signed.max() >= _INFINITE or plain.max() >= _INFINITE | 0x8000)


def digest(raw: bytes | memoryview) -> str:
    """Sixteen hex digits of a file: crc32c of all but its last four bytes, and these.

    A crc32c over a chunk and its own crc32c would be the same for every chunk.
    """
    end = max(0, len(raw) - layout.CHECKSUM_BYTES)
    data = np.frombuffer(raw, np.uint8, end) if end else b""  # a slice of bytes would be a copy
    return f"{google_crc32c.value(data):08x}{raw[end:].hex()}"


def damaged(path: Path, found: str) -> StoreDamaged:
    """What to say of a broken file of a Slide's group."""
    return StoreDamaged(f"{path} {found}.{SET_ASIDE}")
