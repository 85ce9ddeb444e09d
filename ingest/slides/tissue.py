"""Find the tissue on a bright-field slide: HSV background filter and per-tile scores."""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from scipy import ndimage

FAT_UM = 160.0  # widest white space that counts as fat: a cell of 120 microns, or two torn ones
SPECK_UM = 40.0  # dust is narrower, a piece of tissue that stands alone is not
STROKE_UM = 80.0  # narrowest stroke of a pen
WALL = 4  # grey levels by which a wall is darker than what is around it
FAINT = 10  # grey levels; a lower edge may be noise
ENOUGH = 3000  # places looked at for edges, in each direction
FEW_EDGES = 30  # fewer in a tile do not tell its focus
DARK = 90  # grey level under which ink may be black
REACH_UM = 500.0  # no filter looks further: two windows, fat, a speck, and four half strokes
BLOCK = 16  # pixels
DENSE_UM = 104.0  # a window on the scale of a fat cell: lace of cell walls fills it, dust does not


class Masks(NamedTuple):
    """What lies where on an overview of a slide; bool [h, w] each."""

    tissue: np.ndarray  # glass, pen ink and black borders are False; so is all of a dark field
    pen: np.ndarray  # red, green, blue and black ink


def masks(rgb: np.ndarray, mpp: float) -> Masks:
    """Mark the tissue and the ink on an overview; fat cells inside the marrow are tissue.

    The work grows with what lies on the glass, not with the glass: a piece of even, bright field
    is neither, and what is further from it than any filter reaches cannot change it.
    The picture is uint8 [h, w, 3], best at 8 to 16 microns per pixel.
    """
    found = Masks(*np.zeros((2, *rgb.shape[:2]), bool))
    if not rgb.size:
        return found
    balance = white_balance(rgb) if is_bright_field(rgb) else None
    for place, zone in busy_zones(rgb, balance, math.ceil(REACH_UM / mpp)):
        piece = rgb[place]
        ink = ink_mask(piece, mpp)
        found.pen[place][zone] = ink[zone]
        if balance is not None:
            found.tissue[place][zone] = tissue_mask(piece, mpp, balance, ink)[zone]
    return found


def tissue_mask(
    rgb: np.ndarray, mpp: float, balance: list[np.ndarray], ink: np.ndarray
) -> np.ndarray:
    """Where stain is, by colour and grain against the glass; bool of the picture's shape."""
    planes = [table.take(plane) for table, plane in zip(balance, _planes(rgb), strict=True)]
    top, low = _extremes(planes)
    coloured = top - low > _COLOURED.take(top)
    # walls of fat cells have next to no colour at this scale, but are darker than what they enclose
    window = odd(DENSE_UM, mpp)
    wall = box_sum(low, window, "edge") > (low.astype(np.int32) + WALL) * window**2
    stained = (coloured | wall) & (top > 51) & ~ink
    stained &= box_sum(stained, window, "constant") > 0.08 * window**2
    # closed before opened: the walls between fat cells are thinner than dust
    return np.asarray(opened(closed(stained, odd(FAT_UM, mpp)), odd(SPECK_UM, mpp)) & ~ink)


def ink_mask(rgb: np.ndarray, mpp: float) -> np.ndarray:
    """Wide areas that no routine stain colours so.

    The pale rim of a stroke looks like eosin, so ink reaches a stroke's width beyond its core.
    """
    red, green, _ = planes = _planes(rgb)
    top, low = _extremes(planes)
    # hue is dear: it is asked for only where it can matter, and bounds are a little wide
    cool = (red - np.minimum(red, green) <= 9) & (top - low > _CALM.take(top))
    core, black, rim = (np.zeros(rgb.shape[:2], bool) for _ in range(3))
    maybe = cool | (top - low > _VIVID.take(top))
    hue, saturation, value = hsv(rgb[maybe])
    reds = ((hue < 18) | (hue > 350)) & (saturation > 0.6) & (value > 0.3)
    greens = (hue > 75) & (hue < 190) & (saturation > 0.3)
    blues = (hue >= 190) & (hue < 242) & (saturation > 0.45)
    core[maybe] = (reds | greens | blues) & (value > 0.16)
    dark = top < DARK
    black[dark] = (top[dark] < 41) | (low[dark] > 0.75 * top[dark])  # dark nuclei are purple
    stroke = odd(STROKE_UM, mpp)
    core, black = opened(core, stroke), opened(black, stroke)
    if core.any():
        around = grown(core, odd(2 * STROKE_UM, mpp)) & (top - low > _HUED.take(top))
        hue, _, _ = hsv(rgb[around])
        rim[around] = (hue < 25) | (hue > 340) | ((hue > 75) & (hue < 242))
    return core | rim | black


