"""Slides are read where they lie, to the micron, or refused with a sentence that helps."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import pyvips
import simplejpeg
import tifffile
from PIL import Image

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides import reader as slides
from ingest.slides.grid import tile_grid, tile_px0
from ingest.slides.jpeg_levels import SCALES, JpegLevel, JpegReader, find_jpeg_level
from ingest.slides.reader import SlideReader, open_slide
from ingest.slides.tiff import read_index

# --- writing slides


def write_tiff(
    path: Path,
    levels: list[np.ndarray],
    *,
    mpp: float | None = 0.5,
    tile: int | None = 256,
    description: str = "",
    subifds: bool = False,
    jpeg: str = "",
    **options: Any,
) -> Path:
    """A TIFF pyramid, uncompressed or of JPEG tiles with the given chroma subsampling.

    With an mpp its header is Aperio's, which all readers know.
    """
    if mpp is not None and not description:
        description = f"Aperio Image Library v11\n|AppMag = 20|MPP = {mpp}"
    options = {"photometric": "rgb", "metadata": None, "software": False, **options}
    if tile is not None:
        options["tile"] = (tile, tile)
    if jpeg:
        step = {"444": (1, 1), "422": (2, 1), "420": (2, 2)}[jpeg]
        options |= {"compression": "jpeg", "photometric": "ycbcr", "subsampling": step}
    with tifffile.TiffWriter(path, bigtiff=True, ome=False) as out:
        for number, level in enumerate(levels):
            if jpeg:
                options |= {"shape": level.shape, "dtype": "uint8"}
            out.write(
                jpeg_tiles(level, tile or 256, jpeg) if jpeg else level,
                description=None if number else description,
                subifds=0 if number else len(levels[1:]) * subifds,
                subfiletype=int(number > 0),
                **options,
            )
    return path


def jpeg_tiles(level: np.ndarray, side: int, subsampling: str) -> Iterator[bytes]:
    """The JPEG tiles of a level; those at its edges repeat it."""
    for y in range(0, level.shape[0], side):
        for x in range(0, level.shape[1], side):
            part = level[y : y + side, x : x + side]
            rest = [(0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0)]
            tile = np.ascontiguousarray(np.pad(part, rest, mode="edge"))
            yield simplejpeg.encode_jpeg(tile, quality=97, colorsubsampling=subsampling)


@pytest.fixture
def speckled(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A slide of 1,300 x 900 pixels at 0.5 mpp, levels 1 and 4, random blots."""
    path = tmp_path / "speckled.svs"
    name = request.getfixturevalue("reader_name") if "reader_name" in request.fixturenames else ""
    return write_tiff(path, speckle(900, 1300), jpeg="444" if name == "simplejpeg" else "")


def speckle(height: int, width: int) -> list[np.ndarray]:
    """Random blots, and the same averaged over 4 x 4 pixels."""
    grains = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    base = np.kron(grains, np.ones((20, 20, 1), np.uint8))
    small = base.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3)).round().astype(np.uint8)
    return [base, small]


def read_all(
    reader: SlideReader, coords: np.ndarray, tile_px: int, tile_mpp: float, **options: int
):
    """Tiles in the order of their coords."""
    out = np.zeros((len(coords), tile_px, tile_px, 3), np.uint8)
    seen: list[int] = []
    for rows, tiles in reader.read_tiles(coords, tile_px, tile_mpp, **options):
        out[rows] = tiles
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(coords)))
    return out


@pytest.fixture(params=["pyvips", "openslide", "simplejpeg"])
def reader_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test that asks for it runs through all readers."""
    if request.param == "openslide":

        def refuse(*_: object) -> None:
            raise pyvips.Error("switched off for the test")

        monkeypatch.setattr(slides, "VipsSource", refuse)
    return request.param


# --- geometry

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


@pytest.mark.parametrize("mpp", [0.2325, 0.2468, 0.2527, 0.5016])
@pytest.mark.parametrize("size", [(15_999, 1_200), (40_001, 1_200)], ids=["3.9988", "4.0001"])
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


def first_level(path: Path) -> JpegLevel:
    """The JPEG tiles of a file's first picture."""
    with path.open("rb") as file:
        level = find_jpeg_level(file.fileno(), read_index(path)[0])
    assert level is not None
    return level


@pytest.mark.parametrize("jpeg", ["444", "422", "420", "rgb"])
@pytest.mark.parametrize("size", [(900, 1300), (257, 300), (60, 70)])
def test_jpeg_tiles_are_what_libvips_makes_of_them(
    size: tuple[int, int], jpeg: str, tmp_path: Path
) -> None:
    grains = Image.fromarray(np.random.default_rng(0).integers(0, 256, (13, 10, 3), np.uint8))
    picture = np.asarray(grains.resize((1300, 1000), Image.Resampling.BICUBIC))[
        : size[0], : size[1]
    ]
    options = {"compression": "jpeg"} if jpeg == "rgb" else {"jpeg": jpeg}
    path = write_tiff(tmp_path / "a.svs", [picture], **options)
    whole = pyvips.Image.new_from_file(str(path)).numpy().astype(int)
    level = first_level(path)
    with path.open("rb") as file:
        assert level.most_scale == (2 if jpeg == "422" else 8)
        for scale in (scale for scale in SCALES if scale <= level.most_scale):
            height, width = size[0] // scale, size[1] // scale
            reader = JpegReader(file.fileno(), level, scale)
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
    start, length = int(level.starts[1, 1]), int(level.lengths[1, 1])
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


