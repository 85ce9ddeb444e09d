"""Grid arithmetic holds for every scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.slides.grid import strips, tile_grid, tile_px0, tile_shares


def test_side_of_a_tile_is_exact() -> None:
    assert tile_px0(224, 2.0, 0.25) == 1792
    assert tile_px0(224, 2.0, 0.2325) == pytest.approx(1926.8817204)


@given(
    width=st.integers(1, 200_000),
    height=st.integers(1, 5_000),
    side=st.floats(200, 3_000),
)
def test_tiles_lie_in_the_slide_and_next_to_each_other(
    width: int, height: int, side: float
) -> None:
    coords = tile_grid((width, height), side)
    assert coords.dtype == np.int32
    assert coords.shape == (int(width / side) * int(height / side), 2)
    if len(coords):
        assert (coords >= 0).all()
        assert (coords + side <= np.array([width, height]) + 0.5).all()
        along = np.unique(coords[:, 0])
        assert np.abs(along - np.arange(len(along)) * side).max() <= 0.5  # no drift
        assert coords.tolist() == sorted(coords.tolist(), key=lambda c: (c[1], c[0]))


def test_the_last_whole_tile_counts() -> None:
    for mpp in (0.2325, 0.2468, 0.2527, 0.4991, 0.5016):
        side = tile_px0(224, 2.0, mpp)
        assert len(tile_grid((int(np.ceil(3 * side)), int(np.ceil(2 * side))), side)) == 6
        assert len(tile_grid((int(3 * side) - 1, int(2 * side)), side)) <= 4
    assert len(tile_grid((1792 * 3, 1792), 1792.0)) == 3
    assert tile_grid((100, 100), 1792.0).shape == (0, 2)


@given(
    seed=st.integers(0, 1000),
    side=st.floats(0.3, 60),
    mask_px0=st.floats(0.5, 40),
    x=st.integers(-50, 500),
    y=st.integers(-50, 500),
)
def test_shares_are_exact_areas(seed: int, side: float, mask_px0: float, x: int, y: int) -> None:
    mask = np.random.default_rng(seed).random((11, 7)) < 0.5
    side *= mask_px0
    share = tile_shares(mask, np.array([[x, y]]), side, mask_px0)[0]
    edges = np.arange(12) * mask_px0

    def overlap(start: int, count: int) -> np.ndarray:
        low, high = edges[:count], edges[1 : count + 1]
        return np.clip(np.minimum(high, start + side) - np.maximum(low, start), 0, None)

    area = overlap(y, 11) @ mask.astype(float) @ overlap(x, 7)
    assert share == pytest.approx(area / side**2, abs=1e-6)


def test_shares_of_nothing() -> None:
    assert tile_shares(np.ones((5, 5), bool), np.empty((0, 2), np.int32), 10.0, 2.0).shape == (0,)
    assert tile_shares(np.ones((5, 5), bool), np.array([[0, 0]]), 10.0, 2.0) == [1.0]


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 80), longest=st.integers(1, 9))
def test_strips_hold_every_tile_once_in_rows_without_gaps(seed: int, n: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(-3, 12, (n, 2)) * 10 + rng.integers(0, 2, (n, 2))
    found = strips(corners, 10, longest)
    assert sorted(i for strip in found for i in strip) == list(range(n))
    for strip in found:
        assert 1 <= len(strip) <= longest
        x, y = corners[strip].T
        assert (y == y[0]).all()
        assert ((np.diff(x) >= 0) & (np.diff(x) <= 10)).all()


def test_a_full_row_needs_few_strips() -> None:
    corners = np.stack(np.meshgrid(np.arange(16) * 224, np.arange(3) * 224), axis=-1).reshape(-1, 2)
    found = strips(np.random.default_rng(0).permutation(corners), 224, 8)
    assert [len(strip) for strip in found] == [8] * 6
