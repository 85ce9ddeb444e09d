"""Levels are one picture on one glass; another scene is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from builders.longer import longer
from builders.slide_files import read_all, stained, write_tiff
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from featurestore.types import Tiling
from ingest.slides import pyramid, sources
from ingest.slides.reader import open_slide
from ingest.slides.tile_reader import Unsupported
from ingest.slides.tiling import find_tiles

SCALE = {
    "photometric": "rgb",
    "metadata": None,
    "resolution": (20_000, 20_000),
    "resolutionunit": "CENTIMETER",
}


BASE = stained(512, 640)


SECOND = stained(512, 640, seed=7)[:, ::-1]


def shrunk(pixels: np.ndarray, by: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).reduce(by))


def write_sparse(path: Path, whole: np.ndarray, small: np.ndarray, compression: str) -> Path:
    """Level 0 without its tiles of even glass, and a coarse level with white where they were."""
    tint = whole[0, 0]
    bare = (whole.reshape(16, 128, 16, 128, 3) == tint).all(axis=(1, 3, 4))
    painted = small.copy()
    painted[np.repeat(np.repeat(bare, 32, 0), 32, 1)] = 255
    with tifffile.TiffWriter(path) as out:
        for number, level in enumerate((whole, painted)):
            out.write(level, tile=(128, 128), compression=compression, subfiletype=number, **SCALE)
    file = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for tag in (tiff.pages[0].tags[324], tiff.pages[0].tags[325]):
            numbers = np.frombuffer(
                file, {3: "<u2", 4: "<u4"}[tag.dtype], tag.count, tag.valueoffset
            )
            numbers = np.where(bare.ravel(), 0, numbers).astype(numbers.dtype)
            file[tag.valueoffset : tag.valueoffset + numbers.nbytes] = numbers.tobytes()
    path.write_bytes(file)
    return path


@pytest.mark.parametrize("pixels", [-12, -4, -2, 2, 4, 12])
def test_a_level_that_was_cut_off_or_filled_up_is_not_stretched_over_level_0(
    pixels: int, tmp_path: Path
) -> None:
    half = np.pad(shrunk(BASE, 2), ((0, 12), (0, 12), (0, 0)), mode="edge")
    half = np.ascontiguousarray(half[: 256 + pixels, : 320 + pixels])
    with tifffile.TiffWriter(tmp_path / "s.tif") as out:
        for level, flag in ((BASE, 0), (half, 1), (shrunk(BASE, 4), 1)):
            out.write(level, tile=(128, 128), subfiletype=flag, **SCALE)
    with open_slide(tmp_path / "s.tif") as reader:
        assert reader.levels == [(640, 512), (160, 128)]


@pytest.mark.parametrize("compression", ["jpeg", "adobe_deflate", "lzma"])
@pytest.mark.parametrize("flagged", [True, False])
def test_another_scene_is_never_a_level(flagged: bool, compression: str, tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    pages = [(BASE, 0), (shrunk(BASE, 4), 1), (SECOND, 0), (shrunk(SECOND, 2), int(flagged))]
    with tifffile.TiffWriter(path) as out:
        for pixels, kind in pages:
            out.write(pixels, subfiletype=kind, tile=(64, 64), compression=compression, **SCALE)
    with open_slide(path) as reader:
        assert reader.levels == [(640, 512), (160, 128)]
        overview = reader.overview(1.0)[0].astype(int)
    assert np.abs(overview - shrunk(BASE, 2)).mean() < 3


def test_another_scene_is_no_level_for_openslide_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unsupported("switched off for the test")

    monkeypatch.setattr(sources, "TiffSource", refuse)
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as out:
        for number, pixels in enumerate((BASE, shrunk(SECOND, 2), shrunk(BASE, 4))):
            out.write(pixels, subfiletype=int(number > 0), tile=(64, 64), **SCALE)
    with open_slide(path) as reader:
        assert reader.reader.startswith("openslide")
        assert reader.levels == [(640, 512), (160, 128)]
        overview = reader.overview(1.0)[0].astype(int)
    assert np.abs(overview - shrunk(BASE, 2)).mean() < 3


@pytest.mark.parametrize("how", ["mean", "every fourth"])
def test_a_page_without_a_flag_is_a_level_where_it_shows_level_0(how: str, tmp_path: Path) -> None:
    """However it was shrunk: some writers take every fourth pixel."""
    noise = np.random.default_rng(0).normal(0, 12, BASE.shape)
    base = np.clip(BASE + noise, 0, 255).astype(np.uint8)
    small = shrunk(base, 4) if how == "mean" else np.ascontiguousarray(base[::4, ::4])
    path = tmp_path / "plain.tif"
    with tifffile.TiffWriter(path) as out:
        for pixels in (base, small):
            out.write(pixels, tile=(64, 64), **SCALE)
    with open_slide(path) as reader:
        assert reader.levels == [(640, 512), (160, 128)]


@pytest.mark.parametrize(
    "tint",
    [
        (225, 215, 225),
        (255, 255, 255),
        *(longer(t) for t in ((244, 240, 221), (210, 224, 228))),
    ],
)
@pytest.mark.parametrize("compression", ["jpeg", "adobe_deflate"])
def test_what_is_not_stored_is_glass_of_the_slides_own_tint(
    compression: str, tint: tuple[int, int, int], tmp_path: Path
) -> None:
    whole = stained(2048, 2048, glass=tint)
    tiles = whole.reshape(16, 128, 16, 128, 3).swapaxes(1, 2)
    bare = (tiles == tint).all(axis=(2, 3, 4))
    small = shrunk(whole, 4)
    path = write_sparse(tmp_path / "sparse.tif", whole, small, compression)
    with open_slide(path) as reader:
        assert reader.reader.startswith("tiff")
        assert bare.sum() >= 100
        overview = reader.overview()[0].astype(int)
        assert np.abs(overview - np.asarray(Image.fromarray(whole).reduce(16))).mean() < 3
        found = find_tiles(reader, Tiling(tile_px=64))
        corner = read_all(reader, np.array([[0, 0]]), 64, 2.0)[0]
    assert np.abs(corner.astype(int) - tint).max() <= 2
    plain = write_tiff(tmp_path / "whole.tif", [whole, small], tile=128, **SCALE)
    with open_slide(plain) as reader:
        wanted = find_tiles(reader, Tiling(tile_px=64))
    assert abs(found.tissue_mm2 / wanted.tissue_mm2 - 1) < 0.05
    assert abs(len(found.coords) - len(wanted.coords)) <= 2


@given(st.integers(200, 9_000), st.integers(200, 9_000), st.sampled_from([2, 3, 4, 8, 16]))
def test_a_level_has_the_shape_of_level_0_and_fewer_pixels(
    width: int, height: int, by: int
) -> None:
    level = (width // by, height // by)
    assert pyramid.is_coarser(level, (width, height))
    assert not pyramid.is_coarser((width, height), (width, height))
    assert not pyramid.is_coarser((level[0], max(1, level[1] // 2)), (width, height))


@given(st.integers(0, 254), st.integers(0, 254), st.booleans())
def test_what_is_brighter_than_tinted_glass_is_glass(glass: int, shown: int, bright: bool) -> None:
    one = pyramid.Glass(colour=np.full(3, glass, np.uint8), is_bright=bright)
    (pixel,) = one.fill(np.full((1, 1, 3), shown, np.uint8))[0]
    painted = bright and glass < 255 - pyramid.OVER and shown > glass + pyramid.OVER
    assert (pixel == (glass if painted else shown)).all()


@given(st.floats(0.5, 60))
def test_what_is_left_after_whole_boxes_is_little(pitch: float) -> None:
    box = pyramid.whole_box(pitch)
    assert box >= 1
    assert pitch / box <= 1.75
    assert box == 1 or pitch / box >= 0.87