def test_the_order_of_the_coords_does_not_matter(speckled: Path, reader_name: str) -> None:
    with open_slide(speckled) as reader:
        coords = tile_grid(reader.size_px0, tile_px0(64, 1.3, 0.5))
        shuffled = np.random.default_rng(0).permutation(len(coords))
        tiles = read_all(reader, coords, 64, 1.3)
        assert (read_all(reader, coords[shuffled], 64, 1.3) == tiles[shuffled]).all()
        few = read_all(reader, coords[shuffled[:5]], 64, 1.3)
        assert np.abs(few.astype(int) - tiles[shuffled[:5]]).max() <= (reader_name != "pyvips")
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


# --- mpp


@pytest.mark.parametrize(
    ("mpp", "words"),
    [(None, "has no mpp. Add a column mpp"), (0.01, "0.01"), (352.8, "352.8")],
)
def test_missing_and_nonsense_mpp_are_refused(
    mpp: float | None, words: str, tmp_path: Path
) -> None:
    path = write_tiff(tmp_path / "s.tif", speckle(400, 400), mpp=mpp)
    with pytest.raises(SlideRefused) as caught:
        open_slide(path)
    assert words in str(caught.value)
    assert "Add a column mpp to the manifest, or pass --mpp." in str(caught.value)
    with open_slide(path, mpp=0.5) as reader:
        assert reader.mpp == 0.5


def test_tiff_resolution_counts_only_with_a_unit(tmp_path: Path) -> None:
    levels = speckle(400, 400)
    cm = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with open_slide(write_tiff(tmp_path / "cm.tif", levels, mpp=None, **cm)) as reader:
        assert reader.mpp == pytest.approx(0.5)
    none = {"resolution": (20_000, 20_000), "resolutionunit": "NONE"}
    with pytest.raises(SlideRefused, match="no mpp"):
        open_slide(write_tiff(tmp_path / "none.tif", levels, mpp=None, **none))
    uneven = {"resolution": (20_000, 22_000), "resolutionunit": "CENTIMETER"}
    with pytest.raises(SlideRefused, match="across"):
        open_slide(write_tiff(tmp_path / "uneven.tif", levels, mpp=None, **uneven))


def test_ome_pyramid_in_sub_ifds_is_read_at_its_own_scale(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME><Image><Pixels SizeC="3" PhysicalSizeX="500" '
        'PhysicalSizeY="500" PhysicalSizeXUnit="nm" PhysicalSizeYUnit="nm"/></Image></OME>'
    )
    levels = speckle(800, 1200)
    path = write_tiff(tmp_path / "s.ome.tif", levels, description=xml, subifds=True)
    with open_slide(path) as reader:
        assert reader.mpp == 0.5
        assert reader.levels == [(1200, 800), (300, 200)]
        tile = read_all(reader, np.array([[240, 160]]), 32, 2.0)[0]
    assert np.abs(tile - levels[1][40:72, 60:92].astype(int)).max() <= 1


# --- right or refused


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.full((512, 512, 4), 100, np.uint8)
    rgba[..., 3] = 0
    rgba[:256, :, 3] = 255
    path = write_tiff(tmp_path / "a.tif", [rgba], extrasamples=["UNASSALPHA"])
    with open_slide(path) as reader:
        whole = read_all(reader, np.zeros((1, 2)), 256, 1.0)[0]
    assert (whole[:127] == 100).all()
    assert (whole[129:] == 255).all()


@pytest.mark.parametrize("kind", ["16 bit", "grey"])
def test_other_than_8_bit_colour_is_refused(kind: str, tmp_path: Path) -> None:
    rgb = speckle(400, 400)[0]
    if kind == "grey":
        path = write_tiff(tmp_path / "g.tif", [rgb[..., 0]], photometric="minisblack")
    else:
        path = write_tiff(tmp_path / "d.tif", [rgb.astype(np.uint16) * 257])
    with pytest.raises(SlideRefused, match="expected 8-bit colour"):
        open_slide(path)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_slide_is_refused(orientation: int, tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "a.svs", speckle(600, 800), extratags=[(274, 3, 1, orientation, True)]
    )
    with pytest.raises(SlideRefused, match=rf"turned .*{orientation}\)"):
        open_slide(path)


def test_a_truncated_slide_is_unreadable(tmp_path: Path, speckled: Path) -> None:
    data = speckled.read_bytes()
    for share in (0.02, 0.5, 0.9):
        cut = tmp_path / f"cut{share}.svs"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SlideUnreadable) as caught:
            read_all(open_slide(cut), np.zeros((1, 2)), 64, 2.0)
        assert "cut" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_slide_is_unreadable_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.svs").write_text("not a slide" * 100)
    Image.new("RGB", (300, 300)).save(tmp_path / "photo.tif", format="jpeg")
    for name in ("empty.svs", "text.svs", "photo.tif", "nowhere.svs"):
        with pytest.raises(SlideUnreadable) as caught:
            open_slide(tmp_path / name)
        assert name in str(caught.value)
        assert str(caught.value).endswith(".")
        assert len(str(caught.value).splitlines()) == 1


# --- real slides


def test_jpeg_2000_gives_the_tiles_of_jpeg(shared: Path) -> None:
    tiles = []
    for name, reader_name in (
        ("CMU-1-Small-Region", "pyvips"),
        ("cmu_region_jpeg2000", "openslide"),
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
