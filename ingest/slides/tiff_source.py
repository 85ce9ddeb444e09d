"""Read TIFF pyramids by their own index, tile by tile."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featurestore.errors import SlideRefused
from ingest.slides import pyramid
from ingest.slides.decoders import SCALES, Unsupported
from ingest.slides.tiff import RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, Directory
from ingest.slides.tile_reader import TileLevel, TileReader, find_level

MOST_APART = 2.0  # grey levels between two decoders of the same tile, on average


class TiffSource:
    """The first picture of a TIFF file and its coarser levels.

    Where openslide opens the file too, `other` is its level 0 and the size of that.

    Raises:
        SlideRefused: nobody should read it.
        Unsupported: openslide may read it.
    """

    overview_pitch = 1.0  # least pixels of a level to one of an overview, each way

    def __init__(
        self, file: Path, pages: list[Directory], other: tuple[pyramid.Peek, tuple[int, int]] | None
    ) -> None:
        _require_first(pages)
        self.about = _about(pages[0])
        self._descriptor = os.open(file, os.O_RDONLY)
        try:
            self._levels = [find_level(self._descriptor, pages[0])]
            if other is not None:
                self._require_agreement(*other)
            self._add_levels([*pages[0].children, *pages[1:]])
        except BaseException:
            self.close()
            raise
        self.levels = [level.size_px for level in self._levels]
        decoder = self._levels[0].decoder
        self.name = f"tiff, {decoder.name} ({decoder.codec})"

    def canvas(self, level: int, pitch_x: float, pitch_y: float) -> pyramid.Canvas:
        """A canvas of its own for each thread."""
        found = self._levels[level]
        most = min(pyramid.whole_box(min(pitch_x, pitch_y)), found.decoder.most_scale)
        scale = next(scale for scale in SCALES if scale <= most)
        reader = TileReader(self._descriptor, found, scale, lambda: self._glass.colour)
        if self._levels[0].stored.all():
            return pyramid.Canvas(reader.read, pitch_x / scale, pitch_y / scale)
        on_glass = lambda *box: self._glass.fill(reader.read(*box))  # noqa: E731
        return pyramid.Canvas(on_glass, pitch_x / scale, pitch_y / scale)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    @functools.cached_property
    def _glass(self) -> pyramid.Glass:
        return pyramid.find_glass(self._peek(self._levels[0]), self.levels[0])

    def _peek(self, level: TileLevel) -> pyramid.Peek:
        reader, stored = TileReader(self._descriptor, level), level.stored

        def peek(x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
            pixels = reader.read(x, y, width, height)
            rows = (y + np.arange(height)) // level.tile_px[1]
            columns = (x + np.arange(width)) // level.tile_px[0]
            return pixels, stored[rows][:, columns]

        return peek

    def _add_levels(self, candidates: list[Directory]) -> None:
        """Add the coarser levels of the first picture, largest first.

        Files under it and flags say which picture is a level; what it shows decides, since a second
        scene may have a flagged level too.
        """
        base = self._levels[0]
        for page in sorted(candidates, key=lambda page: -page.size_px[0]):
            size, finer = page.size_px, self._levels[-1]
            if not min(size) or not pyramid.is_coarser(size, base.size_px) or size == finer.size_px:
                continue
            with contextlib.suppress(SlideRefused, Unsupported):
                level = find_level(self._descriptor, page)
                if (
                    (level.is_tiled, level.channels) == (base.is_tiled, base.channels)
                    and _covers(level, base)
                    and pyramid.same_picture(
                        self._peek(finer), finer.size_px, self._peek(level), size, level.fullest(6)
                    )
                ):
                    self._levels.append(level)

    def _require_agreement(self, peek: pyramid.Peek, size_px: tuple[int, int]) -> None:
        """Refuse level 0 where openslide makes another picture of its fullest tiles.

        Damage counts as agreement: it is refused when it is asked for.
        """
        level = self._levels[0]
        if level.size_px != size_px:
            raise Unsupported("its first picture is not level 0")
        ours = self._peek(level)
        for x, y in level.fullest(3):
            left, top = max(x - 128, 0), max(y - 128, 0)
            box = (left, top, min(256, size_px[0] - left), min(256, size_px[1] - top))
            try:
                (mine, ours_is), (theirs, theirs_is) = ours(*box), peek(*box)
            except (ValueError, OSError):
                continue
            both = ours_is & theirs_is
            if level.decoder.is_misnamed:  # others believe the header and show Y, Cb, Cr as colours
                picture = Image.frombytes("YCbCr", box[2:], theirs.tobytes())
                theirs = np.asarray(picture.convert("RGB"))
            if both.any() and np.abs(mine.astype(np.int16) - theirs)[both].mean() >= MOST_APART:
                raise Unsupported("its tiles have other colours than its header says")


def _covers(level: TileLevel, base: TileLevel) -> bool:
    """Whether a level stores something wherever level 0 does; encoders leave holes."""
    if level.stored.all() and level.lengths.all():
        return True
    rows, columns = np.nonzero(base.stored)
    place = []
    for k, index in enumerate((columns, rows)):
        centre = (index + 0.5) * base.tile_px[k] * level.size_px[k] / base.size_px[k]
        last = level.lengths.shape[2 - k] - 1
        place.append(np.minimum((centre / level.tile_px[k]).astype(np.int64), last))
    full = np.asarray(level.lengths.all(axis=0))
    return bool(full[place[1], place[0]].all())


def _require_first(pages: list[Directory]) -> None:
    """Refuse a file whose first picture is a macro or a label of a larger one."""
    first = pages[0].size_px
    for number, page in enumerate(pages[1:], 2):
        size = page.size_px
        if min(size[0] / max(first[0], 1), size[1] / max(first[1], 1)) >= 1.5:
            raise SlideRefused(
                f"its first picture, of {first[0]} x {first[1]} px, seems to be a macro: a second "
                f"one is there (number {number}, of {size[0]} x {size[1]} px). Export that one "
                "alone."
            )


def _about(page: Directory) -> dict[str, Any]:
    """What the header says of the scale: description, and pixels per mm where it names a unit."""
    about: dict[str, Any] = {"description": page.description, "size_px": page.size_px}
    per_mm = {2: 1 / 25.4, 3: 1 / 10}.get(page.get(RESOLUTION_UNIT, 2))
    for name, tag in (("x_per_mm", X_RESOLUTION), ("y_per_mm", Y_RESOLUTION)):
        parts = page.all(tag)
        if per_mm and len(parts) == 2 and all(parts):
            about[name] = parts[0] / parts[1] * per_mm
    return about
