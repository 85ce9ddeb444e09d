"""The tissue filter keeps marrow, however fat, and leaves glass, ink and borders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.longer import longer
from builders.scenes import overview_of, textures
from PIL import Image

from ingest.slides import tissue
from ingest.slides.grid import tile_grid, tile_px0, tile_shares
from ingest.slides.reader import open_slide
from ingest.slides.tissue import hsv, is_bright_field, masks
from ingest.synthetic.marrow import FIELD_PX, SCANNERS_20X, Scanner, Scene

RED, GREEN, BLUE, BLACK = (205, 25, 30), (20, 140, 60), (30, 60, 190), (25, 25, 28)


def picture(path: Path, mpp: float, to_mpp: float) -> np.ndarray:
    """A picture at another scale, uint8 [h, w, 3]; alpha lies on white."""
    rgba = Image.open(path).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    size = [round(side * mpp / to_mpp) for side in white.size]
    return np.asarray(white.resize(size, Image.Resampling.BOX))


@pytest.fixture
def section(shared: Path) -> np.ndarray:
    """A real core across the picture, glass above and below, at 8 microns per pixel."""
    return picture(shared / "data/bone_marrow/core_biopsy_section.png", 2.5, 8.0)


def test_hsv_is_that_of_the_textbook() -> None:
    import colorsys

    rgb = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    rgb[0, 0], rgb[0, 1], rgb[0, 2] = (0, 0, 0), (255, 255, 255), (90, 90, 10)
    hue, saturation, value = hsv(rgb)
    for y, x in np.ndindex(9, 9):
        h, s, v = colorsys.rgb_to_hsv(*(rgb[y, x] / 255))
        assert (saturation[y, x], value[y, x]) == pytest.approx((s, v), abs=1e-5)
        assert hue[y, x] == pytest.approx(360 * h, abs=1e-3)


# --- marrow is tissue


def test_a_real_core_is_tissue_and_the_glass_is_not(section: np.ndarray) -> None:
    mask = masks(section, 8.0).tissue
    assert mask[70:130, 20:].mean() > 0.99  # fat, torn spaces and bone
    assert mask[:8, 160:300].mean() == 0
    assert mask[170:, 250:450].mean() == 0
    assert not masks(section, 8.0).pen.any()


def test_two_real_cores_are_tissue_down_to_bare_fat(shared: Path) -> None:
    path = shared / "data/bone_marrow/core_biopsy_two_cores_overview.png"
    mask = masks(picture(path, 1, 1), 9.0).tissue
    assert mask[500:850, 145:300].mean() > 0.95  # left core
    assert mask[400:600, 480:540].mean() > 0.85  # right core, torn
    assert mask[1450:1560, 130:220].mean() > 0.9  # fat without a single blood-forming cell
    assert mask[:, :1].mean() < 0.05
    assert not mask[300:1300, 0:70].any()
    assert not mask[1650:, 400:].any()


@pytest.mark.parametrize("name", ["0001_01", "0001_02", "0003_01", "0003_02", "0007_01"])
def test_fat_inside_real_marrow_is_tissue(name: str, shared: Path) -> None:
    rgb = picture(shared / f"data/bone_marrow/graz_{name}.jpg", 0.25, 8.0)
    assert masks(rgb, 8.0).tissue.mean() > 0.92
    assert not masks(rgb, 8.0).pen.any()


@pytest.mark.parametrize("scanner", SCANNERS_20X, ids=lambda s: s.name)
@pytest.mark.parametrize("cellularity", [2.0, longer(8.0), longer(60.0)])
def test_a_hypocellular_core_loses_no_tile(scanner: Scanner, cellularity: float) -> None:
    scene = Scene(
        np.random.default_rng(int(cellularity)),
        textures(),
        scanner=scanner,
        drawn_mpp=0.5,
        cellularity=cellularity,
        n_tiles=12,
        margin_um=300,
    )
    width, height = scene.size_px
    mask = masks(overview_of(scene), 8.0).tissue
    coords = tile_grid((width // 2, height // 2), 448.0)  # in microns
    truth = tile_shares(scene.areas()["tissue"], coords, 448.0, FIELD_PX * 0.5)
    found = tile_shares(mask, coords, 448.0, 8.0)
    assert np.abs(found - truth).max() < 0.15
    assert not ((truth >= 0.08) & (found < 0.05)).any()


def test_the_mask_depends_little_on_the_scale(section: np.ndarray, shared: Path) -> None:
    fine = masks(section, 8.0).tissue.mean()
    coarse = picture(shared / "data/bone_marrow/core_biopsy_section.png", 2.5, 16.0)
    assert masks(coarse, 16.0).tissue.mean() == pytest.approx(fine, abs=0.06)


def test_a_tinted_lamp_changes_nothing(section: np.ndarray) -> None:
    warm = (section * np.array([0.95, 0.9, 0.82])).astype(np.uint8)
    assert (masks(warm, 8.0).tissue != masks(section, 8.0).tissue).mean() < 0.03


# --- what is not


@pytest.mark.parametrize("ink", [RED, GREEN, BLUE, BLACK], ids=["red", "green", "blue", "black"])
@pytest.mark.parametrize("opacity", [1.0, 0.9])
def test_ink_is_not_tissue(ink: tuple[int, int, int], opacity: float, section: np.ndarray) -> None:
    marked = section.copy()
    strokes = np.zeros(section.shape[:2], bool)
    strokes[2:17, 150:330] = strokes[60:120, 200:225] = True  # on glass, and across the core
    marked[strokes] = (1 - opacity) * section[strokes] + opacity * np.array(ink)
    assert masks(marked, 8.0).tissue[strokes].mean() < 0.02
    assert masks(marked, 8.0).pen[strokes].mean() > 0.95
    far = ~strokes
    far[:40, 120:360] = far[40:140, 170:255] = False
    assert (masks(marked, 8.0).tissue == masks(section, 8.0).tissue)[far].mean() > 0.99


def test_real_red_ink_is_not_tissue(shared: Path) -> None:
    rgb = picture(shared / "data/thumbnails/tcga_red_pen.png", 1, 4)
    mask, pen = masks(rgb, 8.0).tissue, masks(rgb, 8.0).pen
    assert pen[30:95, 10:35].mean() > 0.85
    assert mask[30:95, 10:35].mean() < 0.15
    assert mask[20:, 50:].mean() > 0.98
    assert pen[20:, 50:].mean() < 0.02


def test_black_borders_are_not_tissue(section: np.ndarray) -> None:
    framed = np.pad(section, ((30, 30), (40, 40), (0, 0)))
    mask = masks(framed, 8.0).tissue
    assert not mask[:28].any()
    assert not mask[:, :38].any()
    assert mask[30:-30, 40:-40].mean() == pytest.approx(masks(section, 8.0).tissue.mean(), abs=0.03)


def test_tissue_and_ink_are_the_same_with_any_glass_around(section: np.ndarray) -> None:
    """Whatever is skipped as even glass changes nothing: the filters never reach so far."""
    rng = np.random.default_rng(3)
    inked = section.copy()
    inked[40:70, 100:300] = (30, 90, 200)
    slide = np.full((1400, 2300, 3), 243, np.uint8)
    places = [(0, 0), (700, 0), (650, 750), (40, 1900)]
    for y, x in places:
        piece = inked[: rng.integers(200, 400), : rng.integers(200, 400)]
        slide[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    found = masks(slide, 8.0)
    ink = tissue.ink_mask(slide, 8.0)
    assert found.pen.any()
    assert (found.pen == ink).all()
    whole = tissue.tissue_mask(slide, 8.0, tissue.white_balance(slide), ink)
    assert found.tissue.any()
    assert (found.tissue == whole).all()
    zones = list(tissue.busy_zones(slide, tissue.white_balance(slide), 100))
    assert sum(zone.size for _, zone in zones) < 0.7 * slide[..., 0].size


def test_dust_noise_and_blank_glass_are_not_tissue() -> None:
    rng = np.random.default_rng(0)
    blank = rng.normal(238, 1.5, (300, 400, 3)).clip(0, 255).astype(np.uint8)
    assert not masks(blank, 8.0).tissue.any()
    for _ in range(40):
        y, x = rng.integers(0, 296), rng.integers(0, 396)
        blank[y : y + 4, x : x + 4] = (120, 90, 80)
    assert masks(blank, 8.0).tissue.mean() < 0.005


def test_fluorescence_has_no_tissue_and_says_so(shared: Path) -> None:
    with open_slide(shared / "data/slides/fluorescence_tritc.ndpi") as reader:
        overview, mpp = reader.overview()
    assert not is_bright_field(overview)
    assert not masks(overview, mpp).tissue.any()


def test_tiles_of_a_real_slide_cover_its_tissue(shared: Path) -> None:
    with open_slide(shared / "data/slides/CMU-1-Small-Region.svs") as reader:
        overview, mpp = reader.overview()
        side = tile_px0(64, 2.0, reader.mpp)
        coords = tile_grid(reader.size_px0, side)
        shares = tile_shares(masks(overview, mpp).tissue, coords, side, mpp / reader.mpp)
    _, saturation, _ = hsv(overview)
    stained = tile_shares(saturation > 0.15, coords, side, mpp / 0.499)
    assert (shares[stained > 0.2] >= 0.05).all()
    assert (shares[stained < 0.001] < 0.3).all()
    assert 0.35 < (shares >= 0.05).mean() < 0.65


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (2, 300), (300, 2)])
def test_odd_shapes_do_no_harm(shape: tuple[int, int]) -> None:
    for level in (0, 200, 255):
        rgb = np.full((*shape, 3), level, np.uint8)
        assert masks(rgb, 8.0).tissue.shape == shape
        assert masks(rgb, 40.0).pen.shape == shape
