"""Read the index of a TIFF file, and refuse one that points past the file's end."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

KIND, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, BIT_ORDER = 254, 256, 257, 258, 259, 262, 266
DESCRIPTION, ORIENTATION, SAMPLES, ROWS, PLANES, PREDICTOR = 270, 274, 277, 278, 284, 317
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, STRIPS, STRIP_BYTES = 322, 323, 324, 325, 273, 279
CHILDREN, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES = 330, 338, 339, 347

_LARGEST = {WIDTH: 2**22, HEIGHT: 2**22, TILE_WIDTH: 2**14, TILE_HEIGHT: 2**14}  # more kills
_WANTED = {KIND, BITS, COMPRESSION, PHOTOMETRIC, BIT_ORDER, DESCRIPTION, ORIENTATION, SAMPLES, ROWS}
_WANTED |= {PLANES, PREDICTOR, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, STRIPS, STRIP_BYTES}
_WANTED |= {TILES, TILE_BYTES, CHILDREN, EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, *_LARGEST}
_DTYPES = {1: "u1", 2: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
_DTYPES |= {5: "u4"}  # a fraction, as two numbers
_FRACTION = 5
_NONE = np.empty(0, np.int64)
MOST_PICTURES, MOST_VALUES = 1000, 2**25  # of one file, so that an index cannot fill the memory


@dataclass(frozen=True, kw_only=True)
class Directory:
    """One picture of a TIFF file: its tags, int64 each, and the pictures filed under it."""

    tags: dict[int, np.ndarray]
    children: list["Directory"] = field(default_factory=list)

    def get(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return int(self.tags[tag][0]) if len(self.tags.get(tag, _NONE)) else default

    def all(self, tag: int) -> list[int]:
        """All values of a tag; none where it is missing."""
        return [int(value) for value in self.tags.get(tag, _NONE)]

    def raw(self, tag: int) -> bytes:
        """The values of a tag, of one byte each."""
        return self.tags.get(tag, _NONE).astype(np.uint8).tobytes()

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.get(WIDTH), self.get(HEIGHT)

    @property
    def description(self) -> str:
        """What the writer says of the picture."""
        said = self.raw(DESCRIPTION).rstrip(b"\0")
        try:
            return said.decode("utf-8")
        except UnicodeDecodeError:  # some write one byte a letter
            return said.decode("latin-1")


def read_index(file: Path) -> list[Directory]:
    """The pictures of a TIFF file in order; none of what is not TIFF, or NDPI, whose index differs.

    Raises:
        OSError: the index or what it points at lies beyond the file's end, where libraries read
            zeros silently, or a size is absurd.
    """
    with file.open("rb") as stream:
        head = stream.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 16 or file.suffix.lower() == ".ndpi":
            return []
        kind = int.from_bytes(head[2:4], "little" if order == "<" else "big")
        if kind not in (42, 43):
            return []
        return list(_Index(stream, file.stat().st_size, order, is_big=kind == 43).chain())


class _Index:
    def __init__(self, stream: BinaryIO, size: int, order: str, *, is_big: bool) -> None:
        self._stream, self._size, self._order = stream, size, order
        widths = ("u8", 20, "u8") if is_big else ("u2", 12, "u4")
        self._count, self._entry_bytes, self._word = widths
        self._first, self._seen, self._values = (8 if is_big else 4), set[int](), MOST_VALUES

    def chain(self) -> Iterator[Directory]:
        """Directories of the main chain; one that points back ends it."""
        place = self._number(self._first, self._word)
        while place and place not in self._seen:
            directory, place = self._directory(place)
            yield directory

    def _directory(self, place: int, *, is_child: bool = False) -> tuple[Directory, int]:
        self._seen.add(place)
        if len(self._seen) > MOST_PICTURES:
            raise OSError(f"its header is damaged: it has over {MOST_PICTURES:,} pictures")
        count = self._number(place, self._count)
        entries = place + int(self._count[1])
        tags = {}
        for at in range(entries, entries + min(count, 4096) * self._entry_bytes, self._entry_bytes):
            tag, dtype = (int(n) for n in self._numbers(at, 2, "u2"))
            if tag in _WANTED and dtype in _DTYPES:
                length = self._number(at + 4, self._word) * (2 if dtype == _FRACTION else 1)
                values = at + 4 + int(self._word[1])
                if length * int(_DTYPES[dtype][1]) > int(self._word[1]):
                    values = self._number(values, self._word)
                self._values -= length
                if self._values < 0:
                    raise OSError("its header is damaged: it is larger than any slide's")
                tags[tag] = self._numbers(values, length, _DTYPES[dtype])
        self._require_sane(tags)
        below = [] if is_child else [int(child) for child in tags.get(CHILDREN, _NONE)]
        children = [
            self._directory(child, is_child=True)[0] for child in below if child not in self._seen
        ]
        after = self._number(entries + count * self._entry_bytes, self._word)
        return Directory(tags=tags, children=children), after

    def _require_sane(self, tags: dict[int, np.ndarray]) -> None:
        for tag, most in _LARGEST.items():
            if tags.get(tag, _NONE).max(initial=0) > most:
                raise OSError(f"its header is damaged: {tags[tag].max()} px")
        for starts, lengths in ((TILES, TILE_BYTES), (STRIPS, STRIP_BYTES)):
            if len(tags.get(starts, _NONE)) != len(tags.get(lengths, _NONE)):
                raise OSError("its header is damaged: pieces without a length")
            if starts in tags:
                end = int((tags[starts] + tags[lengths]).max(initial=0))
                if end > self._size:
                    raise OSError(f"it is truncated at {self._size} of at least {end} bytes")
                # one piece may serve many places; pieces that overlap make much of a small file
                _, first = np.unique(tags[starts], return_index=True)
                if tags[lengths][first].sum() > 2 * self._size:
                    raise OSError("its header is damaged: its pieces overlap")

    def _number(self, place: int, dtype: str) -> int:
        return int(self._numbers(place, 1, dtype)[0])

    def _numbers(self, place: int, count: int, dtype: str) -> np.ndarray:
        length = count * int(dtype[1])
        if not 0 <= place <= place + length <= self._size:
            raise OSError(f"it is truncated at {self._size} bytes")
        self._stream.seek(place)
        values = np.frombuffer(self._stream.read(length), np.dtype(self._order + dtype))
        return values.astype(np.int64)
