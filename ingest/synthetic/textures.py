"""The seamless fills that synthetic marrow is drawn with: cells, blood, bone and glass.

Textures have 0.5 microns a pixel; a value is 256 times hematoxylin plus eosin.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

TEXTURE_PX = 2048
FIELD_UM = 2.0  # about what a value of a field covers
CHUNK_PX = 1088  # widest and highest rectangle drawn at once


class Textures:
    """The repeating fills that all slides draw from; made once, from one seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.glass = _pack(rng.integers(0, 3, (128, 128)), rng.integers(0, 3, (128, 128)))
        self.fills = [  # mixed, erythroid nests, loose; then blood
            _cells(rng, 8.6, [0.28, 0.12, 0.27, 0.18, 0.1, 0.05], 0.10),
            _cells(rng, 8.0, [0.58, 0.14, 0.10, 0.08, 0.08, 0.02], 0.08),
            _cells(rng, 9.6, [0.15, 0.10, 0.35, 0.26, 0.08, 0.06], 0.25),
            _red_cells(rng),
        ]
        self.bone = _bone(rng)
        # what shapes share, seamless too: the edge of tissue, and where fills change, in microns
        self.ragged = 15 * _field(rng, 60) + 7 * _field(rng, 14)
        self.mix = 10 * (_field(rng, 110) + 0.4 * _field(rng, 17))
        self.blood = _field(rng, 150) + 0.35 * _field(rng, 20)


def _cells(
    rng: np.random.Generator, pitch_um: float, kinds: list[float], gaps: float
) -> np.ndarray:
    """Blood-forming cells of six kinds on pale stroma, with a few megakaryocytes."""
    pad, side = 64, TEXTURE_PX
    base = 58 + 12 * noise(rng, (side, side), 40, wrap=True)
    base += 11 * noise(rng, (side, side), 7, wrap=True)
    hema, eosin = np.zeros((2, side + 2 * pad, side + 2 * pad), np.float32)
    stamps = [[_cell(rng, kind) for _ in range(14)] for kind in range(len(kinds))]
    n = round(side / (2 * pitch_um))
    spots = (np.mgrid[0:n, 0:n].reshape(2, -1) + rng.uniform(-0.4, 0.4, (2, n * n))) * side / n
    nest = noise(rng, (n, n), 5).ravel()  # cells of a kind lie together
    kind_at = np.searchsorted(np.cumsum(kinds), (rng.random(n * n) + 0.16 * nest) % 1 * 0.999)
    for i in np.flatnonzero(rng.random(n * n) > gaps * (1 + nest).clip(0.2)):
        stamp_h, stamp_e = stamps[kind_at[i]][i % 14]
        r = stamp_h.shape[0] // 2
        y, x = int(spots[0, i]) + pad - r, int(spots[1, i]) + pad - r
        for field, stamp in ((hema, stamp_h), (eosin, stamp_e)):
            part = field[y : y + 2 * r, x : x + 2 * r]
            np.maximum(part, stamp, out=part)
    for _ in range(8):
        _megakaryocyte(rng, hema, eosin, *rng.integers(2 * pad, side, 2))
    hema, eosin = (_folded(field, pad) for field in (hema, eosin))
    grain = 3.5 * rng.standard_normal((side, side), np.float32)
    return _pack(hema, np.maximum(eosin, base) + grain)


