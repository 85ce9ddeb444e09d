"""Draw a bone marrow core biopsy whose cellularity is known, at 1 micron a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

FIELD_UM = 2048  # side of the textures, which repeat without a seam
FAT_UM = 68.0  # mean distance of fat cells
HEMATOXYLIN = np.array([0.65, 0.70, 0.29])  # optical density in R, G, B; Ruifrok and Johnston 2001
EOSIN = np.array([0.09, 0.90, 0.27])
SHADES = 64  # steps of each stain in the colour table


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """What a scanner and its laboratory do to colour and sharpness."""

    name: str
    hematoxylin: float  # stain strength
    eosin: float
    cast: tuple[float, float, float]  # white of the glass, R, G, B in 0 to 1
    gamma: float
    blur_um: float


SCANNERS = (
    Scanner(
        name="AT2-A", hematoxylin=1.0, eosin=1.0, cast=(0.965, 0.96, 0.97), gamma=1.0, blur_um=0.6
    ),
    Scanner(
        name="AT2-B", hematoxylin=0.8, eosin=1.25, cast=(0.97, 0.955, 0.945), gamma=1.1, blur_um=0.9
    ),
    Scanner(
        name="GT450",
        hematoxylin=1.2,
        eosin=0.8,
        cast=(0.945, 0.955, 0.975),
        gamma=0.92,
        blur_um=0.5,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Marrow:
    """One drawn piece: pixels at 1 micron each, where tissue is, and the truth."""

    pixels: np.ndarray  # uint8 (h, w, 3)
    tissue: np.ndarray  # bool (h, w)
    cellularity: float  # percent: blood-forming area over that and fat, bone and bleeding left out


class Textures:
    """The repeating fields that all slides draw from; made once, from one seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.fat_index, self.fat_near, self.fat_wall = _cells(rng, FIELD_UM // 2, FAT_UM / 2)
        self.n_fat = int(self.fat_index.max()) + 1
        index, near, _ = _cells(rng, FIELD_UM, 9.2, reach=1)
        n = int(index.max()) + 1
        radius = rng.choice([2.6, 3.3, 4.3], n, p=[0.35, 0.4, 0.25]) * rng.uniform(0.85, 1.15, n)
        radius[rng.random(n) < 0.1] = 0.0  # gaps
        # nuclei: small dark erythroid ones in nests, larger and paler myeloid ones
        nest = _noise(rng, FIELD_UM, 60)
        dark = np.where(radius < 3.1, 1.0, 0.66) * rng.uniform(0.8, 1.15, n)
        inside = np.clip((radius[index] - near) / 1.2, 0, 1)
        grain = _noise(rng, FIELD_UM, 1.5)
        self.nuclei = (inside * dark[index] * (1 + 0.2 * grain) * (1 + 0.12 * nest)).astype(
            np.float32
        )
        cytoplasm = rng.uniform(0.12, 0.36, n)
        cytoplasm[rng.random(n) < 0.05] = 0.75  # eosinophils
        self.stroma = (cytoplasm[index] * (1 + 0.25 * grain)).astype(np.float32)
        index, near, _ = _cells(rng, FIELD_UM, 6.6, reach=1)
        red = rng.uniform(0.55, 0.85, int(index.max()) + 1)
        self.red_cells = (red[index] * np.clip((3.6 - near) / 0.8, 0.25, 1)).astype(np.float32)
        self.slow = _noise(rng, FIELD_UM // 8, 14).astype(np.float32)  # 8 microns a pixel
        self.grain = (grain * 0.5).astype(np.float32)


def draw_core(
    rng: np.random.Generator,
    textures: Textures,
    *,
    length_um: int,
    width_um: int,
    cellularity: float,
    scanner: Scanner,
    clot: bool = False,
) -> Marrow:
    """Draw one needle core (or clot section) standing upright.

    Args:
        rng: decides everything that is not an argument.
        textures: the shared fields.
        length_um: of the core.
        width_um: of the core.
        cellularity: wanted, in percent; the drawn one is measured and differs a little.
        scanner: colours and sharpness.
        clot: particles in blood, without bone.
    """
    piece = _Piece(rng, textures, length_um, width_um, clot)
    fat = piece.fat(cellularity)
    bone, blood, core = piece.bone, piece.blood, piece.core
    marrow = core & ~bone & ~blood
    cells = marrow & ~fat
    share = float(cells.sum() / max(1, marrow.sum()))
    hema, eosin = np.zeros(core.shape, np.float32), np.zeros(core.shape, np.float32)
    nuclei, stroma = piece.field(textures.nuclei), piece.field(textures.stroma)
    shade = 1 + 0.22 * piece.low(90)
    hema[cells] = (nuclei * shade)[cells]
    eosin[cells] = (stroma * shade)[cells]
    rim = core & fat & ~ndimage.binary_erosion(fat, iterations=2)
    eosin[rim] = 0.16
    eosin[fat & ~rim] = 0.012
    bands = np.sin(piece.lamellae * 55)
    eosin[bone] = (0.62 + 0.07 * bands)[bone] + 0.2 * (shade[bone] - 1)
    hema[bone] = 0.06
    piece.osteocytes(hema, bone)
    reds = piece.field(textures.red_cells)
    eosin[blood & ~fat] = reds[blood & ~fat]
    piece.megakaryocytes(hema, eosin, cells, share)
    gap = (
        core & ~bone & (ndimage.uniform_filter(bone.astype(np.float32), 9) > 0.02) & (shade > 1.13)
    )
    hema[gap] = eosin[gap] = 0.01  # marrow shrinks away from bone
    pixels = _stain(hema, eosin, piece.field(textures.grain), scanner, rng)
    return Marrow(pixels=pixels, tissue=core, cellularity=100 * share)


def glass(scanner: Scanner) -> np.ndarray:
    """The colour of empty glass, uint8 (3,)."""
    return np.round(255 * np.array(scanner.cast) ** scanner.gamma).astype(np.uint8)


class _Piece:
    """The masks of one core on its canvas, a margin of 60 microns around it."""

    def __init__(
        self, rng: np.random.Generator, textures: Textures, length: int, width: int, clot: bool
    ) -> None:
        self.rng, self.textures = rng, textures
        self.shape = (length + 120, width + 420)
        self.offset = tuple(int(v) for v in rng.integers(0, FIELD_UM, 2))
        h, w = self.shape
        y = np.arange(h)[:, None]
        t = y / h
        bend = 90 * np.sin(np.pi * (t * rng.uniform(0.5, 1.4) + rng.uniform(0, 2)))
        ragged = 38 * self.low(50) + 16 * self.low(16)
        half = width / 2 * (1 + 0.1 * np.sin(2 * np.pi * (t * rng.uniform(1, 3) + rng.random())))
        ends = np.minimum(y - 60, h - 60 - y) * 1.0
        half = half * np.sqrt(np.clip(ends / 180, 0, 1))
        reach = half - np.abs(np.arange(w)[None] - w / 2 - bend) + ragged
        self.core = (reach > 0) & (ends + ragged > 0)
        self.lamellae = self.low(260) + 0.3 * self.low(90)
        share = 0.0 if clot else rng.uniform(0.06, 0.18)
        self.bone = self.core & _highest(np.abs(self.lamellae) * -1, self.core, share)
        bleeding = 0.25 if clot else rng.choice([0.0, 0.02, 0.06], p=[0.4, 0.35, 0.25])
        self.blood = self.core & ~self.bone & _highest(self.low(110), self.core, bleeding)

    def field(self, texture: np.ndarray) -> np.ndarray:
        """Cut this piece's canvas out of a repeating texture of 1 micron a pixel."""
        rows = (np.arange(self.shape[0]) + self.offset[0]) % len(texture)
        columns = (np.arange(self.shape[1]) + self.offset[1]) % texture.shape[1]
        return texture.take(rows, 0).take(columns, 1)

    def low(self, scale_um: float) -> np.ndarray:
        """Smooth noise of unit variance, as wide as the scale, over the canvas."""
        step = max(1, int(scale_um / 4))
        small = self.rng.standard_normal([n // step + 8 for n in self.shape]).astype(np.float32)
        small = ndimage.gaussian_filter(small, scale_um / step / 2.2)
        small /= small.std()
        return _enlarged(small, step, self.shape)

    def fat(self, cellularity: float) -> np.ndarray:
        """Fat cells that leave the wanted share of marrow: their radii are searched for."""
        textures, rng = self.textures, self.rng
        wanted = np.clip(1 - cellularity / 100, 0, 1)
        rows = (np.arange(0, self.shape[0], 2) + self.offset[0]) // 2 % len(textures.fat_index)
        columns = (np.arange(0, self.shape[1], 2) + self.offset[1]) // 2 % len(textures.fat_index)
        take = np.ix_(rows, columns)
        near, wall, index = (
            textures.fat_near[take],
            textures.fat_wall[take],
            textures.fat_index[take],
        )
        size = rng.uniform(0.55, 1.15, textures.n_fat).astype(np.float32)
        born = rng.random(textures.n_fat).astype(np.float32)
        region = 0.16 * self.low(420)[::2, ::2]
        marrow = (self.core & ~self.bone & ~self.blood)[::2, ::2]
        low, high = 0.0, 2.2
        for _ in range(14):
            level = (low + high) / 2
            # more cells first, then larger ones, until only their walls are left
            here = (born[index] < level * 1.25 + region) & (
                2 * near < FAT_UM * 0.62 * size[index] * (0.55 + 0.75 * level)
            )
            here &= 2 * wall > np.float32(max(1.2, 5 - 3 * level))
            low, high = (level, high) if here[marrow].mean() < wanted else (low, level)
        big = _enlarged(ndimage.gaussian_filter(here.astype(np.float32), 0.8), 2, self.shape)
        return (big > 0.5) & self.core & ~self.bone

    def osteocytes(self, hema: np.ndarray, bone: np.ndarray) -> None:
        """Put a nucleus into bone here and there."""
        ys, xs = np.nonzero(bone)
        n = len(ys) // 2600
        for i in self.rng.integers(0, max(1, len(ys)), n) if len(ys) else ():
            _spot(hema, ys[i], xs[i], 3.4, 1.8, 0.75)

    def megakaryocytes(
        self, hema: np.ndarray, eosin: np.ndarray, cells: np.ndarray, share: float
    ) -> None:
        """Put the largest cells of marrow in: pale, wide, with a lobed nucleus."""
        ys, xs = np.nonzero(cells[::4, ::4])
        n = int(len(ys) * 16 / 45_000)
        for i in self.rng.integers(0, max(1, len(ys)), n) if len(ys) else ():
            y, x, r = 4 * ys[i], 4 * xs[i], self.rng.uniform(12, 22)
            _spot(hema, y, x, r, r, 0.08, over=True)
            _spot(eosin, y, x, r, r, 0.42, over=True)
            for _ in range(3):
                dy, dx = self.rng.uniform(-0.3, 0.3, 2) * r
                _spot(hema, int(y + dy), int(x + dx), r * 0.42, r * 0.36, 0.95)


def _cells(
    rng: np.random.Generator, side: int, pitch: float, reach: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index of the nearest of jittered points, distance to it, and distance to the border.

    Shape (side, side), in pixels; the field repeats without a seam.
    """
    n = max(4, round(side / pitch))
    pitch = side / n
    points = (rng.uniform(0.08, 0.92, (2, n * n)) * pitch).astype(np.float32)
    at = np.arange(side)
    home = (at / pitch).astype(np.int64)
    first = np.full((side, side), np.inf, np.float32)
    second = first.copy()
    index = np.zeros((side, side), np.int64)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            rows, columns = home + dy, home + dx
            number = ((rows % n) * n)[:, None] + (columns % n)[None]
            y = points[0].take(number) + (rows * pitch - at).astype(np.float32)[:, None]
            x = points[1].take(number) + (columns * pitch - at).astype(np.float32)[None]
            far = np.sqrt(y * y + x * x)
            nearer = far < first
            second = np.where(nearer, first, np.minimum(second, far))
            index = np.where(nearer, number, index)
            first = np.where(nearer, far, first)
    return index, first, (second - first) / 2


def _noise(rng: np.random.Generator, side: int, scale: float) -> np.ndarray:
    """Smooth repeating noise of unit variance."""
    noise = ndimage.gaussian_filter(
        rng.standard_normal((side, side)).astype(np.float32), scale / 2, mode="wrap"
    )
    return noise / noise.std()


def _highest(values: np.ndarray, inside: np.ndarray, share: float) -> np.ndarray:
    """Where the values are among the highest, so that they cover a share of a mask."""
    if share <= 0:
        return np.zeros(values.shape, bool)
    return values > np.quantile(values[::8, ::8][inside[::8, ::8]], 1 - share)


def _enlarged(small: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """Enlarge by a whole factor, straight lines between the pixels, and cut to a shape."""
    if step == 1:
        return small[: shape[0], : shape[1]]
    out = small
    for axis, n in enumerate(shape):
        at = np.arange(n) / step
        low = np.minimum(at.astype(np.int64), out.shape[axis] - 2)
        part = (at - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        out = out.take(low, axis) * (1 - part) + out.take(low + 1, axis) * part
    return out


def _spot(
    field: np.ndarray, y: int, x: int, ry: float, rx: float, value: float, *, over: bool = False
) -> None:
    """Draw an ellipse; what is darker already stays, unless `over`."""
    r = int(max(ry, rx)) + 1
    window = field[max(0, y - r) : y + r + 1, max(0, x - r) : x + r + 1]
    yy = np.arange(max(0, y - r), max(0, y - r) + window.shape[0])[:, None] - y
    xx = np.arange(max(0, x - r), max(0, x - r) + window.shape[1])[None] - x
    inside = (yy / ry) ** 2 + (xx / rx) ** 2 < 1
    window[inside] = value if over else np.maximum(window[inside], value)


def _stain(
    hema: np.ndarray,
    eosin: np.ndarray,
    grain: np.ndarray,
    scanner: Scanner,
    rng: np.random.Generator,
) -> np.ndarray:
    """Turn stain amounts into colour by Beer and Lambert, as a scanner sees it."""
    strength = rng.uniform(0.9, 1.1, 2)
    steps = np.linspace(0, 1.5, SHADES)
    density = (
        steps[:, None, None] * HEMATOXYLIN * scanner.hematoxylin * strength[0] * 1.25
        + steps[None, :, None] * EOSIN * scanner.eosin * strength[1] * 0.8
    )
    table = 255 * (np.exp(-density) * scanner.cast) ** scanner.gamma
    table = np.round(table).astype(np.uint8).reshape(-1, 3)
    hema = ndimage.gaussian_filter(hema, scanner.blur_um)
    eosin = ndimage.gaussian_filter(eosin, scanner.blur_um)
    scale = (SHADES - 1) / 1.5
    row = np.clip(hema * scale + grain * 0.8, 0, SHADES - 1).astype(np.int32)
    column = np.clip(eosin * scale + grain * 0.8, 0, SHADES - 1).astype(np.int32)
    return table[row * SHADES + column]
