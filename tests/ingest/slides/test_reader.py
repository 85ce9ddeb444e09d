"""Slides are read where they lie, to the micron, or refused with a sentence that helps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openslide
import pytest
from builders.slide_files import read_all, write_tiff
from PIL import Image

from featurestore.errors import SlideRefused
from ingest.slides.grid import tile_grid, tile_px0
from ingest.slides.reader import open_slide

PERIOD_UM, FIRST_UM, DOT_UM = np.array([150.0, 130.0]), np.array([41.0, 37.0]), 6.0


def dots(width: int, height: int, um_x: float, um_y: float) -> np.ndarray:
    """Round dots at known microns, as seen by pixels of um_x by um_y microns."""

    def profile(count: int, um: float, axis: int) -> np.ndarray:
        centre_um = (np.arange(count) + 0.5) * um
        period, first = PERIOD_UM[axis], FIRST_UM[axis]
        away = (centre_um - first + period / 2) % period - period / 2
        return np.exp(-((away / DOT_UM) ** 2) / 2)

    dark = np.outer(profile(height, um_y, 1), profile(width, um_x, 0))
    return np.repeat((255 - 230 * dark).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("mpp", [0.2325, 0.5016])
@pytest.mark.parametrize("size", [(15_999, 1_200), (40_001, 600)], ids=["3.9988", "4.0001"])
def test_a_dot_at_known_microns_lands_in_the_right_pixel(
    mpp: float, size: tuple[int, int], reader_name: str, tmp_path: Path
) -> None:
    width, height = size
    w, h = {15_999: 4_001, 40_001: 10_000}[width], height // 4
    levels = [dots(width, height, mpp, mpp), dots(w, h, mpp * width / w, mpp * height / h)]
    jpeg = "420" if reader_name == "simplejpeg" else ""
    path = write_tiff(tmp_path / "dots.svs", levels, mpp=mpp, jpeg=jpeg)
    side = tile_px0(64, 2.0, mpp)
    coords = tile_grid(size, side)
    assert len(coords) > 50
    with open_slide(path) as reader:
        assert reader.mpp == mpp
        assert reader.levels == [size, (w, h)]
        assert reader.reader.startswith("openslide") == (reader_name == "openslide")
        assert ("simplejpeg" in reader.reader) == (reader_name == "simplejpeg")
        tiles = read_all(reader, coords, 64, 2.0)
    worst = 0.0
    for corner, tile in zip(coords, tiles, strict=True):
        for found_px, wanted_px in located(tile, corner * mpp):
            worst = max(worst, float(np.abs(found_px - wanted_px).max()))
    assert 0 < worst < 0.5


def located(tile: np.ndarray, corner_um: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Centre of gravity of each dot well inside a tile, and where it should be, in tile pixels."""
    dark = 255.0 - tile[..., 1]
    first = np.ceil((corner_um - FIRST_UM) / PERIOD_UM).astype(int)
    for across in range(first[0], first[0] + 2):
        for down in range(first[1], first[1] + 2):
            wanted = (FIRST_UM + PERIOD_UM * (across, down) - corner_um) / 2.0
            x, y = wanted.astype(int)
            if not (12 <= x < 52 and 12 <= y < 52):
                continue
            window = dark[y - 10 : y + 11, x - 10 : x + 11]
            steps = np.arange(-10, 11)
            mass = window.sum()
            centre = (
                window.sum(0) @ steps / mass + x + 0.5,
                window.sum(1) @ steps / mass + y + 0.5,
            )
            yield np.array(centre), wanted


def test_tiles_agree_with_plain_openslide_and_area_resize(speckled: Path, reader_name: str) -> None:
    with open_slide(speckled) as reader:
        coords = tile_grid(reader.size_px0, 256)
        tiles = read_all(reader, coords, 64, 2.0)
    with openslide.OpenSlide(str(speckled)) as slide:
        for (x, y), tile in zip(coords.tolist(), tiles, strict=True):
            plain = slide.read_region((x, y), 0, (256, 256)).convert("RGB")
            plain = np.asarray(plain.resize((64, 64), Image.Resampling.BOX), int)
            assert np.abs(tile - plain).mean() < 3