def _cell(rng: np.random.Generator, kind: int) -> tuple[np.ndarray, np.ndarray]:
    """Both stains of a normoblast, lymphocyte, neutrophil, myelocyte, blast or eosinophil."""
    nucleus_um, dark, body_um, pink = [
        (2.9, 225, 3.9, 62), (3.3, 195, 3.9, 55), (1.9, 190, 5.0, 100),
        (4.0, 150, 5.8, 105), (4.9, 128, 6.2, 78), (2.1, 185, 5.4, 185),
    ][kind]  # fmt: skip
    r = 15
    at = np.mgrid[-r:r, -r:r] / 2 + 0.25  # microns
    size, angle, squeeze = rng.uniform(0.88, 1.14), rng.uniform(0, np.pi), rng.uniform(1, 1.25)
    u = at[0] * np.cos(angle) + at[1] * np.sin(angle)
    v = at[1] * np.cos(angle) - at[0] * np.sin(angle)
    far = np.hypot(u * squeeze, v) / size
    eosin = pink * rng.uniform(0.8, 1.2) * np.clip((body_um - far) / 0.6, 0, 1)
    if kind in (2, 5):  # two or three lobes
        lobes = [(rng.uniform(-1.3, 1.3), d) for d in (-2.0, 0.3, 2.1)[: 3 - kind // 5]]
        far = np.minimum.reduce([np.hypot(u - a, v - b) / size for a, b in lobes])
    grain = noise(rng, (2 * r, 2 * r), 2.2)
    shade = dark * rng.uniform(0.88, 1.1) * (1 + (0.16 if dark < 170 else 0.05) * grain)
    if dark < 170:  # open chromatin: a darker rim
        shade = shade * (1 + 0.35 * np.exp(-(((far - nucleus_um + 0.5) / 0.6) ** 2)))
    return np.clip((nucleus_um - far) / 0.5 + 0.5, 0, 1) * shade, eosin


def _megakaryocyte(
    rng: np.random.Generator, hema: np.ndarray, eosin: np.ndarray, y: int, x: int
) -> None:
    """Put in the largest cell of marrow: wide pink body, folded nucleus of many lobes."""
    size, r = rng.uniform(14, 22), 60
    at = np.mgrid[-r:r, -r:r] / 2
    angle = np.arctan2(at[0], at[1])
    edge = size * (1 + 0.1 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.05 * np.sin(5 * angle))
    body = np.clip(edge - np.hypot(*at), 0, 1)
    lobes = rng.normal(0, 0.24 * size, (6, 2, 1, 1))
    far = np.hypot(at[0] - lobes[:, 0], at[1] - lobes[:, 1]).min(0)
    nucleus = np.clip(0.27 * size - far, 0, 1) * (165 + 28 * noise(rng, (2 * r, 2 * r), 4))
    here = np.s_[y - r : y + r, x - r : x + r]
    hema[here] = hema[here] * (1 - body) + np.maximum(nucleus, 14 * body)
    eosin[here] = eosin[here] * (1 - body) + 128 * body


def _red_cells(rng: np.random.Generator) -> np.ndarray:
    """Red cells of spilt blood, packed, paler in the middle."""
    pad, side = 64, TEXTURE_PX
    at = np.mgrid[-8:8, -8:8] / 2 + 0.25
    far = np.hypot(*at)
    disc = np.clip((3.5 - far) / 0.6, 0, 1) * (0.8 + 0.2 * np.clip(far / 2.4, 0, 1))
    eosin = np.zeros((side + 2 * pad,) * 2, np.float32)
    n = round(side / (2 * 6.0))
    spots = (np.mgrid[0:n, 0:n].reshape(2, -1) + rng.uniform(-0.35, 0.35, (2, n * n))) * side / n
    for i in np.flatnonzero(rng.random(n * n) < 0.92):
        y, x = (int(v) + pad for v in spots[:, i])
        part = eosin[y - 8 : y + 8, x - 8 : x + 8]
        np.maximum(part, disc * rng.uniform(150, 195), out=part)
    return _pack(4 + 0 * eosin[:side, :side], np.maximum(_folded(eosin, pad), 52))


def _bone(rng: np.random.Generator) -> np.ndarray:
    """Bone matrix: pink with slow shades, bluish in places, osteocytes in their gaps."""
    side = TEXTURE_PX
    slow = noise(rng, (side, side), 300, wrap=True)
    fine = noise(rng, (side, side), 12, wrap=True)
    hema = np.clip(26 * (slow - 1.2), 0, 60)
    eosin = 108 + 16 * slow + 4 * fine
    at = np.mgrid[-8:8, -8:8] / 2 + 0.25
    places = *rng.integers(8, side - 8, (2, 330)), rng.uniform(0, 3, 330)
    for y, x, angle in zip(*places, strict=True):
        u = at[0] * np.cos(angle) + at[1] * np.sin(angle)
        v = at[1] * np.cos(angle) - at[0] * np.sin(angle)
        here = np.s_[y - 8 : y + 8, x - 8 : x + 8]
        gap, nucleus = np.hypot(u / 1.7, v) < 2.1, np.hypot(u / 1.7, v) < 1.4
        eosin[here] = np.where(gap, 20, eosin[here])
        hema[here] = np.where(nucleus, 200, hema[here])
    return _pack(hema, eosin)


def noise(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, *, wrap: bool = False
) -> np.ndarray:
    """Smooth noise of about unit variance, float32; `wrap` makes it seamless.

    It is alike in all directions: a grid of plain random values, enlarged, has straight contours.
    """
    size = [max(4, round(2 * n / scale)) for n in shape]
    edge = "wrap" if wrap else "reflect"
    coarse = rng.standard_normal(size).astype(np.float32)
    coarse = np.pad(ndimage.gaussian_filter(coarse, 1, mode=edge), 2, "wrap" if wrap else "edge")
    box = (2, 2, 2 + size[1], 2 + size[0])
    picture = Image.fromarray(coarse * np.float32(3.7))
    return np.asarray(picture.resize(shape[::-1], Image.Resampling.BICUBIC, box=box))


def _field(rng: np.random.Generator, scale_um: float) -> np.ndarray:
    return noise(rng, (TEXTURE_PX, TEXTURE_PX), scale_um / FIELD_UM, wrap=True)


def _folded(field: np.ndarray, pad: int) -> np.ndarray:
    """Carry what was drawn over an edge to the other side: the texture becomes seamless."""
    for _ in range(2):
        inner = field[pad:-pad].copy()
        inner[:pad] = np.maximum(inner[:pad], field[-pad:])
        inner[-pad:] = np.maximum(inner[-pad:], field[:pad])
        field = inner.T
    return field


def _pack(hema: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Both stains of a texture in one uint16."""
    low, high = (np.clip(v, 0, 255).astype(np.uint16) for v in (eosin, hema))
    packed = high * np.uint16(256) + np.minimum(low, np.uint16(205))  # room for lamellae
    height, width = packed.shape  # repeated as far as a window may reach, which then is a view
    return repeated(packed, 0, 0, width + CHUNK_PX, height + CHUNK_PX)


def repeated(texture: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A copy of a rectangle of a seamless texture, however large."""
    rows, columns = np.arange(y, y + height), np.arange(x, x + width)
    return np.asarray(texture.take(rows, 0, mode="wrap").take(columns, 1, mode="wrap"))


def window(spread: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """A view of a texture that repeats; at most `CHUNK_PX` wide and high."""
    top, left = y % (len(spread) - CHUNK_PX), x % (spread.shape[1] - CHUNK_PX)
    return spread[top : top + height, left : left + width]
