"""Choose who reads a Slide: our own TIFF reader where it is sure, openslide otherwise."""

from __future__ import annotations

import contextlib
import functools
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from PIL import Image

from featurestore.errors import SlideRefused, SlideUnreadable, temporary
from ingest.slides import dicom
from ingest.slides.decoders import Unsupported
from ingest.slides.pyramid import Canvas, Glass, Peek, find_glass, has_gaps, same_picture
from ingest.slides.tiff import read_index
from ingest.slides.tiff_source import TiffSource

# whose levels openslide takes from any writer: another picture may be among them
PLAIN_VENDORS = ("aperio", "generic-tiff")
# what openslide opens beside such a file was looked at under these names alone
OF_SEVERAL_FILES = {"dicom": (".dcm", ".dicom"), "hamamatsu": (".vms", ".vmu", ".ndpi")}


def open_source(file: Path, name: str) -> tuple[Source, Mapping[str, str]]:
    """Open a slide's file with the reader that is sure of its pixels; also openslide's properties.

    These are empty where it does not open the file.

    Raises:
        SlideUnreadable: it is damaged, or no slide.
        SlideRefused: nobody is sure of its pixels.
    """
    with refusing(name), contextlib.ExitStack() as opened:
        pages = read_index(file)
        vendor = openslide.OpenSlide.detect_format(str(file))
        if vendor is None and not (pages and file.suffix.lower() in (".tif", ".tiff")):
            raise SlideUnreadable(f"slide {name!r} cannot be opened: its format is not recognised.")
        kin = OF_SEVERAL_FILES.get(str(vendor), (file.suffix.lower(),))
        if not pages and file.suffix.lower() not in kin and not dicom.may_be_dicom(file.name):
            raise SlideUnreadable(
                f"slide {name!r} holds what {vendor} writes, expected a name that ends in "
                f"{' or '.join(kin)}. Rename it."
            )
        other, fault = None, ""
        try:
            if vendor is not None:
                other = OpenSlideSource(file)
                opened.callback(other.close)
        except openslide.OpenSlideError:
            if not pages or vendor != "generic-tiff":  # it lacks codecs that we have
                raise
        if pages and vendor in (None, *PLAIN_VENDORS):
            try:
                source = TiffSource(file, pages, other.level_0 if other else None)
                return source, other.properties if other else {}
            except Unsupported as error:
                fault = str(error)
        if other is None:
            raise SlideUnreadable(f"slide {name!r} cannot be opened: {fault}.")
        other.find_levels()
        opened.pop_all()
        return other, other.properties


@contextlib.contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turn the libraries' errors into ours, and name the slide."""
    try:
        yield
    except SlideRefused as error:
        raise SlideRefused(f"slide {name!r} is refused: {error}") from None
    except (openslide.OpenSlideError, OSError, MemoryError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = (lines[0] if lines else type(error).__name__).rstrip(".")
        raise SlideUnreadable(f"slide {name!r} cannot be decoded: {reason}.") from None


class _LinkedSeries(openslide.OpenSlide):  # type: ignore[misc]  # it has no types
    """A DICOM series with a folder of links to its files, which goes when it is closed.

    openslide opens every file beside a DICOM file, for each slide again: a flat folder of 160
    series was read 29 times over, and a pipe in it hangs.
    """

    def __init__(self, files: list[Path]) -> None:
        with temporary():
            self._links = tempfile.TemporaryDirectory(prefix="series-")
        try:
            for number, file in enumerate(files):
                Path(self._links.name, f"{number}.dcm").symlink_to(file)
            super().__init__(str(Path(self._links.name, "0.dcm")))
        except BaseException as error:
            self._links.cleanup()
            if isinstance(error, openslide.OpenSlideError):  # it names a link
                link = re.compile(rf"{re.escape(self._links.name)}/(\d+)\.dcm")
                said = link.sub(lambda found: files[int(found[1])].name, str(error))
                raise openslide.OpenSlideError(said) from None
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
    levels: list[tuple[int, int]]

    def __init__(self, file: Path) -> None:
        self._file, self._slide = file, self._open(file)
        self.about: dict[str, Any] = {}
        # of a damaged file openslide lists properties that it does not have
        names = (f"openslide.{name}" for name in ("vendor", "mpp-x", "mpp-y"))
        said = {name: self._slide.properties.get(name) for name in names}
        self.properties: dict[str, str] = {name: value for name, value in said.items() if value}
        self._vendor = self.properties.get("openslide.vendor")
        self.name = f"openslide {openslide.__library_version__} ({self._vendor})"

    def _open(self, file: Path) -> Any:
        group = dicom.groups(file.parent).get(file.name) if dicom.may_be_dicom(file.name) else None
        if group is None:
            return openslide.OpenSlide(str(file))
        return _LinkedSeries([file.with_name(name).absolute() for name in group.names])

    @property
    def level_0(self) -> tuple[Peek, tuple[int, int]]:
        """What it makes of level 0, for another reader to compare, and its width and height."""
        return functools.partial(self._peek, 0), self._slide.dimensions

    def find_levels(self) -> None:
        """Find the levels, without another picture among those of a plain TIFF; before reading."""
        sizes, found = self._slide.level_dimensions, [0]
        for number in range(1, len(sizes)):
            finer = found[-1]
            if self._vendor not in PLAIN_VENDORS or same_picture(
                functools.partial(self._peek, finer), sizes[finer],
                functools.partial(self._peek, number), sizes[number],
            ):  # fmt: skip
                found.append(number)
        self._numbers, self.levels = found, [tuple(sizes[i]) for i in found]
        for number, (width, height) in zip(found, self.levels, strict=True):
            side = min(64, width, height)  # a codec that is missing shows in a corner
            self._read(number, width - side, height - side, side, side)

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


Source = TiffSource | OpenSlideSource
