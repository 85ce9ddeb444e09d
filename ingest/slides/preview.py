"""Draw the kept tiles of Slides on their thumbnails, for a person to check."""

from collections.abc import Collection
from pathlib import Path

from PIL import Image, ImageDraw

from featurestore import FeatureStore
from featurestore.errors import write_beside
from featurestore.types import Tiling

OUTLINE = (0, 120, 60)


def draw_previews(
    store: FeatureStore, paths: Collection[str], tiling: Tiling, folder: Path
) -> None:
    """Draw a picture a Slide of these paths and this Tiling, by slide_key: an id may be `../x`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = store.ask(
        "select distinct slides.path, slides.slide_key from slides join embeddings"
        " on embeddings.slide_key = slides.slide_key where embeddings.tiling_id = $tiling",
        {"tiling": tiling.tiling_id},
    )
    for slide_key in {key for path, key in found.iter_rows() if path in paths}:
        about = store.slide_attributes(slide_key)
        picture = Image.fromarray(store.thumbnail(slide_key))
        scale = picture.width / about["size_px0"][0]
        side = tiling.tile_um / about["mpp"] * scale
        pen = ImageDraw.Draw(picture)
        for x, y in store.tiles(slide_key, tiling.tiling_id)["coords"] * scale:
            pen.rectangle((x, y, x + side, y + side), outline=OUTLINE)
        with write_beside(folder / f"{slide_key}.png") as file:
            picture.save(file, format="png")
