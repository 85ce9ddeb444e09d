"""Tell the marrow on an overview from bone, soft tissue, blood, and fat that lies elsewhere."""

import numpy as np
from scipy import ndimage

from ingest.slides.grid import tile_shares
from ingest.slides.tissue import box_sum, glass, odd, opened

NUCLEI = 0.06  # absorbance of red light, which eosin lets through, where cells lie close
PURPLE = 0.27  # of red by that of green: bone 0.02 to 0.25, soft tissue 0.12, marrow 0.35 to 0.8
STAINED = 0.08  # absorbance of green light
PLATE_UM = 40.0  # narrowest pink that is bone, a vessel, blood or connective tissue
NEST_UM = 240.0  # blood-forming cells lie together on this scale
PURE = 0.65  # of what is stained in a nest is purple; of an epithelium less
REACH_UM = 1200.0  # fat so far from all blood-forming cells is not the marrow's
RINGS = 4
BLOCK = 8  # pixels


def marrow_scores(
    overview: np.ndarray,
    mpp: float,
    tissue: np.ndarray,
    coords_px0: np.ndarray,
    tile_px0: float,
    mask_px0: float,
) -> np.ndarray:
    """Share of each tile that is marrow space, its fat included.

    White space cannot show whose it is. So it counts whole beside blood-forming cells and the less
    the further they are, along a way that no bone crosses: little in a fat pad, most in marrow of
    few cells. Made for hematoxylin and eosin.

    The overview is uint8 [h, w, 3], best at 8 to 16 microns per pixel, the tissue bool [h, w] from
    `tissue.masks`, and the rest as in `grid.tile_shares`.

    Returns:
        float16 [N]; NaN where no blood-forming cells are seen on the whole slide.
    """
    rings = marrow_rings(overview, mpp, tissue)
    if not rings:
        return np.full(len(coords_px0), np.nan, np.float16)
    shares = [tile_shares(ring, coords_px0, tile_px0, mask_px0) for ring in rings]
    return np.asarray(np.mean(shares, axis=0), np.float16)


def marrow_rings(overview: np.ndarray, mpp: float, tissue: np.ndarray) -> list[np.ndarray]:
    """Masks of what may be marrow, bool [h, w]: the nests, then ever further; none without one."""
    down, across = (np.flatnonzero(tissue.any(axis=axis)) for axis in (1, 0))
    if not len(down):
        return []
    place = np.s_[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    inside = tissue[place]
    nests, space = _nests(overview[place], mpp, inside, glass(overview))
    free, near = _blocks(space), _blocks(nests)
    if not near.any():
        return []
    rings, step = [], max(1, round(REACH_UM / RINGS / (mpp * BLOCK)))
    for reach in (1, *[step] * (RINGS - 1)):
        near = ndimage.binary_dilation(near, _AROUND, iterations=reach, mask=free | near)
        ring = np.zeros(tissue.shape, bool)
        edge = ndimage.binary_dilation(near, _AROUND)  # blocks that are less than half free
        wide = edge.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        ring[place] = space & wide[: space.shape[0], : space.shape[1]]
        rings.append(ring)
    return rings


_AROUND = np.ones((3, 3), bool)


def _nests(
    rgb: np.ndarray, mpp: float, tissue: np.ndarray, white: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Where blood-forming cells lie close, and what is no plate of bone or the like."""
    red, green = (_absorbance(rgb[..., channel], white[channel]) for channel in (0, 1))
    purple = red > PURPLE * green
    cells = purple & (red > NUCLEI)
    space = tissue & ~opened((green > STAINED) & ~cells, odd(PLATE_UM, mpp))
    window = odd(NEST_UM, mpp)
    near_cells = box_sum(cells, window, "constant")
    near_pink = box_sum(~purple & (green > STAINED), window, "constant")
    # where all marrow is poor in cells, fewer make a nest
    usual = float(np.percentile(near_cells[tissue], 95))
    least = np.clip(0.15 * usual, 0.03 * window**2, 0.15 * window**2)
    return space & (near_cells > least) & (near_cells > PURE * (near_cells + near_pink)), space


def _absorbance(plane: np.ndarray, white: int) -> np.ndarray:
    """Optical density of uint8 [h, w] against the glass, float32."""
    levels = np.clip(np.arange(256) / white, 1 / 255, 1)
    return (-np.log10(levels)).astype(np.float32).take(plane)


def _blocks(mask: np.ndarray) -> np.ndarray:
    """Whether more than half of each block is True; what lies outside is False."""
    height, width = mask.shape
    mask = np.pad(mask, ((0, -height % BLOCK), (0, -width % BLOCK)))
    rows, columns = mask.shape[0] // BLOCK, mask.shape[1] // BLOCK
    counts = mask.reshape(rows, BLOCK, columns, BLOCK).sum(axis=(1, 3))
    return np.asarray(counts > BLOCK**2 / 2)
