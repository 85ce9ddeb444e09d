"""Open a Slide, whatever its format: size, mpp, thumbnail, pixels at a target mpp."""

import itertools
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image

from featurestore.errors import SlideRefused
from ingest.slides.files import slide_files
from ingest.slides.grid import strips
from ingest.slides.mpp import Scale, find_mpp, stated_mpp
from ingest.slides.pyramid import Read
from ingest.slides.sources import Source, open_source, refusing

MOST_ENLARGED = 0.05  # a slide this much coarser than the target is still read
LEVEL_ENLARGED = 0.01  # a level this much coarser than the target still serves it
OVERVIEW_MPP = 8.0
MOST_OVERVIEW_PX = 10**8  # 80 x 80 mm
STRIP_TILES = 8  # tiles a read; longer ones are no faster


class SlideReader(AbstractContextManager["SlideReader"]):
    """One open Slide. A context manager; `read_tiles` may run once at a time."""

    def __init__(self, path: Path, source: Source, scale: Scale) -> None:
        self.path, self.scale, self.mpp = path, scale, scale.mpp
        self.size_px0: tuple[int, int] = source.levels[0]
        self.levels: list[tuple[int, int]] = source.levels
        self.reader: str = source.name
        self._source = source
        self._overview: tuple[np.ndarray, float] | None = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def require_mpp(self, tile_mpp: float) -> None:
        """Refuse a slide that is more than 5% coarser than the tiles would be."""
        if self.mpp > tile_mpp * (1 + MOST_ENLARGED):
            raise SlideRefused(
                f"slide {self.path.name!r} has {self.mpp:.4g} microns per pixel, coarser than the "
                f"{tile_mpp:g} asked for, and is never enlarged. Pass --tile-mpp "
                f"{math.ceil(self.mpp * 10) / 10:g} or more, or correct its mpp in the manifest."
            )

    def overview(self, mpp: float = OVERVIEW_MPP) -> tuple[np.ndarray, float]:
        """The whole slide for finding tissue, uint8 [h, w, 3], and its microns per pixel.

        These are as asked, or the slide's own where that is coarser; its corner is the slide's.
        """
        mpp = max(mpp, self.mpp)
        if self._overview is None or self._overview[1] != mpp:
            self._overview = self._whole(mpp), mpp
        return self._overview

    def thumbnail(self, max_px: int = 1024) -> np.ndarray:
        """The whole slide with a long side of at most ``max_px``, uint8 [h, w, 3]."""
        mpp = self.mpp * max(1.0, max(self.size_px0) / max_px)
        if mpp < OVERVIEW_MPP:
            return self._whole(mpp)
        pixels, fine_mpp = self.overview()
        width, height = (max(1, round(side * self.mpp / mpp)) for side in self.size_px0)
        frame = (0, 0, min(width * mpp / fine_mpp, pixels.shape[1]),
                 min(height * mpp / fine_mpp, pixels.shape[0]))  # fmt: skip
        small = Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX, box=frame)
        return np.asarray(small)

    def _whole(self, mpp: float) -> np.ndarray:
        """Read the whole slide piece by piece, so that a flat file needs no more memory."""
        width, height = (max(1, round(side * self.mpp / mpp)) for side in self.size_px0)
        if width * height > MOST_OVERVIEW_PX:
            raise SlideRefused(
                f"slide {self.path.name!r} is {self.size_px0[0]} x {self.size_px0[1]} px of "
                f"{self.mpp:.4g} microns, which is larger than any glass. Correct its mpp in the "
                "manifest, or export its tissue alone."
            )
        read, pitch = self._at(mpp, self._source.overview_pitch)
        step = max(8, round(2048 / max(pitch)))
        out = np.empty((height, width, 3), np.uint8)
        for y, x in itertools.product(range(0, height, step), range(0, width, step)):
            piece = out[y : y + step, x : x + step]
            with refusing(self.path.name):
                piece[:] = read(x, y, piece.shape[1], piece.shape[0])
        return out

    def read_tiles(
        self, coords_px0: np.ndarray, tile_px: int, tile_mpp: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read tiles in the order that is cheapest, a few at a time.

        A tile is placed to the nearest pixel of its own scale: at most half a pixel away, and for
        the corners of `grid.tile_grid` less than a tenth at 40x. Its pixels are level 0 shrunk by
        area: on every format the means of 4 x 4 pixels are within 3 grey levels on average, and a
        tile's mean within 1. Single pixels are softer where the pitch is not whole, and a coarser
        level brings its own coding: 7 to 11 grey levels on average in dense tissue.

        Yields:
            Row numbers of the corners, int [N, 2], columns (x, y), in any order: int64 [k], each
            once; and their pixels, uint8 [k, tile_px, tile_px, 3].
        """
        self.require_mpp(tile_mpp)
        coords = np.asarray(coords_px0, np.float64).reshape(-1, 2)
        corners = np.rint(coords * (self.mpp / tile_mpp)).astype(np.int64)
        read, _ = self._at(tile_mpp)
        for strip in strips(corners, tile_px, STRIP_TILES):
            x, y = corners[strip[0]]
            offsets = corners[strip, 0] - x
            with refusing(self.path.name):
                band = read(int(x), int(y), int(offsets[-1]) + tile_px, tile_px)
            if (np.diff(offsets) == tile_px).all():  # as on any grid: no copy is needed
                yield strip, band.reshape(tile_px, len(strip), tile_px, 3).swapaxes(0, 1)
            else:
                yield strip, np.stack([band[:, left : left + tile_px] for left in offsets])

    def _at(self, mpp: float, least: float = 1.0) -> tuple[Read, tuple[float, float]]:
        """How to read at this mpp, off a level of at least so many pixels to one; and its pitch."""
        scale = mpp / self.mpp
        width, height = self.size_px0
        pitches = [(scale * w / width, scale * h / height) for w, h in self.levels]
        level = max(
            (i for i, pitch in enumerate(pitches) if min(pitch) >= least * (1 - LEVEL_ENLARGED)),
            key=lambda i: -min(pitches[i]),
            default=0,
        )
        with refusing(self.path.name):
            return self._source.shown(level, *pitches[level]), pitches[level]


def open_slide(
    path: Path, *, mpp: float | None = None, fallback_mpp: float | None = None
) -> SlideReader:
    """Open a slide with the reader that is sure of its pixels; of DICOM a file or the folder.

    The manifest's mpp wins over what the file states, and the other is for what nobody states.

    Raises:
        SlideUnreadable: it is not there, damaged, or no slide.
        SlideRefused: it has no mpp, or is not 8-bit colour.
    """
    path = Path(path)
    with refusing(path.name):
        file = slide_files(path)[0]
    source, properties = open_source(file, path.name)
    try:
        scale = find_mpp(path, mpp, fallback_mpp, stated_mpp(properties, source.about))
        return SlideReader(path, source, scale)
    except BaseException:
        source.close()
        raise
