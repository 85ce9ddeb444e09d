"""Choose the tiles of an open Slide: grid, tissue filter, scores and slide-level quality."""

from dataclasses import dataclass

import numpy as np

from featurestore.types import Tiling
from ingest.slides import tissue
from ingest.slides.grid import tile_grid, tile_px0, tile_shares
from ingest.slides.marrow import marrow_scores
from ingest.slides.reader import SlideReader

BLACK = 40  # grey level; an overview pixel under it is border or ink


@dataclass(frozen=True, kw_only=True)
class FoundTiles:
    """The kept tiles of a Slide, row by row, and what its overview shows."""

    coords: np.ndarray  # int32 (N, 2), level-0 corners
    tissue: np.ndarray  # float16 (N,), share of the tile
    pen: np.ndarray  # float16 (N,), share of the tile
    marrow: np.ndarray  # float16 (N,), share of the tile; NaN where unknown
    blur: np.ndarray  # float16 (N,), 0: it follows with the pixels
    tissue_mm2: float
    black_share: float  # of the overview
    why_none: str  # why no tile was kept, empty where some were


def find_tiles(reader: SlideReader, tiling: Tiling) -> FoundTiles:
    """Lay the grid over a Slide and keep the tiles with enough tissue; raises as the reader."""
    reader.require_mpp(tiling.tile_mpp)
    overview, mpp = reader.overview()
    masks = tissue.masks(overview, mpp)
    side = tile_px0(tiling.tile_px, tiling.tile_mpp, reader.mpp)
    pixel = mpp / reader.mpp
    coords = tile_grid(reader.size_px0, side)
    shares = tile_shares(masks.tissue, coords, side, pixel).astype(np.float16)
    kept = (shares >= tiling.min_tissue) & (shares > 0)
    why_none = ""
    if not len(coords):
        why_none = f"it is smaller than one tile of {tiling.tile_um:g} microns"
    elif not tissue.is_bright_field(overview):
        why_none = "it is dark: fluorescence, or a stain that a bright-field filter cannot judge"
    elif not kept.any():
        why_none = "no tissue was found on it"
    coords = coords[kept]
    return FoundTiles(
        coords=coords,
        tissue=shares[kept],
        pen=tile_shares(masks.pen, coords, side, pixel).astype(np.float16),
        marrow=marrow_scores(overview, mpp, masks.tissue, coords, side, pixel),
        blur=np.zeros(len(coords), np.float16),
        tissue_mm2=float(masks.tissue.sum()) * mpp**2 / 1e6,
        black_share=float((overview[::8, ::8] < BLACK).all(axis=2).mean()),
        why_none=why_none,
    )
