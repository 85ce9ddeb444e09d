"""Read rectangles of a TIFF picture tile by tile, whatever codec: what is broken is never read."""

import contextlib
import functools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import imagecodecs
import numpy as np
import simplejpeg
import tifffile

from featurestore.errors import SlideRefused
from ingest.slides import tiff
from ingest.slides.tiff import Directory

Colour = Callable[[], np.ndarray]  # gives uint8 [3]
WHITE = np.full(3, 255, np.uint8)
LARGEST_PIECE = 2**29  # bytes of pixels in one tile or strip
SPLIT_PIECE = 2**23  # bytes of an uncompressed strip that is read in parts
_ASSOCIATED = 1  # of the TIFF tag extra samples
_NONE = np.empty(0, np.int64)
RGB, YCBCR = 2, 6  # of the TIFF tag photometric
SCALES = (8, 4, 2, 1)  # at which JPEG decodes
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # APP14; the colour transform follows
_JPEG = (7, 33007, 34892)  # of the TIFF tag compression
# 33003 leaves open which colours are meant; the decoder of JPEG XR reads over the end of its data
_UNSURE = (33003, 22610, 34934)
# decoders that read over zeros in their data, and more of them than a whole tile ever has: a lost
# block of a disk; an empty JPEG 2000 packet is a zero, and a tile may have some hundred
_HOLES = {33004: 256, 33005: 256, 34712: 256, 34927: 64, 50001: 64}
_UNPREDICTED = (1, 32773)  # libtiff knows a predictor for neither of none and packbits; others do


class Unsupported(ValueError):
    """No decoder of ours is sure of this file; another library may be."""


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """What decodes the tiles of a picture."""

    # the bytes of a tile, into uint8 [height, width, channels] if it can, at 1/scale of its size;
    # ValueError, or an error of its library, tells damage, and another size
    decode: Callable[[bytes, np.ndarray, int], np.ndarray]
    name: str
    codec: str
    is_misnamed: bool = False  # the TIFF says RGB of tiles that are YCbCr, as Bio-Formats does
    most_scale: int = 1  # largest reduction that keeps the colours' resolution


def _by_codec(
    compression: int, is_predicted: bool, is_mirrored: bool, data: bytes, out: np.ndarray, _: int
) -> np.ndarray:
    """Decode through imagecodecs, which raises where libtiff makes zeros.

    Rows may be predicted, stored as differences; and the bits of each byte mirrored.
    """
    decompress = tifffile.TIFF.DECOMPRESSORS[compression]
    if compression in tifffile.TIFF.IMAGE_COMPRESSIONS:
        if bytes(_HOLES.get(compression, len(data) + 1)) in data:
            raise ValueError("a part of it is zeros")
        pixels = np.asarray(decompress(data))
        pixels = pixels.reshape((*pixels.shape[:2], -1))
        if pixels.shape == (*out.shape[:2], 3) and out.shape[2] == 4:
            out[..., :3], out[..., 3] = pixels, 255  # WebP leaves out an alpha that is opaque
            return out
        if pixels.shape != out.shape or pixels.dtype != np.uint8:
            raise ValueError(f"it has {pixels.shape} pixels of {pixels.dtype}")
        return pixels
    if is_mirrored:
        data = bytes(imagecodecs.bitorder_decode(data))
    whole = decompress(data, out=out.size) if compression != 1 else data
    values = np.frombuffer(np.ascontiguousarray(whole), np.uint8)
    if len(values) < out.size:
        raise ValueError(f"it ends after {len(values)} of {out.size} bytes")
    pixels = values[: out.size].reshape(out.shape)
    return imagecodecs.delta_decode(pixels, axis=-2) if is_predicted else pixels


