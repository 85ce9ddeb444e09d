"""Draw bone marrow whose cellularity is known, in stain amounts first and colours last.

Shapes are fields of signed distances in 1/16 micron, positive inside, one value for four by four
drawn pixels; what fills them comes from seamless textures of 0.5 microns a pixel. A texture's value
is 256 times hematoxylin plus eosin, so one table a slide turns it into a scanner's colours.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from ingest.synthetic.textures import TEXTURE_PX, Textures, noise, repeated, window

FIELD_PX = 4  # drawn pixels a field value
BLOCK = 64  # a canvas is a whole number of these field values: 256 drawn pixels
TILE_UM, MIN_TISSUE = 448, 0.05  # what counts as a tile: 224 px at 2.0 mpp, 5% tissue
FAR_UM = 60.0
COARSE = 4  # field values to one of what has no fine detail
INKS = ((0.2, 0.32, 0.8), (0.12, 0.55, 0.35), (0.1, 0.1, 0.12))  # of a pen: share of R, G, B
UNIT = 16  # field units a micron
HEMATOXYLIN = np.array([0.65, 0.70, 0.29])  # optical density in R, G, B; Ruifrok and Johnston 2001
EOSIN = np.array([0.07, 0.72, 0.30])
NESTS, LOOSE = 5 * UNIT, -8 * UNIT  # where fills change, in the field that mixes them
WALL, WALL_UM = np.uint16(24 * 256 + 74), 0.9  # membrane of a fat cell
Area = tuple[slice, slice]  # of a field
Place = tuple[float, float, float]  # y and x in values of a coarse field, and an angle


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """What a scanner and its laboratory do to colour."""

    name: str
    hematoxylin: float  # stain strength
    eosin: float
    white: tuple[float, float, float]  # of the glass, R, G, B in 0 to 1
    gamma: float


SCANNERS_20X = (
    Scanner(name="AT2-A", hematoxylin=1.0, eosin=1.0, white=(0.97, 0.97, 0.97), gamma=1.0),
    Scanner(name="AT2-B", hematoxylin=0.85, eosin=1.2, white=(0.975, 0.96, 0.955), gamma=1.12),
)
SCANNERS_40X = (
    Scanner(name="GT450", hematoxylin=1.12, eosin=0.85, white=(0.955, 0.96, 0.97), gamma=0.94),
)


class Scene:
    """One slide: its shapes, drawn band by band; the truth is counted in what was drawn."""

    def __init__(
        self,
        rng: np.random.Generator,
        textures: Textures,
        *,
        scanner: Scanner,
        drawn_mpp: float,  # microns per drawn pixel, near 0.5
        cellularity: float,  # wanted, in percent
        n_tiles: int,  # wanted, with tissue; 0 leaves the glass empty
        margin_um: float,  # glass around the tissue
        pieces: int = 1,  # cores side by side
        clot: bool = False,  # particles in blood, without bone
        artefact: str = "",  # pen, or fold
    ) -> None:
        """Lay out the shapes; `rng` decides everything that is not an argument."""
        self._rng, self._textures = rng, textures
        self._um = FIELD_PX * drawn_mpp  # of a field value
        self._colours = _colours(rng, scanner)
        self._offsets = rng.integers(0, TEXTURE_PX, (8, 2))
        # signed distances in 1/16 micron, positive inside, int16
        self._tissue = self._outline(n_tiles, margin_um, pieces, clot)
        self._bone = self._trabeculae(self._tissue > 0, 0 if clot else rng.uniform(0.6, 1.5))
        hard = np.minimum(self._bone, self._tissue + np.int16(40 * UNIT))  # bone does not fray
        self._tissue = np.maximum(self._tissue, hard)
        core = self._tissue > 0
        self._mix = _fixed(self._repeated(textures.mix))
        bleeding = rng.uniform(0.3, 0.5) if clot else rng.choice([0, rng.uniform(0.01, 0.08)])
        blood = self._repeated(textures.blood)
        least = np.quantile(blood[core][::7], 1 - bleeding) if core.any() and bleeding else 9.0
        self._blood = _fixed(40 * (blood - least))
        self._fat = self._fat_cells(self.areas()["marrow"], 1 - cellularity / 100)
        self.n_tiles = self._count_tiles(core)
        self._marrow_px = self._fat_px = 0
        self._over, self._over_colours = self._laid_over(artefact, core), self._colours
        if artefact:
            ink = INKS[int(rng.integers(len(INKS)))] if artefact == "pen" else None
            self._over_colours = _colours(rng, scanner, ink)
        self._shown = self._tissue if self._over is None else np.maximum(self._tissue, self._over)

    @property
    def size_px(self) -> tuple[int, int]:
        """Drawn width and height; multiples of 256."""
        height, width = self._tissue.shape
        return width * FIELD_PX, height * FIELD_PX

    @property
    def cellularity(self) -> float | None:
        """Percent: blood-forming area over that and fat, in the bands drawn so far."""
        return 100 * (1 - self._fat_px / self._marrow_px) if self._marrow_px else None

    def areas(self) -> dict[str, np.ndarray]:
        """Where tissue, bone, blood and marrow with its fat lie: bool [h, w], a value a field's."""
        tissue, bone, blood = self._tissue > 0, self._bone > 0, self._blood > 0
        blood, marrow = tissue & blood & ~bone, tissue & ~bone & ~blood
        return {"tissue": tissue, "bone": tissue & bone, "blood": blood, "marrow": marrow}

    def extent(self, y: int, height: int, step: int) -> tuple[int, int]:
        """Drawn columns that hold tissue in a band, in whole steps; empty glass gives (0, 0)."""
        rows = slice(y // FIELD_PX, (y + height) // FIELD_PX)
        at = np.flatnonzero((self._shown[rows] > -10 * UNIT).any(axis=0)) * FIELD_PX
        return (at[0] // step * step, (at[-1] // step + 1) * step) if at.size else (0, 0)

    def draw(self, x: int, y: int, width: int, height: int, rim: int = 0) -> np.ndarray:
        """Colours of a rectangle of drawn pixels, uint32 (height, width) holding R, G, B, 0.

        What lies in its rim of so many pixels does not count for the truth.
        """
        rows = slice(y // FIELD_PX, (y + height) // FIELD_PX)
        area = rows, slice(x // FIELD_PX, (x + width) // FIELD_PX)
        ink = window(self._textures.glass, x, y, width, height).copy()
        if np.any(tissue := _above(self._tissue, area)):
            self._fill(ink, tissue, area, (x, y), rim)
        colours = self._colours.take(ink)
        if self._over is not None and np.any(over := _above(self._over, area)):
            np.copyto(colours, self._over_colours.take(ink), where=over)
        return colours

    def _fill(
        self, ink: np.ndarray, tissue: np.ndarray, area: Area, corner: tuple[int, int], rim: int
    ) -> None:
        """Lay marrow, bone and blood over the glass, and count what is fat."""
        (height, width), (x, y), fills = ink.shape, corner, self._textures.fills
        bone = _above(self._bone, area)
        blood = _above(self._blood, area) & ~bone
        cells = np.broadcast_to(tissue & ~bone & ~blood, ink.shape)
        fat = _magnified(self._fat, area)
        space = cells & (fat > 0)
        inside = np.s_[rim : height - rim, rim : width - rim]
        self._marrow_px += int(np.count_nonzero(cells[inside]))
        self._fat_px += int(np.count_nonzero(space[inside]))
        cells = cells & ~space
        mix = _magnified(self._mix, area)
        nests, loose = mix > NESTS, mix <= LOOSE
        where = (cells & ~nests & ~loose, cells & nests, cells & loose, tissue & blood)
        for number, here in enumerate(where):
            if here.any():
                dx, dy = self._offsets[number]  # no two slides show the same piece of a texture
                np.copyto(ink, window(fills[number], x + dx, y + dy, width, height), where=here)
        np.copyto(ink, WALL, where=space & (fat < WALL_UM * UNIT))
        if np.any(bone):
            dx, dy = self._offsets[-1]
            layers = _LAMELLAE.take(_magnified(self._bone, area) >> 2, mode="clip")
            layers += window(self._textures.bone, x + dx, y + dy, width, height)
            np.copyto(ink, layers, where=tissue & bone)

    def _repeated(self, field: np.ndarray) -> np.ndarray:
        """A part of a field that all slides share, from a place of this slide's own."""
        y, x = self._rng.integers(0, len(field), 2)
        return repeated(field, x, y, self._shape[1], self._shape[0])

    def _outline(self, n_tiles: int, margin_um: float, pieces: int, clot: bool) -> np.ndarray:
        """Signed distance to the edge of upright needles, as long as the wanted tiles need."""
        rng, um = self._rng, self._um * COARSE
        width_um = rng.uniform(1500, 1900) if clot else rng.uniform(580, 780)
        room = width_um + 640
        longest = 1.25 * TILE_UM * n_tiles / (width_um * pieces / TILE_UM + 0.8) + 1300
        self._shape = _whole(
            (longest + 2 * margin_um) / self._um, (room * pieces - 120 + 2 * margin_um) / self._um
        )
        if not n_tiles:
            self._shape = (20 * BLOCK, 12 * BLOCK)
            return np.full(self._shape, -FAR_UM * UNIT, np.int16)
        # plain floats from here on: NumPy's own would make the fields float64
        bends = rng.uniform([[40, 700, 0]] * pieces, [[210, 1600, 6]] * pieces).tolist()
        swells = rng.uniform([[300, 0]] * pieces, [[700, 6]] * pieces).tolist()
        slants, tops = rng.normal(0, 0.25, pieces).tolist(), rng.uniform(150, 330, pieces).tolist()
        height, width = self._coarse().shape
        ragged = self._repeated(self._textures.ragged)
        uneven = 28 * noise(rng, (height, width), 260 / um)
        y = (np.arange(height) * um - margin_um)[:, None].astype(np.float32)
        x = (np.arange(width) * um - margin_um)[None].astype(np.float32)

        def outline(length: float) -> np.ndarray:
            field = np.float32(-FAR_UM * UNIT)
            for i in range(pieces):
                middle = room * (i + 0.5) - 60
                bend = bends[i][0] * np.sin(y / bends[i][1] + bends[i][2])
                half = width_um / 2 * (1 + 0.07 * np.sin(y / swells[i][0] + swells[i][1]))
                down = y - slants[i] * (x - middle) - tops[i]
                inside = np.minimum(half - np.abs(x - middle - bend), 0.8 * down)
                field = np.maximum(field, np.minimum(inside, 0.8 * (length - down)))
            return np.asarray(field + uneven)

        low, high, best = 500.0, longest - 550, (n_tiles, 0.0)
        for _ in range(9):  # more tiles with more length, but for the uneven edge
            length = (low + high) / 2
            found = self._count_tiles(outline(length) + ragged[::COARSE, ::COARSE] > 0, COARSE)
            best = min(best, (abs(found - n_tiles), length))
            low, high = (length, high) if found < n_tiles else (low, length)
        field = outline(best[1])
        last = COARSE * np.flatnonzero((field > 0).any(1))[-1]
        below = max(margin_um, TILE_UM) + FAR_UM  # whole tiles, too
        self._shape = (min(_whole(last + below / self._um, 1)[0], self._shape[0]), self._shape[1])
        return self._enlarged(field[: self._shape[0] // COARSE], ragged[: self._shape[0]])

    def _count_tiles(self, tissue: np.ndarray, step: int = 1) -> int:
        side = TILE_UM / (self._um * step)
        rows, columns = (int(n / side) for n in tissue.shape)
        sums = tissue[: round(rows * side), : round(columns * side)]
        for axis, n in enumerate((rows, columns)):
            sums = np.add.reduceat(sums, np.round(np.arange(n) * side).astype(int), axis)
        return int((sums >= MIN_TISSUE * side * side).sum())

    def _trabeculae(self, core: np.ndarray, per_mm2: float) -> np.ndarray:
        """Signed distance to curved plates of bone; some cores begin with a cortex.

        Plates differ in width within a slide and between slides; where they meet, and at their
        ends, they are rounded, and their surfaces are scalloped.
        """
        rng = self._rng
        field, um = self._coarse(), self._um * COARSE
        ys, xs = np.nonzero(core[::8, ::8])
        n = round(len(ys) * (8 * self._um) ** 2 * 1e-6 * per_mm2)
        usual = rng.uniform(24, 52)
        for i in rng.integers(0, max(1, len(ys)), n):
            y, x, angle = 8 / COARSE * ys[i], 8 / COARSE * xs[i], rng.uniform(0, 2 * np.pi)
            width = float(usual * rng.lognormal(0, 0.35))
            self._plate(field, (y, x, angle), width, rng.uniform(300, 1300))
            for turn in (np.pi, rng.uniform(0.8, 2.3), rng.uniform(3.6, 5)):
                if rng.random() < 0.5:
                    share = rng.uniform(0.5, 1)
                    self._plate(field, (y, x, angle + turn), share * width, rng.uniform(150, 700))
        field = ndimage.gaussian_filter(field, 18 / um)
        field += 7 * noise(rng, field.shape, 150 / um) + 5 * noise(rng, field.shape, 45 / um)
        if per_mm2 and rng.random() < 0.25 and core.any():
            top = np.flatnonzero(core.any(1))[0] / COARSE
            cap = (top - np.arange(len(field)))[:, None] * um + rng.uniform(150, 420)
            cap = cap + 70 * noise(rng, field.shape, 230 / um)
            field = np.maximum(field, np.minimum(cap, FAR_UM * 1.9))
        return self._enlarged(field)

    def _laid_over(self, artefact: str, core: np.ndarray) -> np.ndarray | None:
        """Signed distance to a stroke of a pen beside and over the tissue, or to a fold in it."""
        if not artefact or not core.any():
            return None
        rng, field = self._rng, self._coarse()
        ys, xs = np.nonzero(core)
        for _ in range(3 if artefact == "fold" else 1):
            i = int(rng.integers(len(ys) // 4, 3 * len(ys) // 4))
            width, length, angle = rng.uniform((25, 700, 0), (60, 1600, 6)).tolist()
            if artefact == "pen":
                width, length, angle = rng.uniform(150, 230), 2400, rng.normal(1.57, 0.3)
            at = ys[i] / COARSE, xs[i] / COARSE, angle
            self._plate(field, at, width, length, 0.1 if artefact == "pen" else 1.0)
        field = self._enlarged(field)
        return field if artefact == "pen" else np.minimum(field, self._tissue)

    def _coarse(self) -> np.ndarray:
        """A field with one value for `COARSE` by `COARSE`, far from everything."""
        height, width = self._shape
        return np.full((height // COARSE, width // COARSE), -FAR_UM, np.float32)

    def _enlarged(self, coarse: np.ndarray, fine: np.ndarray | float = 0.0) -> np.ndarray:
        field = Image.fromarray(coarse).resize(self._shape[::-1], Image.Resampling.BICUBIC)
        return _fixed(np.asarray(field) + np.float32(fine))

    def _plate(
        self, field: np.ndarray, at: Place, width: float, length: float, swell: float = 1.0
    ) -> None:
        """Draw a winding band of a half width into a coarse field, all in microns but the place."""
        rng, um, (y, x, angle) = self._rng, self._um * COARSE, at
        curve, phases, step = rng.normal(0, 0.0011), rng.uniform(0, 6, 2), 12.0
        for s in np.arange(0, length, step):
            uneven = 0.28 * np.sin(s / 160 + phases[0]) + 0.14 * np.sin(s / 57 + phases[1])
            half = width * (1 + swell * uneven) * min(1, (length - s + 40) / 140)
            r = int((half + 45) / um) + 1
            top, left = max(0, int(y) - r), max(0, int(x) - r)
            part = field[top : int(y) + r + 1, left : int(x) + r + 1]
            if not part.size:
                return
            dy = (np.arange(top, top + part.shape[0], dtype=np.float32) - np.float32(y)) ** 2
            dx = (np.arange(left, left + part.shape[1], dtype=np.float32) - np.float32(x)) ** 2
            far = np.sqrt(dy[:, None] + dx[None])
            np.maximum(part, np.float32(half) - np.float32(um) * far, out=part)
            curve = float(np.clip(curve + rng.normal(0, 0.0004), -0.004, 0.004))
            angle += curve * step + rng.normal(0, 0.012)
            y, x = y + np.sin(angle) * step / um, x + np.cos(angle) * step / um

    def _fat_cells(self, marrow: np.ndarray, share: float) -> np.ndarray:
        """Signed distance to the walls of fat cells that cover a share of the marrow.

        Cells are thrown on a loose lattice, thicker in some regions; then all radii grow or shrink
        together until the share fits. Where two meet, the wall lies half way.
        """
        rng, um = self._rng, self._um
        first = np.full(self._shape, FAR_UM, np.float32)
        second = first.copy()
        pitch = 63 / um
        rows, columns = int(self._shape[0] / (pitch * 0.87)) + 1, int(self._shape[1] / pitch) + 1
        grid = np.mgrid[0:rows, 0:columns].reshape(2, -1)
        ys = grid[0] * pitch * 0.87 + rng.normal(0, 0.21 * pitch, grid[0].size)
        xs = (grid[1] + grid[0] % 2 / 2) * pitch + rng.normal(0, 0.21 * pitch, grid[0].size)
        region = noise(rng, (rows, columns), 8) + 0.6 * noise(rng, (rows, columns), 2.5)
        uneven = 0.38 * min(1.0, 5 * (1 - share))  # nearly empty marrow has no room to differ
        kept = rng.random(grid[0].size) < share / 0.74 * (1 + uneven * region.ravel())
        radii = np.clip(rng.normal(32, 6, grid[0].size), 18, 46).astype(np.float32)
        shapes, distance = _fat_shapes(rng, um)
        half = distance.shape[0] // 2
        for i in np.flatnonzero(kept):
            y, x = int(ys[i]), int(xs[i])
            top, left = max(0, y - half), max(0, x - half)
            bottom, right = min(self._shape[0], y + half + 1), min(self._shape[1], x + half + 1)
            if not (top < bottom and left < right and marrow[top:bottom:8, left:right:8].any()):
                continue
            cut = np.s_[top - y + half : bottom - y + half, left - x + half : right - x + half]
            far = distance[cut] - radii[i] * shapes[i % len(shapes)][cut]
            a, b = first[top:bottom, left:right], second[top:bottom, left:right]
            np.minimum(b, np.maximum(a, far), out=b)
            np.minimum(a, far, out=a)
        grow = float(np.quantile(first[marrow][::3], share)) if marrow.any() else 0.0
        return _fixed(np.minimum(grow - first, (second - first) / 2))


def _colours(
    rng: np.random.Generator, scanner: Scanner, ink: tuple[float, ...] | None = (1, 1, 1)
) -> np.ndarray:
    """Turn 256 times hematoxylin plus eosin into colour by Beer and Lambert; uint32 (65536,).

    Under the ink of a pen, or without one in a fold, where it lies twice.
    """
    strength = rng.uniform(0.88, 1.12, 2) * (1.9 if ink is None else 1)
    amount = np.arange(256)[:, None] / 255
    hematoxylin = amount * HEMATOXYLIN * (2.2 * scanner.hematoxylin * strength[0])
    eosin = amount * EOSIN * (1.25 * scanner.eosin * strength[1])
    density = hematoxylin[:, None] + eosin
    seen = 255 * (np.exp(-density) ** scanner.gamma) * scanner.white * (ink or (1, 1, 1))
    table = np.zeros((256, 256, 4), np.uint8)
    table[..., :3] = np.round(seen)
    return table.reshape(-1, 4).view("<u4").ravel()


# eosin to add at each quarter micron from the surface of bone: a rim, then fine layers
_DEPTH = np.arange(int(FAR_UM * 8)) / 4
_LAMELLAE = np.clip(7 + 6 * np.sin(_DEPTH / 1.9) + 4 * np.sin(_DEPTH / 5.3), 0, None)
_LAMELLAE = np.where(_DEPTH < 1.2, 38, _LAMELLAE).astype(np.uint16)


def _fat_shapes(rng: np.random.Generator, um: float) -> tuple[np.ndarray, np.ndarray]:
    """Relative radius of 24 lobed rounds, (24, n, n), and distance to the middle, in microns."""
    half = int(np.ceil((46 * 1.2 + 16) / um))
    at = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32) * um
    angle = np.arctan2(at[0], at[1])
    waves = ((2, 0.11), (3, 0.05), (5, 0.02))
    lobes = (sum(a * np.cos(k * angle + rng.uniform(0, 6)) for k, a in waves) for _ in range(24))
    return np.array([1 + lobe for lobe in lobes], np.float32), np.hypot(*at)


def _above(field: np.ndarray, area: Area) -> np.ndarray:
    """Where the enlarged field is positive; one value if it is the same everywhere."""
    rows, columns = (slice(max(0, cut.start - 1), cut.stop + 1) for cut in area)
    is_above = field[rows, columns] > 0
    if is_above.all() or not is_above.any():
        return is_above[:1, :1]
    return _magnified(field, area) > 0


def _magnified(field: np.ndarray, area: Area) -> np.ndarray:
    """Enlarge a part of a field fourfold, straight lines between its values; int16."""
    rows, columns = (
        np.clip(np.arange(cut.start - 1, cut.stop + 1), 0, n - 1)
        for cut, n in zip(area, field.shape, strict=True)
    )
    out = field.take(rows, 0).take(columns, 1)
    for _ in range(2):
        out = out.T
        before, here, after = out[:-2], out[1:-1], out[2:]
        wide = np.empty((4 * len(here), out.shape[1]), np.int16)
        for k, (other, part) in enumerate(((before, 3), (before, 1), (after, 1), (after, 3))):
            np.right_shift(here * np.int16(8 - part) + other * np.int16(part), 3, out=wide[k::4])
        out = wide
    return out


def _fixed(field: np.ndarray) -> np.ndarray:
    """Microns to field units; eight times a value must fit int16."""
    return np.asarray((np.clip(field, -FAR_UM, 3 * FAR_UM) * UNIT).astype(np.int16))


def _whole(height: float, width: float) -> tuple[int, int]:
    return int(-(-height // BLOCK)) * BLOCK, int(-(-width // BLOCK)) * BLOCK