def busy_zones(
    rgb: np.ndarray, balance: list[np.ndarray] | None, reach: int
) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Pieces of an overview that hold all that may be tissue or ink, and all within reach of it.

    Without a `white_balance` everything may be something.

    Yields:
        Places, and which of their pixels are nearer to their own content than to another's,
        bool [h, w]; pixels of no zone are even, bright field.
    """
    busy = np.ones([-(-side // BLOCK) for side in rgb.shape[:2]], bool)
    if balance is not None:
        low, high = (_block_extremes(rgb, extreme) for extreme in (np.minimum, np.maximum))
        busy = (low.min(2) < DARK) | (high.max(2) - low.min(2) > _HUED.take(low.min(2)))
        low, high = (
            np.stack([table.take(side[..., c]) for c, table in enumerate(balance)], axis=2)
            for side in (low, high)
        )
        darkest = low.min(2)
        busy |= high.max(2) - darkest > _COLOURED.take(darkest)
        brightest = ndimage.maximum_filter(high.min(2), 3)
        busy |= brightest.astype(int) - darkest > WALL
    near = ndimage.binary_dilation(busy, np.ones((3, 3)), iterations=-(-reach // BLOCK))
    labels, _ = ndimage.label(near, np.ones((3, 3)))
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        zone = (labels[place] == number).repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        down, across = (slice(side.start * BLOCK, side.stop * BLOCK) for side in place)
        piece = rgb[down, across]
        yield (down, across), zone[: len(piece), : piece.shape[1]]


def _block_extremes(rgb: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Smallest or largest values of each block and channel, uint8 [rows, columns, 3]."""
    height, width = rgb.shape[:2]
    whole = np.pad(rgb, ((0, -height % BLOCK), (0, 0), (0, 0)), mode="edge")
    rows = extreme.reduce(whole.reshape(-1, BLOCK, 3 * width), axis=1)
    return extreme.reduceat(rows.reshape(-1, width, 3), np.arange(0, width, BLOCK), axis=1)


def is_bright_field(rgb: np.ndarray) -> bool:
    """Whether some of the picture is as bright as glass or fat; fluorescence is not."""
    return bool(rgb.size) and _brightest(_extremes(_planes(_sample(rgb)))[1]) >= 128


def blur_scores(tiles: np.ndarray) -> np.ndarray:
    """How far out of focus each tile is: 0 sharp, 1 blurred; from uint8 [k, n, n, 3], float16 [k].

    Only edges are judged, and each by its own height: how much of the rise over seven pixels lies
    in the steepest one. So neither how many cells there are nor how dark they are decides. At 2
    microns per pixel that is 0.54 on real tissue in focus, 0.44 after a defocus (Gaussian) of 1
    micron, 0.32 after 2. A tile with few edges is not judged and counts as sharp.
    """
    blurred = [(0.62 - _steepness(tile)) / 0.39 for tile in tiles]
    return np.asarray(np.clip(blurred, 0, 1), np.float16)