def test_the_order_of_the_coords_does_not_matter(speckled: Path, reader_name: str) -> None:
    with open_slide(speckled) as reader:
        coords = tile_grid(reader.size_px0, tile_px0(64, 1.3, 0.5))
        shuffled = np.random.default_rng(0).permutation(len(coords))
        tiles = read_all(reader, coords, 64, 1.3)
        assert (read_all(reader, coords[shuffled], 64, 1.3) == tiles[shuffled]).all()
        few = read_all(reader, coords[shuffled[:5]], 64, 1.3)
        assert np.abs(few.astype(int) - tiles[shuffled[:5]]).max() <= 1
        assert len(read_all(reader, coords[:0], 64, 1.3)) == 0


def test_a_slide_a_little_coarser_than_the_target_is_read_and_a_coarse_one_refused(
    speckled: Path, reader_name: str
) -> None:
    with open_slide(speckled, mpp=2.08) as reader:
        coords = tile_grid(reader.size_px0, tile_px0(100, 2.0, 2.08))
        assert read_all(reader, coords, 100, 2.0).shape == (len(coords), 100, 100, 3)
    with open_slide(speckled, mpp=2.2) as reader, pytest.raises(SlideRefused, match=r"2\.2 .* 2 "):
        next(reader.read_tiles(np.zeros((1, 2), np.int32), 100, 2.0))


def test_a_slide_smaller_than_a_tile_has_no_tiles(speckled: Path) -> None:
    with open_slide(speckled, mpp=0.25) as reader:
        assert len(tile_grid(reader.size_px0, tile_px0(224, 2.0, reader.mpp))) == 0


def test_overview_and_thumbnail_are_the_whole_slide(speckled: Path, reader_name: str) -> None:
    with open_slide(speckled) as reader:
        overview, mpp = reader.overview()
        assert (overview.shape, mpp) == ((56, 81, 3), 8.0)
        assert max(reader.thumbnail(500).shape) == 500
        coarse = reader.thumbnail(40)  # from the overview
        assert coarse.shape == (28, 40, 3)
        assert reader.thumbnail(5000).shape == (900, 1300, 3)
        with openslide.OpenSlide(str(speckled)) as slide:
            base = slide.read_region((0, 0), 0, slide.dimensions).convert("RGB").reduce(16)
        base = np.asarray(base)[:56, :81]
        assert np.abs(overview.astype(int) - base).mean() < 1


def test_jpeg_2000_gives_the_tiles_of_jpeg(shared: Path) -> None:
    tiles = []
    for name, reader_name in (
        ("CMU-1-Small-Region", "tiff, simplejpeg"),
        ("cmu_region_jpeg2000", "tiff, imagecodecs"),
    ):
        with open_slide(shared / f"data/slides/{name}.svs") as reader:
            assert reader.reader.startswith(reader_name)
            assert (reader.size_px0, reader.mpp) == ((2220, 2967), 0.499)
            tiles.append(
                read_all(reader, tile_grid(reader.size_px0, tile_px0(224, 2.0, 0.499)), 224, 2.0)
            )
    assert len(tiles[0]) == 6
    assert np.abs(tiles[0].astype(int) - tiles[1]).mean() < 2


def test_dicom_overview_is_too_coarse(shared: Path) -> None:
    with (
        open_slide(shared / "data/slides/camelyon16_overview_jpeg.dcm") as reader,
        pytest.raises(SlideRefused, match=r"28\.97 .* 2 "),
    ):
        reader.require_mpp(2.0)


def test_ome_tiff_that_openslide_refuses_has_its_mpp(shared: Path) -> None:
    with open_slide(shared / "data/slides/os1_he_detail.ome.tif") as reader:
        assert reader.mpp == pytest.approx(0.2271, abs=1e-4)
        assert len(tile_grid(reader.size_px0, tile_px0(224, 2.0, reader.mpp))) == 0


def test_ndpi_is_read_through_openslide(shared: Path) -> None:
    with open_slide(shared / "data/slides/fluorescence_tritc.ndpi") as reader:
        assert reader.reader.startswith("openslide")
        assert len(reader.levels) == 7
        assert max(reader.thumbnail().shape) == 1024
