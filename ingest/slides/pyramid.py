"""What the levels of a Slide have in common: one picture, on one glass, shown at any scale."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

Size = tuple[int, int]
Read = Callable[[int, int, int, int], np.ndarray]
"""x, y, width, height to pixels, uint8 [height, width, 3]; beyond a slide its edge goes on."""
Peek = Callable[[int, int, int, int], tuple[np.ndarray, np.ndarray]]
"""Of a level: x, y, width, height to pixels, uint8 [h, w, 3], and which are stored, bool [h, w]."""


class Picture(NamedTuple):
    """A level to be looked at."""

    peek: Peek
    size_px: Size


WINDOW = 64  # pixels
ACROSS = 6  # windows to look through, each way
TELLING = 6  # windows with most in them, which are compared
BLOCKS = 8  # a window is compared as so many means each way: how it was shrunk does not matter
CLUSTER = 32  # grey levels, of three channels together, under the brightest that still are glass
OVER = 3  # grey levels over glass that its noise has


def is_coarser(level: Size, base: Size) -> bool:
    """Whether a picture may be another one at a coarser scale, by its size."""
    across, down = base[0] / level[0], base[1] / level[1]
    return across >= 1.5 and abs(across - down) / across < 0.005 + 1.5 / min(level)


def same_picture(fine: Picture, coarse: Picture, places: Iterable[Size] = ()) -> bool:
    """Whether a picture is another one at a coarser scale, by what it shows at some places of it.

    Without places it is searched for what is telling. Means of a few blocks may differ by little,
    against how they differ among each other. What cannot be decoded is not compared: it is refused
    when it is asked for. A coarser picture of whole pixels that was cut off at its end, or filled
    up, shows less or more than the other, and would be stretched over it: it is none.
    """
    seen = []
    for window in _around(places, coarse.size_px) or _windows(coarse.size_px):
        pixels, stored = _tried(coarse, *window)
        if stored.all():
            seen.append((float(pixels.std(axis=(0, 1)).sum()), window[:2], pixels))
    telling = sorted(seen, key=lambda item: -item[0])[:TELLING]
    sizes = list(zip(fine.size_px, coarse.size_px, strict=True))
    across, down = (n / k for n, k in sizes)
    apart, content = _apart(fine, telling, (across, down))
    # level 0 shrunk anyhow: under 2 levels of 35; another scene of the same outline: 7 to 9
    if apart >= 2.5 + 0.1 * content:
        return False
    whole = round(across)
    rest = max(abs(n - k * whole) / whole for n, k in sizes)
    return rest <= 1 or apart <= _apart(fine, telling, (whole, whole))[0]


def _apart(
    fine: Picture, telling: Sequence[tuple[float, Size, np.ndarray]], scale: tuple[float, float]
) -> tuple[float, float]:
    """How far windows of a coarser picture are from the finer one, and how much is to be seen."""
    ours, theirs = [], []
    for _, (x, y), pixels in telling:
        height, width = pixels.shape[:2]
        left, right = round(x * scale[0]), min(round((x + width) * scale[0]), fine.size_px[0])
        top, bottom = round(y * scale[1]), min(round((y + height) * scale[1]), fine.size_px[1])
        if right <= left or bottom <= top:
            continue
        below, stored = _tried(fine, left, top, right - left, bottom - top)
        if stored.all():
            ours.append(_means(pixels))
            theirs.append(_means(below))
    if not ours:
        return 0.0, 0.0
    shown, finer = np.stack(ours), np.stack(theirs)
    content = np.abs(finer - finer.mean(axis=(0, 1, 2))).mean()
    return float(np.abs(shown - finer).mean()), float(content)


@dataclass(frozen=True, kw_only=True)
class Glass:
    """What a slide shows where nothing is stored."""

    colour: np.ndarray  # uint8 [3]
    is_bright: bool  # bright field: nothing is brighter than bare glass

    def fill(self, pixels: np.ndarray) -> np.ndarray:
        """Take for glass what is brighter than it, uint8 [h, w, 3].

        Scanners paint what is not stored white on the coarser levels. White beside tinted glass
        would be the glass, and the glass a stain.
        """
        if not self.is_bright or (self.colour >= 255 - OVER).all():
            return pixels
        painted = np.asarray((pixels > self.colour + OVER).all(axis=2))
        return np.where(painted[..., None], self.colour, pixels) if painted.any() else pixels


def has_gaps(level: Picture) -> bool:
    """Whether some of a level is not stored, as far as a look here and there tells."""
    places = _windows(level.size_px, 12)
    return any(not _tried(level, x, y, 8, 8)[1].all() for x, y, _, _ in places)


def find_glass(level_0: Picture) -> Glass:
    """The glass of a slide, by the brightest of level 0 that is stored."""
    found = []
    for window in _windows(level_0.size_px, 24):
        pixels, stored = _tried(level_0, *window)
        found.append(pixels[stored])
    pixels = np.concatenate(found)
    if not len(pixels):
        return Glass(colour=np.full(3, 255, np.uint8), is_bright=False)
    light = pixels.sum(axis=1, dtype=np.int32)
    glass = np.median(pixels[light >= np.percentile(light, 99) - CLUSTER], axis=0)
    is_bright = bool(glass.min() >= 128)
    colour = glass if is_bright else np.median(pixels, axis=0)
    return Glass(colour=np.rint(colour).astype(np.uint8), is_bright=is_bright)


def _windows(size_px: Size, count: int = ACROSS) -> Iterator[tuple[int, int, int, int]]:
    """x, y, width and height of windows spread over a picture."""
    width, height = (min(WINDOW, side) for side in size_px)
    xs, ys = (
        np.unique(np.linspace(0, side - window, min(count, -(-side // window))).astype(int))
        for side, window in zip(size_px, (width, height), strict=True)
    )
    return ((x, y, width, height) for y in ys.tolist() for x in xs.tolist())


def _around(places: Iterable[Size], size_px: Size) -> list[tuple[int, int, int, int]]:
    width, height = (min(WINDOW, side) for side in size_px)
    right, low = size_px[0] - width, size_px[1] - height
    corners = ((x - width // 2, y - height // 2) for x, y in places)
    return [(min(max(x, 0), right), min(max(y, 0), low), width, height) for x, y in corners]


def _tried(at: Picture, x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, and which are stored: none of what cannot be decoded."""
    try:
        return at.peek(x, y, width, height)
    except (ValueError, OSError):
        return np.zeros((height, width, 3), np.uint8), np.zeros((height, width), bool)