def _steepness(tile: np.ndarray) -> float:
    """Share of its edges' height that the steepest of seven steps takes, 1 where edges are few."""
    red, green, blue = _planes(tile)
    grey = 2 * green.astype(np.int16) + red + blue  # four times the luma
    steepest = height = count = 0
    for lines in (grey[::2], np.ascontiguousarray(grey[:, ::2].T)):
        rise = np.abs(lines[:, 7:] - lines[:, :-7])
        some = np.bincount(rise[::4].ravel())
        highest = int(np.searchsorted(some.cumsum(), 0.99 * some.sum()))
        at = np.flatnonzero(rise > max(highest // 2, 4 * FAINT))
        at = at[:: len(at) // ENOUGH + 1]
        row, column = np.divmod(at, max(rise.shape[1], 1))
        profile = np.stack([lines[row, column + step] for step in range(8)])
        steps = np.abs(np.diff(profile, axis=0))
        steep, rises = steps[1:6].max(axis=0), np.abs(profile[7] - profile[0])
        # an edge on its own, as no neighbour may make it look sharper: few steps lead back
        edge = (steep >= np.maximum(steps[0], steps[6])) & (5 * rises >= 4 * steps.sum(axis=0))
        count += int(np.count_nonzero(edge))
        steepest, height = steepest + int(steep[edge].sum()), height + int(rises[edge].sum())
    return steepest / height if count >= FEW_EDGES else 1.0


def hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hue in degrees, saturation and value in 0 to 1, float32 [...], of uint8 [..., 3]."""
    red, green, blue = (rgb[..., channel].astype(np.float32) for channel in range(3))
    top = np.maximum(np.maximum(red, green), blue)
    span = top - np.minimum(np.minimum(red, green), blue)
    sixth = np.float32(60) / np.maximum(span, np.float32(1e-6))
    hue = np.where(top == red, (green - blue) * sixth, (blue - red) * sixth + 120)
    hue = np.where((top == blue) & (top > red) & (top > green), (red - green) * sixth + 240, hue)
    hue += np.float32(360) * (hue < 0)
    return hue, span / np.maximum(top, np.float32(1e-6)), top / np.float32(255)


_LEVELS = np.arange(256)
_COLOURED, _HUED, _CALM, _VIVID = (  # saturations, as differences of channels
    (share * _LEVELS).astype(np.uint8) for share in (0.055, 0.12, 0.28, 0.58)
)


def _planes(rgb: np.ndarray) -> list[np.ndarray]:
    """The three channels, each contiguous: 20 times faster to compare."""
    return [np.ascontiguousarray(rgb[..., channel]) for channel in range(3)]


def _extremes(planes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Largest and smallest channel, uint8 [h, w]."""
    red, green, blue = planes
    return np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)


def white_balance(rgb: np.ndarray) -> list[np.ndarray]:
    """Tables that scale each channel so that the glass is white: scanners tint it."""
    return [np.minimum(_LEVELS * (255 / level), 255).astype(np.uint8) for level in glass(rgb)]


def glass(rgb: np.ndarray) -> list[int]:
    """Grey levels of bare glass in the three channels of an overview, at least 180."""
    return [max(_brightest(plane), 180) for plane in _planes(_sample(rgb))]


def _brightest(plane: np.ndarray) -> int:
    """The grey level that 99% of a uint8 plane are at or under."""
    return int(np.quantile(plane, 0.99, method="inverted_cdf"))


def _sample(rgb: np.ndarray) -> np.ndarray:
    """Some 100,000 pixels, which will do for a percentile."""
    step = max(1, round((rgb.size / 300_000) ** 0.5))
    return rgb[::step, ::step]


def odd(width_um: float, mpp: float) -> int:
    """Nearest odd number of pixels, at least 1."""
    return max(1, 2 * round((width_um / mpp - 1) / 2) + 1)


def box_sum(values: np.ndarray, width: int, mode: Literal["constant", "edge"]) -> np.ndarray:
    """Sum over the square of the given odd width around each pixel; beyond the edge by the mode."""
    half = width // 2
    total = np.pad(values.astype(np.int32), half, mode=mode)
    for axis in (0, 1):
        total = np.moveaxis(total, axis, 0)
        sums = np.zeros((len(total) + 1, *total.shape[1:]), np.int32)
        total.cumsum(axis=0, out=sums[1:])
        total = np.moveaxis(sums[width:] - sums[:-width], 0, axis)
    return total


def grown(mask: np.ndarray, width: int) -> np.ndarray:
    """Whether any pixel is True in the square of the given odd width around each pixel."""
    half = width // 2
    out = np.pad(mask, half)
    for axis in (0, 1):
        out = np.moveaxis(out, axis, 0)
        reach = 1
        while reach < width:
            step = min(reach, width - reach)
            out = out[: len(out) - step] | out[step:]
            reach += step
        out = np.moveaxis(out, 0, axis)
    return out


def opened(mask: np.ndarray, width: int) -> np.ndarray:
    """Take away what is narrower than the width."""
    return grown(~grown(~mask, width), width)


def closed(mask: np.ndarray, width: int) -> np.ndarray:
    """Fill spaces narrower than the width."""
    around = np.pad(mask, width)  # growing must not stop at the edge, or the edge would be filled
    return (~grown(~grown(around, width), width))[width:-width, width:-width]
