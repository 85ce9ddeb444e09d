"""Show a level of a Slide at another scale, each pixel the mean of what it covers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pyvips
from PIL import Image

from featurestore.errors import SlideUnreadable


class Canvas(Protocol):
    """The whole slide at one scale. Pixel j spans [j, j + 1) times the pitch. For one thread."""

    def fetch(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle, uint8 [height, width, 3]; white or repeated beyond the edge."""


class VipsCanvas:
    """Shrinks an image of libvips."""

    def __init__(self, level: Any, pitch_x: float, pitch_y: float):
        if level.hasalpha():
            level = level.flatten(background=255)
        self._image = _scaled(level, pitch_x, pitch_y)
        self._region = pyvips.Region.new(self._image)

    def fetch(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle."""
        # the canvas is a little larger than the slide, so only absurd corners lie outside it
        if x < 0 or y < 0 or x + width > self._image.width or y + height > self._image.height:
            raise SlideUnreadable(
                f"a tile at ({x}, {y}) px lies outside the slide of "
                f"{self._image.width} x {self._image.height} px"
            )
        pixels = np.frombuffer(self._region.fetch(x, y, width, height), np.uint8)
        return pixels.reshape(height, width, 3)


def _scaled(image: Any, pitch_x: float, pitch_y: float) -> Any:
    """Shrink an image so that output pixel j averages exactly input [j, j + 1) times the pitch.

    libvips rounds the output size and spreads what is left over both edges, which would shift every
    pixel. So the image is first extended to where its size is a multiple of the pitch.
    """
    box_x, box_y = whole_box(pitch_x), whole_box(pitch_y)
    rest_x, rest_y = pitch_x / box_x, pitch_y / box_y
    width, height = _even(image.width / box_x, rest_x), _even(image.height / box_y, rest_y)
    image = image.embed(0, 0, width * box_x, height * box_y, extend="copy")
    if box_x > 1 or box_y > 1:
        image = image.shrink(box_x, box_y)
    if rest_x == rest_y == 1:
        return image
    if rest_x >= 1 and rest_y >= 1:
        return image.reduce(rest_x, rest_y, kernel="linear")
    return image.affine(
        [1 / rest_x, 0, 0, 1 / rest_y],
        interpolate=pyvips.Interpolate.new("bilinear"),
        idx=0.5 - 0.5 * rest_x,
        idy=0.5 - 0.5 * rest_y,
        oarea=[0, 0, round(width / rest_x), round(height / rest_y)],
        extend="copy",
    )


def whole_box(pitch: float) -> int:
    """Whole pixels to average first; what is left of the pitch lies at 0.88 to 1.75."""
    return max(1, round(pitch - 0.25))


def _even(size: float, pitch: float) -> int:
    """A whole number a little over ``size`` that is a multiple of the pitch to 0.01 pixels."""
    counts = np.arange(math.ceil(size / pitch) + 8, math.ceil(size / pitch) + 520)
    errors = np.abs(counts * pitch - np.rint(counts * pitch))
    return round(counts[np.argmax(errors <= max(0.005, errors.min()))] * pitch)


class BlockCanvas:
    """Shrinks blocks of pixels, so that output pixel j averages [j, j + 1) times the pitch.

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
        """Pixels of a rectangle."""
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
