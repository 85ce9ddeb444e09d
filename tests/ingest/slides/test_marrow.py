"""The marrow score ranks marrow, however fat, over bone, soft tissue, blood and other fat."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.scenes import overview_of, textures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ingest.slides.grid import tile_grid, tile_shares
from ingest.slides.marrow import marrow_scores
from ingest.slides.tissue import masks
from ingest.synthetic.marrow import FIELD_PX, SCANNERS_20X, SCANNERS_40X, Scanner, Scene

SIDE = 40  # of a region below, in pixels of its picture
# upper left corners of regions, in pixels of the picture, told by eye
TWO_CORES = {
    "marrow": [
        (290, 110), (200, 290), (260, 290), (170, 345), (250, 350), (200, 590), (150, 700),
        (200, 700), (250, 700), (140, 790), (250, 790), (200, 920), (130, 980), (205, 1045),
        (155, 1060), (480, 225), (460, 390), (500, 390), (520, 560), (430, 740), (450, 790),
        (510, 870), (510, 940), (510, 1000), (430, 1050), (430, 1260), (360, 1340), (460, 1290),
        (360, 1200),
    ],
    "bone": [
        (205, 100), (330, 160), (500, 150), (590, 360), (600, 400), (600, 430), (440, 600),
        (455, 620), (490, 690), (560, 790), (405, 900), (410, 950), (110, 1055), (440, 1335),
    ],
    "soft tissue": [
        (240, 25), (560, 80), (600, 150), (640, 185), (110, 1160), (160, 1160), (110, 1210),
        (100, 1310), (150, 1320), (150, 1355), (15, 1360), (40, 1490), (60, 1500), (170, 1600),
        (245, 1710), (245, 1730),
    ],
    "fat pad": [
        (130, 1430), (180, 1430), (130, 1480), (180, 1480), (225, 1460), (130, 1530), (180, 1530),
        (60, 1405), (215, 1680), (240, 1800), (145, 1690), (305, 10),
    ],
}  # fmt: skip
SECTION = {
    "marrow": [
        (119, 62), (150, 72), (175, 105), (256, 76), (257, 110), (346, 80), (352, 108), (391, 15),
        (430, 54), (14, 46), (15, 84), (82, 115), (325, 31),
    ],
    "bone": [(57, 60), (50, 94), (6, 147), (303, 91), (3, 143), (55, 64), (308, 95), (50, 100)],
}  # fmt: skip


def pairs_right(high: np.ndarray, low: np.ndarray) -> float:
    """Share of pairs in which the first is higher; a tie is half right."""
    difference = np.subtract.outer(high.astype(float), low.astype(float))
    return float((difference > 0).mean() + (difference == 0).mean() / 2)


def scored(
    picture: np.ndarray, mpp: float, regions: dict[str, list[tuple[int, int]]], side: float
) -> dict[str, np.ndarray]:
    tissue = masks(picture, mpp).tissue
    return {
        name: marrow_scores(picture, mpp, tissue, np.array(corners), side, 1.0)
        for name, corners in regions.items()
    }


@pytest.mark.parametrize("strength", [0.6, 1.0, 1.5])
def test_real_marrow_ranks_over_bone_soft_tissue_and_fat_pad(shared: Path, strength: float) -> None:
    path = shared / "data/bone_marrow/core_biopsy_two_cores_overview.png"
    rgb = np.asarray(Image.open(path).convert("RGB"))
    stained = (255 * (rgb / 255) ** strength).round().astype(np.uint8)
    scores = scored(stained, 9.0, TWO_CORES, SIDE)
    for name in ("bone", "soft tissue", "fat pad"):
        assert pairs_right(scores["marrow"], scores[name]) >= 0.95, name
    assert scores["marrow"].min() > 0.8
    assert np.median(scores["bone"]) < 0.2
    assert np.median(scores["soft tissue"]) < 0.2


def test_marrow_of_another_laboratory_ranks_over_its_bone(shared: Path) -> None:
    section = Image.open(shared / "data/bone_marrow/core_biopsy_section.png").convert("RGB")
    size = [round(side * 2.5 / 8) for side in section.size]
    picture = np.asarray(section.resize(size, Image.Resampling.BOX))
    scores = scored(picture, 8.0, SECTION, 24)
    assert pairs_right(scores["marrow"], scores["bone"]) >= 0.9
    assert scores["marrow"].min() > 0.8


@pytest.mark.parametrize(
    ("cellularity", "scanner", "clot"),
    [
        (4, SCANNERS_20X[1], False),
        (30, SCANNERS_40X[0], False),
        (80, SCANNERS_20X[0], False),
        (50, SCANNERS_20X[1], True),
    ],
)
def test_drawn_marrow_ranks_over_bone_and_blood_at_any_cellularity(
    cellularity: int, scanner: Scanner, clot: bool
) -> None:
    scene = Scene(
        np.random.default_rng([5, cellularity]),
        textures(),
        scanner=scanner,
        drawn_mpp=0.5,
        cellularity=cellularity,
        n_tiles=14 if clot else 6,
        margin_um=200,
        clot=clot,
    )
    picture = overview_of(scene)
    coords = tile_grid((8 * picture.shape[1], 8 * picture.shape[0]), 112.0)  # in microns
    truth = {
        name: tile_shares(area, coords, 112.0, FIELD_PX * 0.5)
        for name, area in scene.areas().items()
    }
    scores = marrow_scores(picture, 8.0, masks(picture, 8.0).tissue, coords, 112.0, 8.0)
    marrow = scores[truth["marrow"] > 0.9]
    assert len(marrow) > 4
    for other in ("bone", "blood"):
        low = scores[truth[other] > 0.6]
        if len(low):
            assert pairs_right(marrow, low) >= 0.9, other
    assert marrow.mean() > 0.6


# --- what is not known


def test_fat_alone_is_not_judged(shared: Path) -> None:
    path = shared / "data/bone_marrow/core_biopsy_two_cores_overview.png"
    rgb = np.asarray(Image.open(path).convert("RGB"))[1430:1590, 130:270]
    assert masks(rgb, 9.0).tissue.mean() > 0.5
    assert np.isnan(scored(rgb, 9.0, {"fat": [(20, 20), (60, 60)]}, SIDE)["fat"]).all()


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    mpp=st.floats(2, 40),
    seed=st.integers(0, 99),
    n=st.integers(0, 3),
)
def test_any_picture_gives_shares_or_nothing(
    shape: tuple[int, int], mpp: float, seed: int, n: int
) -> None:
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (*shape, 3), np.uint8)
    corners = rng.integers(0, 60, (n, 2))
    scores = marrow_scores(rgb, mpp, rng.random(shape) < 0.7, corners, 20.0, 1.0)
    assert scores.shape == (n,)
    assert scores.dtype == np.float16
    assert (np.isnan(scores) | ((scores >= 0) & (scores <= 1))).all()
