"""JPEG tiles are decoded as others decode them, at any scale, or refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from builders.slide_files import jpeg_tiles, read_all, speckle, write_tiff
from PIL import Image

from featurestore.errors import SlideUnreadable
from ingest.slides.reader import open_slide
from ingest.slides.tiff import read_index
from ingest.slides.tile_reader import SCALES, TileLevel, TileReader, find_level


def first_level(path: Path) -> TileLevel:
    """The JPEG tiles of a file's first picture."""
    with path.open("rb") as file:
        return find_level(file.fileno(), read_index(path)[0])


@pytest.mark.parametrize("jpeg", ["444", "422", "420", "rgb"])
@pytest.mark.parametrize("size", [(900, 1300), (257, 300), (60, 70)])
def test_jpeg_tiles_are_what_others_make_of_them(
    size: tuple[int, int], jpeg: str, tmp_path: Path
) -> None:
    grains = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 10, 3), np.uint8))
    picture = np.asarray(grains.resize((1300, 1000), Image.Resampling.BICUBIC))[
        : size[0], : size[1]
    ]
    options = {"compression": "jpeg"} if jpeg == "rgb" else {"jpeg": jpeg}
    path = write_tiff(tmp_path / "a.svs", [picture], **options)
    whole = tifffile.imread(path).astype(int)
    level = first_level(path)
    with path.open("rb") as file:
        assert level.decoder.most_scale == (2 if jpeg == "422" else 8)
        for scale in (scale for scale in SCALES if scale <= level.decoder.most_scale):
            height, width = size[0] // scale, size[1] // scale
            reader = TileReader(file.fileno(), level, scale)
            ours = reader.read(0, 0, width, height).astype(int)
            boxes = whole[: height * scale, : width * scale].reshape(height, scale, width, scale, 3)
            assert np.abs(ours - boxes.mean(axis=(1, 3))).mean() < 1
            x, y = width // 3, height // 3
            assert (reader.read(x, y, width - x, height - y) == ours[y:, x:]).all()
            beyond = reader.read(width - 2, height - 2, 9, 9)
            assert (beyond[2:, :2] == beyond[1, :2]).all()
            assert (beyond[:, 2:] == beyond[:, 1:2]).all()
            with pytest.raises(ValueError, match="outside"):
                reader.read(width, 0, 4, 4)


def test_colours_are_right_where_the_header_misnames_them(tmp_path: Path, shared: Path) -> None:
    """Bio-Formats writes YCbCr tiles and calls them RGB: libtiff then shows them green."""
    picture = np.full((600, 800, 3), (200, 120, 180), np.uint8)
    path = tmp_path / "a.ome.tif"
    options = {"tile": (256, 256), "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path, ome=False) as out:
        tiles = jpeg_tiles(picture, 256, "420")
        out.write(tiles, shape=picture.shape, dtype="uint8", photometric="rgb", **options)
    with open_slide(path, mpp=0.5) as reader:
        tile = read_all(reader, np.array([[256, 0]]), 64, 2.0)[0]
        assert np.abs(tile.astype(int) - picture[0, 0]).max() <= 3
    with open_slide(shared / "data/slides/os1_he_detail.ome.tif") as reader:
        red, green, blue = reader.overview(2.0)[0].mean(axis=(0, 1))
    assert green < red - 10  # pink and violet
    assert green < blue - 30


def test_a_jpeg_tile_that_is_damaged_or_foreign_is_refused(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.svs", [speckle(900, 1300)[0]], jpeg="420")
    level = first_level(path)
    start, length = int(level.starts[0, 1, 1]), int(level.lengths[0, 1, 1])
    whole = path.read_bytes()
    other = io.BytesIO()
    Image.new("RGB", (64, 64)).save(other, "JPEG")
    for damage in (whole[start : start + length // 2] + b"\xff\xd9", other.getvalue()):
        padded = damage.ljust(length, b"\0")
        path.write_bytes(whole[:start] + padded + whole[start + length :])
        with (
            open_slide(path, mpp=0.5) as reader,
            pytest.raises(SlideUnreadable, match="be decoded"),
        ):
            list(reader.read_tiles(np.array([[256, 256]]), 64, 2.0))
