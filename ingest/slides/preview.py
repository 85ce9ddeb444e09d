"""Draw the kept tiles of a Slide on its thumbnail, for a person to check."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from featurestore import arrays
from featurestore.types import Tiling

OUTLINE = (0, 120, 60)


def draw_preview(root: Path, slide_key: str, tiling: Tiling, path: Path) -> None:
    """Write one picture of a Slide in the store, with its kept tiles outlined.

    Args:
        root: the store.
        slide_key: of the Slide.
        tiling: whose tiles are drawn.
        path: of the picture; its suffix decides the format.
    """
    about = arrays.attributes(root, slide_key)
    picture = Image.fromarray(arrays.read_thumbnail(root, slide_key))
    scale = picture.width / about["size_px0"][0]
    side = tiling.tile_um / about["mpp"] * scale
    pen = ImageDraw.Draw(picture)
    for x, y in arrays.read_tiles(root, slide_key, tiling.tiling_id)["coords"] * scale:
        pen.rectangle((x, y, x + side, y + side), outline=OUTLINE)
    picture.save(path)
