"""Decode the tiles of a TIFF level, whatever their compression, or say which one it is."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import imagecodecs
import numpy as np
import simplejpeg
import tifffile

from featurestore.errors import SlideRefused
from ingest.slides import tiff
from ingest.slides.tiff import Directory

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
class CodecDecoder:
    """Decodes tiles through imagecodecs, which raises where libtiff makes zeros."""

    compression: int
    is_predicted: bool  # rows are stored as differences
    is_mirrored: bool  # the bits of each byte are
    codec: str
    name: str = f"imagecodecs {imagecodecs.__version__}"
    is_misnamed: bool = False
    most_scale: int = 1

    def decode(self, data: bytes, out: np.ndarray, scale: int = 1) -> np.ndarray:
        """One tile, uint8 [height, width, channels].

        Raises:
            ValueError: it is damaged, or of another size.
            RuntimeError: what imagecodecs raises.
        """
        decompress = tifffile.TIFF.DECOMPRESSORS[self.compression]
        if self.compression in tifffile.TIFF.IMAGE_COMPRESSIONS:
            if bytes(_HOLES.get(self.compression, len(data) + 1)) in data:
                raise ValueError("a part of it is zeros")
            pixels = np.asarray(decompress(data))
            pixels = pixels.reshape((*pixels.shape[:2], -1))
            if pixels.shape == (*out.shape[:2], 3) and out.shape[2] == 4:
                out[..., :3], out[..., 3] = pixels, 255  # WebP leaves out an alpha that is opaque
                return out
            if pixels.shape != out.shape or pixels.dtype != np.uint8:
                raise ValueError(f"it has {pixels.shape} pixels of {pixels.dtype}")
            return pixels
        if self.is_mirrored:
            data = bytes(imagecodecs.bitorder_decode(data))
        whole = decompress(data, out=out.size) if self.compression != 1 else data
        values = np.frombuffer(np.ascontiguousarray(whole), np.uint8)
        if len(values) < out.size:
            raise ValueError(f"it ends after {len(values)} of {out.size} bytes")
        pixels = values[: out.size].reshape(out.shape)
        return imagecodecs.delta_decode(pixels, axis=-2) if self.is_predicted else pixels


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


def _jpeg_decoder(page: Directory, tile_px: tuple[int, int], samples: list[bytes]) -> JpegDecoder:
    """The decoder of a picture's tiles, of which one sample may be whole."""
    is_ycbcr = page.get(tiff.PHOTOMETRIC) == YCBCR
    tables = page.raw(tiff.JPEG_TABLES) or b"\xff\xd8\xff\xd9"
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
        is_misnamed=is_jfif and page.get(tiff.PHOTOMETRIC) == RGB,
        most_scale=math.gcd(most, *tile_px),
    )


Decoder = JpegDecoder | CodecDecoder


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
    return CodecDecoder(
        compression=compression,
        is_predicted=predictor == 2,
        is_mirrored=page.get(tiff.BIT_ORDER, 1) == 2,
        codec=codec,
    )
