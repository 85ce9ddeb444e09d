"""Decode the JPEG tiles of a TIFF level, at once to a half, a quarter or an eighth of the size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import simplejpeg

from ingest.slides.tiff import JPEG_TABLES, PHOTOMETRIC, Directory

SCALES = (8, 4, 2, 1)
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"  # APP14; the colour transform follows
_RGB, _YCBCR = 2, 6  # values of the TIFF tag photometric
_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, kw_only=True)
class JpegDecoder:
    """Decodes JPEG tiles of 8-bit colour, or of one colour, through libjpeg-turbo.

    A scaled inverse cosine transform (`scale_denom` of libjpeg) leaves out the frequencies that the
    smaller picture cannot hold, and most of the decoder's work with them; pixel j spans the level's
    pixels [j, j + 1) times the scale, as an average over them would.
    """

    head: bytes  # what stands before each tile's own bytes: colour space and shared tables
    is_misnamed: bool  # the TIFF says RGB of tiles that are YCbCr, as Bio-Formats writes them
    most_scale: int  # largest reduction that keeps the colours' resolution
    name: str = f"simplejpeg {simplejpeg.__version__}"
    codec: str = "JPEG"

    def decode(self, data: bytes, out: np.ndarray, scale: int = 1) -> np.ndarray:
        """One tile at 1/scale of its size into ``out``, uint8 [height, width, 1 or 3].

        Raises:
            ValueError: it is damaged, even in a way that others read over, or of another size.
        """
        data = self.head + data[2:]
        height, width, channels = out.shape
        try:
            size = simplejpeg.decode_jpeg_header(data)[:2]
        except KeyError:  # what simplejpeg says of colours that it does not know
            raise ValueError("its header is damaged") from None
        if size != (height * scale, width * scale):
            raise ValueError(f"it has {size[1]} x {size[0]} px")
        colours = "RGB" if channels == 3 else "GRAY"
        pixels: np.ndarray = simplejpeg.decode_jpeg(
            data, colours, min_width=width, min_height=height, buffer=out
        )
        return pixels


def jpeg_decoder(page: Directory, tile_px: tuple[int, int], samples: list[bytes]) -> JpegDecoder:
    """The decoder of a picture's tiles, of which one sample may be whole."""
    is_ycbcr = page.get(PHOTOMETRIC) == _YCBCR
    tables = page.tags.get(JPEG_TABLES, _NONE).astype(np.uint8).tobytes() or b"\xff\xd8\xff\xd9"
    head = b"\xff\xd8" + _ADOBE + bytes([is_ycbcr]) + tables[2:-2]
    colours, is_jfif = "", False
    for tile in samples:
        try:
            colours = simplejpeg.decode_jpeg_header(head + tile[2:], strict=False)[3]
        except (ValueError, KeyError):
            continue
        is_jfif = colours != "Gray" and tile[6:11] == b"JFIF\0"  # YCbCr by definition
        break
    # libjpeg decodes colours that are subsampled in one direction only at half the resolution
    most = max(SCALES) if colours in ("444", "420") else 2
    return JpegDecoder(
        head=head,
        is_misnamed=is_jfif and page.get(PHOTOMETRIC) == _RGB,
        most_scale=math.gcd(most, *tile_px),
    )
