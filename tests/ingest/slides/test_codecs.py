"""Every compression that TIFF knows, whole and damaged: right pixels, or a reason why not."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from builders.slide_files import stained

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides.reader import SlideReader, open_slide

GLASS = (228, 218, 226)
SIDE = 64
BASE = stained(3 * SIDE, 4 * SIDE - 16, glass=GLASS)
SMALL = BASE[: BASE.shape[0] // 2 * 2].reshape(96, 2, 120, 2, 3).mean((1, 3)).round().astype("u1")
SCALE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
LOSSY = {"jpeg", "webp", "jpegxl", "jpeg_2000_lossy", "jpeg_lossy"}

CODECS: dict[str, dict[str, Any]] = {
    **{
        name: {"compression": name}
        for name in (
            *("lzw", "adobe_deflate", "deflate", "zstd", "packbits", "lzma", "png", "lerc"),
            *("jpeg", "jpeg2000", "aperio_jp2000_rgb", "webp", "jpegxl", "jpeg_2000_lossy"),
        )
    },
    "none": {},
    "lzw predicted": {"compression": "lzw", "predictor": True},
    "deflate predicted": {"compression": "adobe_deflate", "predictor": True},
    "zstd predicted": {"compression": "zstd", "predictor": True},
    "deflate planes": {"compression": "adobe_deflate", "planarconfig": "separate"},
    "jpeg planes": {"compression": "jpeg", "planarconfig": "separate"},
    "lzw planes predicted": {"compression": "lzw", "predictor": True, "planarconfig": "separate"},
    "deflate big-endian": {"compression": "adobe_deflate", "byteorder": ">"},
    "none strips": {"rowsperstrip": 24},
    "none one strip": {"rowsperstrip": 1000},
    "deflate strips": {"compression": "adobe_deflate", "rowsperstrip": 24},
    "jpeg strips": {"compression": "jpeg", "rowsperstrip": 24},
    "lzw strips planes": {"compression": "lzw", "rowsperstrip": 24, "planarconfig": "separate"},
}


def write(path: Path, codec: str, levels: tuple[np.ndarray, ...] = (BASE, SMALL)) -> Path:
    """A pyramid of two levels at 0.5 mpp."""
    options = {"photometric": "rgb", "metadata": None, **SCALE, **CODECS[codec]}
    order = options.pop("byteorder", "<")
    if "rowsperstrip" not in options:
        options["tile"] = (SIDE, SIDE)
    planes = options.get("planarconfig") == "separate"
    with tifffile.TiffWriter(path, byteorder=order) as out:
        for number, level in enumerate(levels):
            pixels = np.ascontiguousarray(level.transpose(2, 0, 1)) if planes else level
            out.write(pixels, subfiletype=int(number > 0), **options)
    return path


def pixels_of(reader: SlideReader, level: int) -> np.ndarray:
    """All pixels of a level, at its own scale."""
    return reader.overview(reader.mpp * 2**level)[0]


@pytest.mark.parametrize("codec", CODECS)
def test_whole_files_are_read_right(codec: str, tmp_path: Path) -> None:
    with open_slide(write(tmp_path / "a.tif", codec)) as reader:
        assert reader.levels == [(240, 192), (120, 96)]
        assert reader.mpp == pytest.approx(0.5)
        off = 4 if CODECS[codec].get("compression") in LOSSY else 0
        for number, level in enumerate((BASE, SMALL)):
            apart = np.abs(pixels_of(reader, number).astype(int) - level)
            assert apart.mean() <= off, (codec, number)


PIECES = ((0, "first"), (0, "middle"), (0, "last"), (1, "first"), (1, "last"))


def damaged(path: Path, level: int, piece: str, kind: str) -> tuple[slice, slice]:
    """Damage the first, middle or last tile of a level; returns which pixels it has."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        starts, lengths = page.dataoffsets, page.databytecounts
        at = {"first": 0, "middle": len(starts) // 2, "last": len(starts) - 1}[piece]
        start, length = starts[at], lengths[at]
        tags = [page.tags[tag] for tag in ((324, 325) if page.is_tiled else (273, 279))]
        order = tiff.byteorder
        across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
        down, right = (
            (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, 1000)
        )
        row, column = divmod(at % (across * -(-page.imagelength // down)), across)
    file = bytearray(path.read_bytes())

    def put(number: int, value: int) -> None:
        size = struct.calcsize({3: "H", 4: "I"}[tags[number].dtype])
        place = tags[number].valueoffset + at * size
        file[place : place + size] = value.to_bytes(size, "little" if order == "<" else "big")

    if kind == "missing":
        put(0, 0)
    if kind in ("missing", "empty"):
        put(1, 0)
    if kind == "truncated":
        put(1, length // 2)
    if kind == "zeroed":
        file[start : start + length] = bytes(length)
    if kind == "torn":
        file[start + length // 3 : start + length] = bytes(length - length // 3)
    if kind == "noise":
        file[start : start + length] = np.random.default_rng(0).bytes(length)
    path.write_bytes(file)
    return slice(row * down, (row + 1) * down), slice(column * right, (column + 1) * right)


@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"none one strip"}))
def test_damage_never_becomes_pixels(codec: str, tmp_path: Path) -> None:
    kinds = ["missing", "empty", "truncated"]
    # bytes that are not compressed are the pixels, whatever they are
    kinds += [] if codec.startswith("none") else ["zeroed", "torn", "noise"]
    off = 4 if CODECS[codec].get("compression") in LOSSY else 0
    whole = write(tmp_path / "whole.tif", codec).read_bytes()
    path = tmp_path / "a.tif"
    for kind, (level, piece) in itertools.product(kinds, PIECES):
        path.write_bytes(whole)
        place = damaged(path, level, piece, kind)
        wanted = (BASE, SMALL)[level].astype(int)
        planes = CODECS[codec].get("planarconfig") == "separate"
        if kind == "missing" and level == 0 and not planes:
            wanted[place] = GLASS
        why = ""
        try:
            with open_slide(path) as reader:
                pixels = pixels_of(reader, level)
        except SlideUnreadable as error:
            why = str(error)
        if why:
            assert kind != "missing" or planes
            assert "its tile " in why, (codec, kind, level, piece)
            assert CODECS[codec].get("compression", "none")[:4].upper() in why.upper()
        else:
            apart = np.abs(pixels.astype(int) - wanted).mean(axis=2)
            assert apart.mean() <= off + 0.5, (codec, kind, level, piece)
            assert apart[place].mean() <= 2 * off + 2, (codec, kind, level, piece)


@pytest.mark.parametrize("codec", ["jpeg", "adobe_deflate"])
def test_damage_is_told_when_its_tile_is_read(codec: str, tmp_path: Path) -> None:
    CODECS.setdefault(codec, {"compression": codec})
    path = write(tmp_path / "a.tif", codec)
    damaged(path, 0, "last", "zeroed")
    with open_slide(path) as reader:
        assert len(list(reader.read_tiles(np.array([[0, 0]]), 64, 0.5))) == 1
        with pytest.raises(SlideUnreadable, match=r"its tile 3 across, 2 down .* is damaged"):
            list(reader.read_tiles(np.array([[0, 0], [176, 128]]), 64, 0.5))


@pytest.mark.parametrize(
    ("compression", "said"),
    [
        (33003, "APERIO_JP2000_YCBC"),
        (34934, "JPEGXR"),
        (34661, "JBIG"),
        (6, "OJPEG"),
        (34676, "SGILOG"),
        (48124, "JETRAW"),
        (60_000, "60000"),
    ],
)
def test_a_codec_that_nobody_is_sure_of_is_named(
    compression: int, said: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tif", "none")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page in tiff.pages:
            page.tags[259].overwrite(compression)
    with (
        pytest.raises((SlideUnreadable, SlideRefused), match=f"(?i){said}"),
        open_slide(path) as reader,
    ):
        reader.overview()


@pytest.mark.parametrize("compression", [1, 32773])  # none, packbits
def test_a_predictor_that_only_some_readers_apply_is_refused(
    compression: int, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.tif", "lzw predicted")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page in tiff.pages:
            page.tags[259].overwrite(compression)
    with pytest.raises(SlideRefused, match=r"predictor 2, .* without a predictor"):
        open_slide(path)
