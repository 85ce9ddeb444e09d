"""Decode the JPEG tiles of a TIFF level, at once to a half, a quarter or an eighth of the size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg

from ingest.tiff_index import (
    BITS,
    COMPRESSION,
    HEIGHT,
    JPEG_TABLES,
    PHOTOMETRIC,
    PLANES,
    SAMPLES,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    WIDTH,
    Directory,
)

DECODER = f"simplejpeg {simplejpeg.__version__}"
SCALES = (8, 4, 2, 1)
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # APP14; the colour transform follows
_JPEG, _RGB, _YCBCR = 7, 2, 6  # values of the TIFF tags compression and photometric
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class JpegLevel:
    """Where the JPEG tiles of one level of a TIFF file lie."""

    size_px: tuple[int, int]  # (width, height)
    tile_px: tuple[int, int]
    starts: np.ndarray  # byte positions, int64 (rows, columns)
    lengths: np.ndarray  # bytes, int64 (rows, columns)
    is_misnamed: bool  # the TIFF says RGB of tiles that are YCbCr, as Bio-Formats writes them
    most_scale: int  # largest reduction that keeps the colours' resolution
    head: bytes  # what stands before each tile's own bytes: colour space and shared tables


def find_jpeg_level(descriptor: int, page: Directory) -> JpegLevel | None:
    """Describe a picture of a TIFF file.

    Returns:
        None where its tiles are not plain colour JPEG, one is missing or larger than its pixels:
        libtiff is to judge them.
    """
    photometric = page.get(PHOTOMETRIC)
    width, height, tile_width, tile_height = (
        page.get(tag) for tag in (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT)
    )
    if (
        [page.get(COMPRESSION, 1), page.get(SAMPLES, 1), page.get(BITS, 1)] != [_JPEG, 3, 8]
        or photometric not in (_RGB, _YCBCR)
        or page.get(PLANES, 1) != 1
        or not tile_width * tile_height
        or tile_width % max(SCALES)
        or tile_height % max(SCALES)
    ):
        return None
    starts, lengths = page.tags.get(TILES, _NONE), page.tags.get(TILE_BYTES, _NONE)
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    most = 65_536 + 4 * tile_width * tile_height
    if not len(starts) == columns * rows > 0 or not 0 < lengths.min() <= lengths.max() < most:
        return None
    tables = page.tags.get(JPEG_TABLES, _NONE).astype(np.uint8).tobytes() or b"\xff\xd8\xff\xd9"
    head = b"\xff\xd8" + _ADOBE + bytes([photometric == _YCBCR]) + tables[2:-2]
    tile = os.pread(descriptor, int(lengths[0]), int(starts[0]))
    try:
        colours = simplejpeg.decode_jpeg_header(head + tile[2:], strict=False)[3]
    except (ValueError, KeyError):
        return None
    return JpegLevel(
        size_px=(width, height),
        tile_px=(tile_width, tile_height),
        starts=starts.reshape(rows, columns),
        lengths=lengths.reshape(rows, columns),
        is_misnamed=photometric == _RGB and tile[6:11] == b"JFIF\0",  # YCbCr by definition
        # libjpeg decodes colours that are subsampled in one direction only at half the resolution
        most_scale=max(SCALES) if colours in ("444", "420") else 2,
        head=head,
    )


class JpegReader:
    """A level at 1/scale of its size, through the inverse cosine transform. For one thread.

    A scaled transform (`scale_denom` of libjpeg) leaves out the frequencies that the smaller
    picture cannot hold, and most of the decoder's work with them; pixel j spans the level's pixels
    [j, j + 1) times the scale, as an average over them would.

    Args:
        descriptor: of the open file; reads are by position, so that threads share it.
        level: what to read.
        scale: 1, 2, 4 or 8.
        strict: refuse a tile that is damaged in a way that others read over.
    """

    def __init__(
        self, descriptor: int, level: JpegLevel, scale: int, *, strict: bool = True
    ) -> None:
        self._descriptor, self._level, self._strict = descriptor, level, strict
        self._side = (level.tile_px[0] // scale, level.tile_px[1] // scale)
        self._size = tuple(max(1, side // scale) for side in level.size_px)
        self._held: dict[tuple[int, int], np.ndarray] = {}  # tiles of the last read

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle, uint8 [height, width, 3]; beyond the level its edge goes on.

        Raises:
            ValueError: the rectangle lies outside the level, or a tile is damaged.
            OSError: the file cannot be read.
        """
        right, bottom = min(x + width, self._size[0]), min(y + height, self._size[1])
        if x < 0 or y < 0 or right <= x or bottom <= y:
            raise ValueError(f"({x}, {y}) px lies outside a level of {self._size} px")
        across, down = self._side
        columns = range(x // across, -(-right // across))
        held = {}
        for row in range(y // down, -(-bottom // down)):
            places = [(row, column) for column in columns]
            held.update({place: self._held[place] for place in places if place in self._held})
            held.update(self._decode([place for place in places if place not in self._held]))
        self._held = held
        out = np.empty((height, width, 3), np.uint8)
        for (row, column), tile in held.items():
            left, top = column * across - x, row * down - y
            part = out[max(top, 0) : min(top + down, bottom - y),
                       max(left, 0) : min(left + across, right - x)]  # fmt: skip
            part[:] = tile[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1]]
        out[bottom - y :] = out[bottom - y - 1]
        out[:, right - x :] = out[:, right - x - 1 : right - x]
        return out

    def _decode(
        self, places: list[tuple[int, int]]
    ) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Tiles of one row; those that lie side by side in the file come by one read."""
        starts, lengths = (
            [int(numbers[place]) for place in places]
            for numbers in (self._level.starts, self._level.lengths)
        )
        done = 0
        while done < len(places):
            first, end = done, starts[done]
            while done < len(places) and starts[done] == end:
                end += lengths[done]
                done += 1
            data = os.pread(self._descriptor, end - starts[first], starts[first])
            if len(data) < end - starts[first]:
                raise OSError(f"the file ends at byte {starts[first] + len(data)}, within a tile")
            for i in range(first, done):
                at = starts[i] - starts[first]
                yield places[i], self._tile(data[at + 2 : at + lengths[i]])

    def _tile(self, data: bytes) -> np.ndarray:
        data = self._level.head + data
        try:
            size = simplejpeg.decode_jpeg_header(data, strict=self._strict)[1::-1]
        except KeyError:  # what simplejpeg says of colours that it does not know
            raise ValueError("the header of a tile is damaged") from None
        if size != self._level.tile_px:
            raise ValueError(f"it has a tile of {size} px, expected {self._level.tile_px}")
        width, height = self._side
        return simplejpeg.decode_jpeg(
            data, "RGB", min_width=width, min_height=height, strict=self._strict,
            buffer=np.empty((height, width, 3), np.uint8),
        )  # fmt: skip
