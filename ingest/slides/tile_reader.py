"""Read rectangles of a TIFF picture, tile by tile: what is not stored, and never what is broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from featurestore.errors import SlideRefused
from ingest.slides import tiff
from ingest.slides.decoders import RGB, YCBCR, Decoder, Unsupported, find_decoder
from ingest.slides.tiff import Directory

WHITE = np.full(3, 255, np.uint8)
LARGEST_PIECE = 2**29  # bytes of pixels in one tile or strip
SPLIT_PIECE = 2**23  # bytes of an uncompressed strip that is read in parts
_ASSOCIATED = 1  # of the TIFF tag extra samples
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class TileLevel:
    """Where the tiles or strips of one picture of a TIFF file lie, and what decodes them."""

    size_px: tuple[int, int]  # (width, height)
    tile_px: tuple[int, int]  # of a strip: the picture's width, and its rows
    starts: np.ndarray  # byte positions, int64 (planes, rows, columns)
    lengths: np.ndarray  # bytes, int64 (planes, rows, columns)
    decoder: Decoder
    channels: int  # 3, or 4 with alpha
    is_associated: bool  # colours are already multiplied by alpha
    is_tiled: bool

    @property
    def stored(self) -> np.ndarray:
        """Which tiles are there, bool (rows, columns): a sparse file leaves out what is glass."""
        return np.asarray(((self.starts > 0) | (self.lengths > 0)).any(axis=0))

    def fullest(self, count: int) -> list[tuple[int, int]]:
        """X and y in the middle of the tiles with most bytes."""
        order = np.argsort(-self.lengths[0], axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, self.lengths[0].shape)
        (across, down), (width, height) = self.tile_px, self.size_px
        return [
            (min(x * across + across // 2, width - 1), min(y * down + down // 2, height - 1))
            for y, x in zip(rows.tolist(), columns.tolist(), strict=True)
            if self.lengths[0, y, x]
        ]


def find_level(descriptor: int, page: Directory) -> TileLevel:
    """Describe a picture of a TIFF file.

    Raises:
        SlideRefused: it is not upright 8-bit colour, with or without alpha: the rest is guessed at.
        Unsupported: no decoder is sure of it.
        OSError: its header is damaged.
    """
    channels, is_associated = _require_colour(page)
    width, height = page.size_px
    is_tiled = tiff.TILES in page.tags
    if is_tiled:
        tile_px = page.get(tiff.TILE_WIDTH), page.get(tiff.TILE_HEIGHT)
        starts, lengths = page.tags[tiff.TILES], page.tags.get(tiff.TILE_BYTES, _NONE)
    else:
        tile_px = width, min(page.get(tiff.ROWS, height) or height, height)
        starts, lengths = page.tags.get(tiff.STRIPS, _NONE), page.tags.get(tiff.STRIP_BYTES, _NONE)
    if not width * height * tile_px[0] * tile_px[1]:
        raise OSError("its header is damaged: it has no pixels")
    planes = channels if page.get(tiff.PLANES, 1) == 2 else 1
    if page.get(tiff.COMPRESSION, 1) != 1 and planes > 1 and page.get(tiff.PHOTOMETRIC) != RGB:
        raise Unsupported("its colours are stored apart, and not as red, green and blue")
    row_bytes = tile_px[0] * channels // planes
    if page.get(tiff.COMPRESSION, 1) == 1 and not is_tiled and len(starts) == planes:
        rows = max(1, min(height, SPLIT_PIECE // row_bytes))  # of a part of the only strip
        if rows < height and (lengths >= height * row_bytes).all():
            tile_px = width, rows
            firsts = np.arange(0, height, rows)
            starts = (starts[:, None] + firsts * row_bytes).ravel()
            lengths = np.tile(np.minimum(rows, height - firsts) * row_bytes, planes)
    if tile_px[1] * row_bytes > LARGEST_PIECE:
        raise SlideRefused(
            f"it is stored in pieces of {tile_px[0]} x {tile_px[1]} px, too large to read. Export "
            "it again in tiles."
        )
    shape = planes, -(-height // tile_px[1]), -(-width // tile_px[0])
    if not len(starts) == len(lengths) == shape[0] * shape[1] * shape[2]:
        raise OSError(f"its header is damaged: {len(starts)} tiles of {np.prod(shape)}")
    some = sorted({0, int(lengths.argmax())})
    samples = [os.pread(descriptor, min(int(lengths[i]), 2**20), int(starts[i])) for i in some]
    return TileLevel(
        size_px=(width, height),
        tile_px=tile_px,
        starts=starts.reshape(shape),
        lengths=lengths.reshape(shape),
        decoder=find_decoder(page, tile_px if is_tiled else (1, 1), channels // planes, samples),
        channels=channels,
        is_associated=is_associated,
        is_tiled=is_tiled,
    )


def _require_colour(page: Directory) -> tuple[int, bool]:
    """Channels, and whether colours are multiplied by alpha."""
    if page.get(tiff.ORIENTATION, 1) > 1:
        raise SlideRefused(
            f"it is stored turned or mirrored (orientation {page.get(tiff.ORIENTATION)}), "
            "expected 1. Export it again upright."
        )
    samples, bits = page.get(tiff.SAMPLES, 1), page.all(tiff.BITS) or [1]
    if (
        samples not in (3, 4)
        or set(bits) != {8}
        or set(page.all(tiff.SAMPLE_FORMAT)) - {1}
        or page.get(tiff.PHOTOMETRIC) not in (RGB, YCBCR)
    ):
        raise SlideRefused(
            f"it has {samples} channel(s) of {max(bits)} bits (photometric "
            f"{page.get(tiff.PHOTOMETRIC)}), expected 8-bit colour. Export it again as 8-bit RGB."
        )
    alpha = page.get(tiff.EXTRA_SAMPLES)
    if samples == 4 and alpha not in (1, 2):
        raise SlideRefused(
            "it has a fourth channel that it does not declare to be alpha, expected 8-bit colour. "
            "Export it again as 8-bit RGB."
        )
    return samples, samples == 4 and alpha == _ASSOCIATED


class TileReader:
    """A level at 1/scale of its size, at most the decoder's. For one thread.

    Reads are by position, so that threads share a descriptor; the glass is the colour of tiles that
    are not stored, uint8 [3].
    """

    def __init__(
        self,
        descriptor: int,
        level: TileLevel,
        scale: int = 1,
        glass: Callable[[], np.ndarray] = lambda: WHITE,
    ) -> None:
        self._descriptor, self._level, self._scale, self._glass = descriptor, level, scale, glass
        self._side = (level.tile_px[0] // scale, level.tile_px[1] // scale)
        self._size = tuple(max(1, side // scale) for side in level.size_px)
        self._held: dict[int, tuple[range, np.ndarray]] = {}  # the last read: rows of whole tiles
        self._spare: list[np.ndarray] = []  # rows of the read before, to be written over
        planes = level.starts.shape[0]
        self._tile_pixels = np.empty((*self._side[::-1], level.channels // planes), np.uint8)

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
        wanted = [column for column in columns if column not in kept]
        planes = [self._bytes(plane, row, wanted) for plane in range(len(self._level.starts))]
        for column, *data in zip(wanted, *planes, strict=True):
            tile = self._pixels(row, column, data)
            tiles[: len(tile), column - columns.start] = tile
        return columns, pixels

    def _bytes(self, plane: int, row: int, wanted: list[int]) -> list[bytes]:
        """The bytes of tiles; those that lie side by side in the file come by one read."""
        starts, lengths = (
            numbers[plane, row, wanted].tolist()
            for numbers in (self._level.starts, self._level.lengths)
        )
        most = 65_536 + 4 * self._tile_pixels.size * self._scale**2
        if max(lengths, default=0) > most:
            raise ValueError(f"its header is damaged: a tile of {max(lengths)} bytes")
        found: list[bytes] = []
        while len(found) < len(wanted):
            first = done = len(found)
            end = starts[first]
            while done < len(wanted) and starts[done] == end:
                end += lengths[done]
                done += 1
            data = os.pread(self._descriptor, end - starts[first], starts[first])
            if len(data) < end - starts[first]:
                raise OSError(f"the file ends at byte {starts[first] + len(data)}, within a tile")
            at = [starts[i] - starts[first] for i in range(first, done)]
            found += [data[k : k + n] for k, n in zip(at, lengths[first:done], strict=True)]
        return found

    def _pixels(self, row: int, column: int, data: list[bytes]) -> np.ndarray:
        """One tile or strip, uint8 [down, across, 3], from the bytes of its planes."""
        level, decoder = self._level, self._level.decoder
        if not (level.starts[:, row, column].any() or level.lengths[:, row, column].any()):
            return np.broadcast_to(self._glass(), (*self._tile_pixels.shape[:2], 3))
        rows = len(self._tile_pixels)
        if not level.is_tiled:
            rows = min(rows, level.size_px[1] - row * rows)
        out = self._tile_pixels[:rows]
        try:
            if not (all(data) and level.starts[:, row, column].all()):
                raise ValueError("it is empty")
            if len(data) == 1:
                pixels = decoder.decode(data[0], out, self._scale)
            else:
                pixels = np.dstack([decoder.decode(part, out.copy(), self._scale) for part in data])
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # each codec has its own: whatever it is, these are no pixels
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"its tile {column} across, {row} down of the level of {level.size_px[0]} x "
                f"{level.size_px[1]} px, stored as {decoder.codec}, is damaged: {reason}"
            ) from None
        return pixels if level.channels == 3 else _on_white(pixels, level.is_associated)


def _on_white(rgba: np.ndarray, is_associated: bool) -> np.ndarray:
    """Lay colours on white by their alpha, uint8 [h, w, 4] to [h, w, 3]."""
    colours, alpha = rgba[..., :3].astype(np.uint16), rgba[..., 3:].astype(np.uint16)
    if not is_associated:
        colours = (colours * alpha + 127) // 255
    return np.asarray(np.minimum(colours + (255 - alpha), 255), np.uint8)
