"""Decode the JPEG tiles of a TIFF level, at once to a half, a quarter or an eighth of the size."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import simplejpeg

from ingest.slides.tiff import (
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
        self._held: dict[int, tuple[range, np.ndarray]] = {}  # the last read: rows of whole tiles
        self._spare: list[np.ndarray] = []  # rows of the read before, to be written over
        self._tile_pixels = np.empty((self._side[1], self._side[0], 3), np.uint8)

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
        rows = range(y // down, -(-bottom // down))
        self._spare = [pixels for row, (_, pixels) in self._held.items() if row not in rows]
        self._held = {row: self._row(row, columns) for row in rows}
        out = np.empty((height, width, 3), np.uint8)
        for row, (held, pixels) in self._held.items():
            top, left = row * down - y, x - held.start * across
            part = out[max(top, 0) : min(top + down, bottom - y), : right - x]
            part[:] = pixels[max(-top, 0) :, left:][: len(part), : right - x]
        out[bottom - y :] = out[bottom - y - 1]
        out[:, right - x :] = out[:, right - x - 1 : right - x]
        return out

    def _row(self, row: int, columns: range) -> tuple[range, np.ndarray]:
        """A row of tiles side by side that has these columns at least, and its columns."""
        held, before = self._held.get(row, (range(0), self._tile_pixels))
        kept = range(max(held.start, columns.start), min(held.stop, columns.stop))
        if len(kept) == len(columns):
            return held, before
        across, down = self._side
        shape = (down, len(columns) * across, 3)
        fitting = [i for i, spare in enumerate(self._spare) if spare.shape == shape]
        pixels = self._spare.pop(fitting[0]) if fitting else np.empty(shape, np.uint8)
        tiles = pixels.reshape(down, len(columns), across, 3)
        for column in kept:
            tiles[:, column - columns.start] = before.reshape(down, len(held), across, 3)[
                :, column - held.start
            ]
        self._decode(row, [column for column in columns if column not in kept], columns, tiles)
        return columns, pixels

    def _decode(self, row: int, wanted: list[int], columns: range, out: np.ndarray) -> None:
        """Tiles of one row into ``out``; those that lie side by side in the file come by one read.

        Args:
            row: of the level.
            wanted: columns of the level.
            columns: what ``out`` holds.
            out: uint8 [down, columns, across, 3].
        """
        starts, lengths = (
            numbers[row, wanted].tolist() for numbers in (self._level.starts, self._level.lengths)
        )
        done = 0
        while done < len(wanted):
            first, end = done, starts[done]
            while done < len(wanted) and starts[done] == end:
                end += lengths[done]
                done += 1
            data = os.pread(self._descriptor, end - starts[first], starts[first])
            if len(data) < end - starts[first]:
                raise OSError(f"the file ends at byte {starts[first] + len(data)}, within a tile")
            for i in range(first, done):
                at = starts[i] - starts[first]
                tile = self._tile(data[at + 2 : at + lengths[i]])
                out[:, wanted[i] - columns.start] = tile

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
            buffer=self._tile_pixels,
        )  # fmt: skip
