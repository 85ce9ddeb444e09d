"""Small slides, written so that every pixel is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import tifffile
from PIL import Image

from ingest.slides.reader import SlideReader
from ingest.synthetic import archive as synthetic

BICUBIC = Image.Resampling.BICUBIC


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


def write_svs(
    path: Path,
    image: np.ndarray,
    *,
    mpp: float | None,
    level_sizes: Sequence[tuple[int, int]] | None = None,
) -> None:
    """An SVS of level 0, uint8 (h, w, 3), and of its further levels, each of them resized."""
    height, width = image.shape[:2]
    if level_sizes is None:
        level_sizes = [(round(width / down), round(height / down)) for down in synthetic.LEVELS[1:]]
    levels = [
        (size, synthetic.resized_tiles(image, size)) for size in ((width, height), *level_sizes)
    ]
    synthetic.write_svs(path, levels, lambda: image[::16, ::16], mpp=mpp, scanner="synthetic")


def jpeg_tiles(level: np.ndarray, side: int, subsampling: str) -> Iterator[bytes]:
    """The JPEG tiles of a level; those at its edges repeat it."""
    for y in range(0, level.shape[0], side):
        for x in range(0, level.shape[1], side):
            part = level[y : y + side, x : x + side]
            rest = [(0, side - part.shape[0]), (0, side - part.shape[1]), (0, 0)]
            tile = np.ascontiguousarray(np.pad(part, rest, mode="edge"))
            yield simplejpeg.encode_jpeg(tile, quality=97, colorsubsampling=subsampling)


def speckle(height: int, width: int) -> list[np.ndarray]:
    """Random blots, and the same averaged over 4 x 4 pixels."""
    grains = np.random.default_rng(0).integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    base = np.kron(grains, np.ones((20, 20, 1), np.uint8))
    small = base.reshape(height // 4, 4, width // 4, 4, 3).mean((1, 3)).round().astype(np.uint8)
    return [base, small]


def read_all(reader: SlideReader, coords: np.ndarray, tile_px: int, tile_mpp: float) -> np.ndarray:
    """Tiles in the order of their coords."""
    out = np.zeros((len(coords), tile_px, tile_px, 3), np.uint8)
    seen: list[int] = []
    for rows, tiles in reader.read_tiles(coords, tile_px, tile_mpp):
        out[rows] = tiles
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(coords)))
    return out


def stained(
    height: int, width: int, *, glass: tuple[int, int, int] = (243, 241, 244), seed: int = 0
) -> np.ndarray:
    """A stained piece in the middle of even glass, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    small = rng.normal(size=(max(height // 16, 2), max(width // 16, 2), 3)).astype(np.float32)
    blots = np.stack(
        [
            np.asarray(Image.fromarray(small[..., k]).resize((width, height), BICUBIC))
            for k in range(3)
        ],
        axis=2,
    )
    y, x = np.mgrid[:height, :width]
    inside = (x / width - 0.5) ** 2 + (y / height - 0.5) ** 2 < 0.4**2
    pixels = np.where(inside[..., None], (190, 120, 170) + 25 * blots, glass)
    return np.clip(pixels, 0, 255).astype(np.uint8)
