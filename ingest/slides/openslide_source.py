"""Read the levels of a Slide through openslide."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from PIL import Image

from ingest.slides import dicom
from ingest.slides.pyramid import Canvas, Glass, find_glass, has_gaps, same_picture

# whose levels openslide takes from any writer: another picture may be among them
PLAIN_VENDORS = ("aperio", "generic-tiff")


def wanted_properties(slide: Any) -> dict[str, str]:
    """Vendor and mpp; of a damaged file openslide lists properties that it does not have."""
    names = (f"openslide.{name}" for name in ("vendor", "mpp-x", "mpp-y"))
    return {name: value for name in names if (value := slide.properties.get(name))}


class _LinkedSeries(openslide.OpenSlide):  # type: ignore[misc]  # it has no types
    """A DICOM series with a folder of links to its files, which goes when it is closed.

    openslide opens every file beside a DICOM file, for each slide again: a flat folder of 160
    series was read 29 times over, and a pipe in it hangs.
    """

    def __init__(self, files: list[Path]) -> None:
        self._links = tempfile.TemporaryDirectory(prefix="series-")
        try:
            for number, file in enumerate(files):
                Path(self._links.name, f"{number}.dcm").symlink_to(file)
            super().__init__(str(Path(self._links.name, "0.dcm")))
        except BaseException:
            self._links.cleanup()
            raise

    def close(self) -> None:
        """Close the handle; openslide opens files anew as it reads: so long the links stay."""
        super().close()
        self._links.cleanup()


class OpenSlideSource:
    """Everything that openslide opens; one handle serves all threads."""

    # a coarse level may be coded so that its single pixels are 10 grey levels off on average (SCN):
    # four of them are averaged where tissue is looked for
    overview_pitch = 2.0

    def __init__(self, file: Path) -> None:
        self._file, self._slide = file, self._open(file)
        self.about: dict[str, Any] = {}
        self.properties = wanted_properties(self._slide)
        vendor = self.properties.get("openslide.vendor")
        self.name = f"openslide {openslide.__library_version__} ({vendor})"
        try:
            self._numbers = self._find_levels(vendor in PLAIN_VENDORS)
            sizes = self._slide.level_dimensions
            self.levels: list[tuple[int, int]] = [tuple(sizes[i]) for i in self._numbers]
            for number, (width, height) in zip(self._numbers, self.levels, strict=True):
                side = min(64, width, height)  # a codec that is missing shows in a corner
                self._read(number, width - side, height - side, side, side)
        except BaseException:
            self.close()
            raise

    def _open(self, file: Path) -> Any:
        group = dicom.groups(file.parent).get(file.name) if dicom.may_be_dicom(file.name) else None
        if group is None:
            return openslide.OpenSlide(str(file))
        return _LinkedSeries([file.with_name(name).absolute() for name in group.names])

    def _find_levels(self, is_plain: bool) -> list[int]:
        """Numbers of the levels, without another picture among those of a plain TIFF."""
        sizes, found = self._slide.level_dimensions, [0]
        for number in range(1, len(sizes)):
            finer = found[-1]
            if not is_plain or same_picture(
                functools.partial(self._peek, finer), sizes[finer],
                functools.partial(self._peek, number), sizes[number],
            ):  # fmt: skip
                found.append(number)
        return found

    def canvas(self, level: int, pitch_x: float, pitch_y: float) -> Canvas:
        """A canvas on a level."""
        read = functools.partial(self._on_glass, self._numbers[level], self.levels[level])
        return Canvas(read, pitch_x, pitch_y)

    def close(self) -> None:
        """Close the handle."""
        self._slide.close()

    @functools.cached_property
    def _glass(self) -> Glass:
        return find_glass(functools.partial(self._peek, 0), self.levels[0])

    @functools.cached_property
    def _has_gaps(self) -> bool:
        return has_gaps(functools.partial(self._peek, 0), self.levels[0])

    def _read(self, number: int, x: int, y: int, width: int, height: int) -> Any:
        """Pixels of a level, without openslide's own interpolation: it shifts by fractions.

        openslide takes level-0 positions and divides them by its own mean downsample.
        """
        downsample = self._slide.level_downsamples[number]
        place = (round(x * downsample), round(y * downsample))
        return self._slide.read_region(place, number, (width, height))

    def _on_glass(
        self, number: int, size: tuple[int, int], x: int, y: int, width: int, height: int
    ) -> np.ndarray:
        """Pixels as uint8 [height, width, 3]; beyond the level its edge goes on."""
        inside = (max(min(width, size[0] - x), 0), max(min(height, size[1] - y), 0))
        if min(x, y) < 0 or not all(inside):
            raise ValueError(f"({x}, {y}) px lies outside a level of {size} px")
        rgba = self._read(number, x, y, *inside)
        alpha = rgba.getchannel("A")
        pixels = np.asarray(rgba.convert("RGB"))
        if self._has_gaps or alpha.getextrema()[0] < 255:
            laid = Image.new("RGB", rgba.size, tuple(self._glass.colour.tolist()))
            laid.paste(rgba, mask=alpha)
            pixels = self._glass.fill(np.asarray(laid))
        rest = ((0, height - inside[1]), (0, width - inside[0]), (0, 0))
        return np.pad(pixels, rest, mode="edge") if inside != (width, height) else pixels

    def _peek(
        self, number: int, x: int, y: int, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            rgba = np.asarray(self._read(number, x, y, width, height))
        except openslide.OpenSlideError as error:
            self._slide.close()
            self._slide = self._open(self._file)  # after an error it says nothing else
            raise ValueError(str(error)) from None
        return rgba[..., :3], rgba[..., 3] == 255
