"""Draw the kept tiles of Slides on their thumbnails, for a person to check."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from PIL import Image, ImageDraw

from featurestore import FeatureStore
from featurestore.types import Tiling

OUTLINE = (0, 120, 60)


def draw_previews(
    store: FeatureStore, slide_ids: Collection[str], tiling: Tiling, folder: Path
) -> None:
    """Draw one picture a Slide, of those that the catalog has with this Tiling.

    Args:
        store: the store.
        slide_ids: of the Slides.
        tiling: whose tiles are drawn.
        folder: of the pictures, `<slide_id>.png`; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = store.sql(
        "select distinct slides.slide_id, slides.slide_key from slides join embeddings"
        " on embeddings.slide_key = slides.slide_key where embeddings.tiling_id = $tiling",
        {"tiling": tiling.tiling_id},
    )
    for slide_id, slide_key in found.iter_rows():
        if slide_id in slide_ids:
            draw_preview(store, slide_key, tiling, folder / f"{slide_id}.png")


def draw_preview(store: FeatureStore, slide_key: str, tiling: Tiling, path: Path) -> None:
    """Write one picture of a Slide in the store, with its kept tiles outlined.

    Args:
        store: the store.
        slide_key: of the Slide.
        tiling: whose tiles are drawn.
        path: of the picture; its suffix decides the format.
    """
    about = store.slide_attributes(slide_key)
    picture = Image.fromarray(store.thumbnail(slide_key))
    scale = picture.width / about["size_px0"][0]
    side = tiling.tile_um / about["mpp"] * scale
    pen = ImageDraw.Draw(picture)
    for x, y in store.tiles(slide_key, tiling.tiling_id)["coords"] * scale:
        pen.rectangle((x, y, x + side, y + side), outline=OUTLINE)
    picture.save(path)
