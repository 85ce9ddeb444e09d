"""Grid arithmetic: where the tiles of a Slide lie, and how they group into reads."""

import itertools

import numpy as np
from scipy import ndimage


def tile_px0(tiling_px: int, tile_mpp: float, mpp: float) -> float:
    """Side of a tile in level-0 pixels of a slide with the given mpp; seldom whole."""
    return tiling_px * tile_mpp / mpp


def tile_grid(size_px0: tuple[int, int], tile_px0: float) -> np.ndarray:
    """Corners of the whole tiles on a slide, int32 (N, 2), columns (x, y), row by row; N may be 0.

    All in level-0 pixels; the slide is (width, height), a tile's side need not be whole. Corner k
    along an axis is ``round(k * tile_px0)``: rounded once, so nothing drifts.
    """
    columns, rows = (int(side / tile_px0 + 1e-9) for side in size_px0)
    x = np.rint(np.arange(columns) * tile_px0).astype(np.int32)
    y = np.rint(np.arange(rows) * tile_px0).astype(np.int32)
    return np.stack([np.tile(x, rows), np.repeat(y, columns)], axis=1)


def tile_shares(
    mask: np.ndarray, coords_px0: np.ndarray, tile_px0: float, mask_px0: float
) -> np.ndarray:
    """Share of each tile that a mask covers, by exact area, float64 (N,) in 0 to 1.

    The mask is bool [h, w], its corner the slide's and a pixel of it ``mask_px0`` wide; the tiles'
    corners are (N, 2), columns (x, y). What lies outside the mask counts as not covered.
    """
    corners = np.asarray(coords_px0, np.float64).reshape(-1, 2) / mask_px0
    side = tile_px0 / mask_px0
    down, across = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(down):
        return np.zeros(len(corners))
    corners -= (across[0], down[0])  # empty glass around the rest is not summed
    mask = mask[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    total = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    mask.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, out=total[1:, 1:])
    left, top = corners.T
    covered = 0.0
    ends = itertools.product((top, top + side), (left, left + side))
    for (y, x), sign in zip(ends, (1, -1, -1, 1), strict=True):
        # straight lines between the entries of a summed-area table are exact
        sums = ndimage.map_coordinates(total, (y, x), np.float64, order=1, mode="nearest")
        covered = covered + sign * sums
    return np.asarray(np.clip(covered / side**2, 0.0, 1.0))


def strips(corners_px: np.ndarray, tile_px: int, longest: int) -> list[np.ndarray]:
    """Group tiles into strips of neighbours, so that one read serves many tiles.

    Strips of one column of the slide follow each other from top to bottom: what a strip leaves half
    read of the file's own tiles, the next one still finds in the reader's cache.

    Corners are int [N, 2], columns (x, y), in pixels of the tiles' own scale. Gives their indices,
    one array a strip of at most so many, each once; tiles of a strip share y, ascend in x and leave
    no gap.
    """
    if not len(corners_px):
        return []
    x, y = corners_px[:, 0], corners_px[:, 1]
    column = (x - x.min()) // (tile_px * longest)
    order = np.lexsort((x, y, column))
    steps = np.diff(np.stack([column, y, x])[:, order])
    breaks = (steps[0] != 0) | (steps[1] != 0) | (steps[2] > tile_px)
    runs = np.split(order, np.flatnonzero(breaks) + 1)
    return [run[i : i + longest] for run in runs for i in range(0, len(run), longest)]
