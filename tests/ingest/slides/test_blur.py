"""The blur score follows the focus, and nothing else: no content, stain, coding or scale."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from builders.scenes import textures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

from featurestore.types import Tiling
from ingest.slides.reader import open_slide
from ingest.slides.tiling import find_tiles
from ingest.slides.tissue import blur_scores
from ingest.slides.worker import BLURRED
from ingest.synthetic.marrow import FIELD_PX, SCANNERS_20X, Scene

PICTURES = ("0001_01", "0001_02", "0003_01", "0003_02", "0007_01")
FAT = (0.35, 0.15, 0.41, 0.42, 0.50)  # of each picture, outlined by hand


def seen(rgb: np.ndarray, mpp: float, defocus_um: float, quality: int = 0) -> np.ndarray:
    """A sharp picture as a scanner out of focus gives it, coded, then at 2 microns per pixel."""
    sigma = defocus_um / mpp
    soft = gaussian_filter(rgb, (sigma, sigma, 0)) if sigma else rgb
    return np.asarray(Image.fromarray(coded(soft, quality)).reduce(round(2 / mpp)))


def coded(rgb: np.ndarray, quality: int) -> np.ndarray:
    """What JPEG of that quality, colours at half the resolution, makes of it; 0: nothing."""
    if not quality:
        return np.ascontiguousarray(rgb)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(file, "jpeg", quality=quality, subsampling=2)
    return np.asarray(Image.open(file))


@pytest.fixture(scope="module")
def drawn() -> dict[tuple[int, float], np.ndarray]:
    """Tiles by cellularity and defocus in microns, two each."""
    tiles: dict[tuple[int, float], list[np.ndarray]] = {}
    for cellularity in (4, 10, 80):
        scene = Scene(
            np.random.default_rng([1, cellularity]),
            textures(),
            scanner=SCANNERS_20X[0],
            drawn_mpp=0.5,
            cellularity=cellularity,
            n_tiles=8,
            margin_um=300,
        )
        side = 896 // FIELD_PX
        for half in np.array_split(np.arange(len(scene.areas()["tissue"])), 2):
            tissue = scene.areas()["tissue"][half].astype(float)
            shares = uniform_filter(tissue, side, mode="constant")  # around the fullest place
            y, x = (int(n) for n in np.unravel_index(shares.argmax(), shares.shape))
            top, left = max(0, y + int(half[0]) - side // 2), max(0, x - side // 2)
            corner = left * FIELD_PX, top * FIELD_PX
            sharp = scene.draw(*corner, 896, 896).view(np.uint8).reshape(896, 896, 4)
            for defocus_um in (0.0, 1.5, 2.0, 3.0):
                tile = seen(sharp[..., :3], 0.5, defocus_um)
                tiles.setdefault((cellularity, defocus_um), []).append(tile)
    return {key: np.stack(pair) for key, pair in tiles.items()}


@settings(max_examples=10, deadline=None)
@given(
    strength=st.floats(0.6, 1.0),  # of a fainter one, JPEG leaves too little to judge
    gamma=st.floats(0.6, 1.7),
    channels=st.permutations([0, 1, 2]),
    quality=st.sampled_from([0, 60, 75, 90]),
    flagged=st.sampled_from([0.3, BLURRED]),
)
def test_a_defocus_is_flagged_alike_at_any_cellularity_and_stain(
    drawn: dict[tuple[int, float], np.ndarray],
    strength: float,
    gamma: float,
    channels: list[int],
    quality: int,
    flagged: float,
) -> None:
    def stained(tile: np.ndarray) -> np.ndarray:
        light = (1 - strength * (1 - (tile[..., channels] / 255) ** gamma)) * 255
        return coded(light.round().astype(np.uint8), quality)

    for defocus_um in (1.5, 2.0, 3.0):
        shares = [
            (blur_scores(np.stack([*map(stained, drawn[c, defocus_um])])) > flagged).mean()
            for c in (4, 10, 80)
        ]
        assert shares == [1, 1, 1]
    if flagged == BLURRED:
        for c in (4, 10, 80):
            assert (blur_scores(np.stack([*map(stained, drawn[c, 0.0])])) < BLURRED).all()


@pytest.fixture
def marrow(shared: Path) -> list[np.ndarray]:
    """Real pictures at 0.25 microns per pixel."""
    paths = [shared / f"data/bone_marrow/graz_{name}.jpg" for name in PICTURES]
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths]


def test_a_micron_is_told_from_none_on_real_marrow_and_not_by_its_cells(
    marrow: list[np.ndarray],
) -> None:
    scores = np.array(
        [[blur_scores(seen(rgb, 0.25, um)[None])[0] for rgb in marrow] for um in (0, 1, 2)]
    ).astype(float)
    assert scores[0].max() < 0.3 < scores[1].min()
    assert scores[2].min() > 0.7
    by_fat = np.polyfit(FAT, scores.T, 1)[0]  # from no fat to nothing else
    assert (np.abs(by_fat) < 0.25).all()


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(quality=st.integers(30, 95), defocus_um=st.sampled_from([0.0, 1.0, 2.0]))
def test_how_the_scan_was_coded_does_not_matter(
    marrow: list[np.ndarray], quality: int, defocus_um: float
) -> None:
    rgb = marrow[0][:960, :960]
    plain, jpeg = (blur_scores(seen(rgb, 0.25, defocus_um, q)[None])[0] for q in (0, quality))
    assert jpeg == pytest.approx(plain, abs=0.05)


@pytest.mark.parametrize("tile_mpp", [2.0, 2.05, 2.3])
def test_a_sharp_slide_is_not_flagged_at_any_scale(shared: Path, tile_mpp: float) -> None:
    """Resampling between pixels costs sharpness, but less than the verdict asks for."""
    tiling = Tiling(tile_mpp=tile_mpp)
    with open_slide(shared / "data/slides/CMU-1-Small-Region.svs") as reader:
        coords = find_tiles(reader, tiling).coords
        tiles = reader.read_tiles(coords, tiling.tile_px, tile_mpp)
        scores = np.concatenate([blur_scores(pixels) for _, pixels in tiles])
    assert len(scores) >= 2
    assert np.median(scores) < BLURRED


@settings(deadline=None)
@given(
    n=st.integers(0, 40),
    level=st.integers(0, 255),
    noise=st.floats(0, 3),
    seed=st.integers(0, 9),
)
def test_what_has_no_edges_is_not_judged(n: int, level: int, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flat = rng.normal(level, noise, (2, n, n, 3)).clip(0, 255).astype(np.uint8)
    scores = blur_scores(flat)
    assert scores.tolist() == [0.0, 0.0]
    assert scores.dtype == np.float16
    assert blur_scores(flat[:0]).shape == (0,)
