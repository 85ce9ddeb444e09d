"""Show a level of a Slide at another scale, each pixel the mean of what it covers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image


def whole_box(pitch: float) -> int:
    """Whole pixels to average first; what is left of the pitch lies at 0.88 to 1.75."""
    return max(1, round(pitch - 0.25))


class Canvas:
    """The whole slide at one scale: output pixel j averages [j, j + 1) times the pitch.

    For one thread.

    Args:
        read: pixels of a rectangle of a level, uint8 [height, width, 3].
        pitch_x: pixels of that level per output pixel.
        pitch_y: the same down.
    """

    def __init__(
        self, read: Callable[[int, int, int, int], np.ndarray], pitch_x: float, pitch_y: float
    ) -> None:
        self._read, self._pitch = read, (pitch_x, pitch_y)

    def fetch(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle, uint8 [height, width, 3]; beyond the slide its edge goes on."""
        if self._pitch == (1, 1):
            return self._read(x, y, width, height)
        edges = []  # per axis: first and last level pixel in whole boxes, box, rest of the pitch
        for start, length, pitch in zip((x, y), (width, height), self._pitch, strict=True):
            box = whole_box(pitch)
            first = math.floor(start * pitch / box)
            last = math.ceil((start + length) * pitch / box) + 1
            edges.append((first * box, last * box, box, start * pitch / box - first, pitch / box))
        (left, right, box_x, at_x, rest_x), (top, bottom, box_y, at_y, rest_y) = edges
        block = Image.fromarray(self._read(left, top, right - left, bottom - top))
        if box_x > 1 or box_y > 1:
            block = block.reduce((box_x, box_y))
        frame = (at_x, at_y, at_x + width * rest_x, at_y + height * rest_y)
        return np.asarray(block.resize((width, height), Image.Resampling.BILINEAR, box=frame))