def _means(pixels: np.ndarray) -> np.ndarray:
    """Means of a few blocks, float [blocks, blocks, 3]."""
    small = Image.fromarray(pixels).resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
    return np.asarray(small, np.float64)


def whole_box(pitch: float) -> int:
    """Whole pixels to average first; what is left of the pitch lies at 0.88 to 1.75."""
    return max(1, round(pitch - 0.25))


def shrunk(read: Read, pitch_x: float, pitch_y: float) -> Read:
    """The whole slide at one scale: output pixel j averages [j, j + 1) times the pitch.

    It reads a level, of which a pitch is the pixels per output pixel. For one thread.
    """

    def fetch(x: int, y: int, width: int, height: int) -> np.ndarray:
        edges = []  # per axis: first and last level pixel in whole boxes, box, rest of the pitch
        for start, length, pitch in ((x, width, pitch_x), (y, height, pitch_y)):
            box = whole_box(pitch)
            first = math.floor(start * pitch / box)
            last = math.ceil((start + length) * pitch / box) + 1
            edges.append((first * box, last * box, box, start * pitch / box - first, pitch / box))
        (left, right, box_x, at_x, rest_x), (top, bottom, box_y, at_y, rest_y) = edges
        block = Image.fromarray(read(left, top, right - left, bottom - top))
        if box_x > 1 or box_y > 1:
            block = block.reduce((box_x, box_y))
        frame = (at_x, at_y, at_x + width * rest_x, at_y + height * rest_y)
        return np.asarray(block.resize((width, height), Image.Resampling.BILINEAR, box=frame))

    return read if (pitch_x, pitch_y) == (1, 1) else fetch