def _by_jpeg(head: bytes, data: bytes, out: np.ndarray, scale: int) -> np.ndarray:
    """Decode JPEG of 8-bit colour, or of one colour, through libjpeg-turbo.

    The head stands before each tile's own bytes: colour space and shared tables.
    A scaled inverse cosine transform (`scale_denom` of libjpeg) leaves out the frequencies that the
    smaller picture cannot hold, and most of the decoder's work with them; pixel j spans the level's
    pixels [j, j + 1) times the scale, as an average over them would.
    """
    data = head + data[2:]
    height, width, channels = out.shape
    try:
        size = simplejpeg.decode_jpeg_header(data)[:2]
    except KeyError:  # what simplejpeg says of colours that it does not know
        raise ValueError("its header is damaged") from None
    if size != (height * scale, width * scale):
        raise ValueError(f"it has {size[1]} x {size[0]} px")
    colours = "RGB" if channels == 3 else "GRAY"
    return np.asarray(
        simplejpeg.decode_jpeg(data, colours, min_width=width, min_height=height, buffer=out)
    )


def _jpeg_decoder(page: Directory, tile_px: tuple[int, int], samples: list[bytes]) -> Decoder:
    """The decoder of a picture's tiles, of which one sample may be whole."""
    is_ycbcr = page.get(tiff.PHOTOMETRIC) == YCBCR
    tables = page.raw(tiff.JPEG_TABLES) or b"\xff\xd8\xff\xd9"
    head = b"\xff\xd8" + _ADOBE + bytes([is_ycbcr]) + tables[2:-2]
    colours, is_jfif = "", False
    for tile in samples:
        with contextlib.suppress(ValueError, KeyError):
            colours = simplejpeg.decode_jpeg_header(head + tile[2:], strict=False)[3]
            is_jfif = colours != "Gray" and tile[6:11] == b"JFIF\0"  # YCbCr by definition
            break
    # libjpeg decodes colours that are subsampled in one direction only at half the resolution
    most = max(SCALES) if colours in ("444", "420") else 2
    return Decoder(
        decode=functools.partial(_by_jpeg, head),
        name=f"simplejpeg {simplejpeg.__version__}",
        codec="JPEG",
        is_misnamed=is_jfif and page.get(tiff.PHOTOMETRIC) == RGB,
        most_scale=math.gcd(most, *tile_px),
    )


def find_decoder(
    page: Directory, tile_px: tuple[int, int], channels: int, samples: list[bytes]
) -> Decoder:
    """The decoder of a picture's tiles of so many channels; of the samples one may be whole.

    Raises:
        Unsupported: none is sure of the right pixels.
        SlideRefused: nobody is.
    """
    compression, photometric = page.get(tiff.COMPRESSION, 1), page.get(tiff.PHOTOMETRIC)
    codec = str(compression)
    with contextlib.suppress(ValueError):
        codec = tifffile.COMPRESSION(compression).name
    if compression in _JPEG and channels in (1, 3):
        return _jpeg_decoder(page, tile_px, samples)
    predictor = page.get(tiff.PREDICTOR, 1)
    said = f"its tiles are stored as {codec} with photometric {photometric} and predictor "
    said += f"{predictor}, whose right pixels are not sure"
    if predictor == 2 and compression in _UNPREDICTED:  # openslide shows differences, where it is
        raise SlideRefused(f"{said}. Export it again without a predictor.")
    if photometric != RGB or compression in (6, *_JPEG, *_UNSURE) or predictor > 2:
        raise Unsupported(said)
    try:
        tifffile.TIFF.DECOMPRESSORS[compression]
    except KeyError:
        raise Unsupported(f"its tiles are stored as {codec}, which no reader here knows") from None
    is_mirrored = page.get(tiff.BIT_ORDER, 1) == 2
    return Decoder(
        decode=functools.partial(_by_codec, compression, predictor == 2, is_mirrored),
        name=f"imagecodecs {imagecodecs.__version__}",
        codec=codec,
    )


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
    """Describe a picture of a TIFF file; raises as `find_decoder`, and OSError tells damage."""
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
        self, descriptor: int, level: TileLevel, scale: int = 1, glass: Colour = lambda: WHITE
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

        ValueError tells damage, and a rectangle outside the level.
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
