"""Overviews of drawn marrow, without a file between."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from PIL import Image

from ingest.synthetic.marrow import Scene
from ingest.synthetic.textures import Textures


@cache
def textures() -> Textures:
    """What synthetic marrow is drawn from; seconds to make, so made once."""
    return Textures(0)


def overview_of(scene: Scene, shrink: int = 16) -> np.ndarray:
    """The whole scene, shrunk by area, uint8 [h, w, 3]."""
    width, height = scene.size_px
    drawn = np.empty((height, width), np.uint32)
    for y, x in product(range(0, height, 256), range(0, width, 256)):
        drawn[y : y + 256, x : x + 256] = scene.draw(x, y, 256, 256)
    drawn = drawn.view(np.uint8).reshape(height, width, 4)
    return np.asarray(Image.fromarray(drawn[..., :3].copy()).reduce(shrink))
