"""Choose who reads a Slide: our own TIFF reader where it is sure, openslide otherwise."""

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide
from PIL import Image

from featurestore.errors import SlideRefused, SlideUnreadable, temporary
from ingest.slides import dicom, pyramid, tiff
from ingest.slides.pyramid import Glass, Picture, Read, shrunk
from ingest.slides.tile_reader import SCALES, TileLevel, TileReader, Unsupported, find_level

MOST_APART = 2.0  # grey levels between two decoders of the same tile, on average
# whose levels openslide takes from any writer: another picture may be among them
PLAIN_VENDORS = ("aperio", "generic-tiff")
# what openslide opens beside such a file was looked at under these names alone
OF_SEVERAL_FILES = {"dicom": (".dcm", ".dicom"), "hamamatsu": (".vms", ".vmu", ".ndpi")}


def open_source(file: Path, name: str) -> tuple["Source", Mapping[str, str]]:
    """Open a slide's file with the reader that is sure of its pixels; also openslide's properties.

    These are empty where it does not open the file. Raises as `refusing` does.
    """
    with refusing(name), contextlib.ExitStack() as opened:
        pages = tiff.read_index(file)
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
                source = TiffSource(file, pages, other.picture(0) if other else None)
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

    def picture(self, number: int) -> Picture:
        """What it makes of a level, to be compared."""
        return Picture(functools.partial(self._peek, number), self._slide.level_dimensions[number])

    def find_levels(self) -> None:
        """Find the levels, without another picture among those of a plain TIFF; before reading."""
        found = [0]
        for number in range(1, self._slide.level_count):
            finer, level = self.picture(found[-1]), self.picture(number)
            if self._vendor not in PLAIN_VENDORS or pyramid.same_picture(finer, level):
                found.append(number)
        self._numbers, self.levels = found, [self.picture(i).size_px for i in found]
        for number, (width, height) in zip(found, self.levels, strict=True):
            side = min(64, width, height)  # a codec that is missing shows in a corner
            self._read(number, width - side, height - side, side, side)

    def shown(self, level: int, pitch_x: float, pitch_y: float) -> Read:
        """Reads a level at another scale."""
        read = functools.partial(self._on_glass, self._numbers[level], self.levels[level])
        return shrunk(read, pitch_x, pitch_y)

    def close(self) -> None:
        """Close the handle."""
        self._slide.close()

    @functools.cached_property
    def _glass(self) -> Glass:
        return pyramid.find_glass(self.picture(0))

    @functools.cached_property
    def _has_gaps(self) -> bool:
        return pyramid.has_gaps(self.picture(0))

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


class TiffSource:
    """The first picture of a TIFF file and its coarser levels.

    Where openslide opens the file too, `other` is its level 0. What it may read alone is
    Unsupported, what nobody should read a SlideRefused.
    """

    overview_pitch = 1.0  # least pixels of a level to one of an overview, each way

    def __init__(self, file: Path, pages: list[tiff.Directory], other: Picture | None) -> None:
        _require_first(pages)
        self.about = _about(pages[0])
        self._descriptor = os.open(file, os.O_RDONLY)
        try:
            self._levels = [find_level(self._descriptor, pages[0])]
            if other is not None:
                self._require_agreement(other)
            self._add_levels([*pages[0].children, *pages[1:]])
        except BaseException:
            self.close()
            raise
        self.levels = [level.size_px for level in self._levels]
        decoder = self._levels[0].decoder
        self.name = f"tiff, {decoder.name} ({decoder.codec})"

    def shown(self, level: int, pitch_x: float, pitch_y: float) -> Read:
        """Reads a level at another scale; each thread needs its own."""
        found = self._levels[level]
        most = min(pyramid.whole_box(min(pitch_x, pitch_y)), found.decoder.most_scale)
        scale = next(scale for scale in SCALES if scale <= most)
        reader = TileReader(self._descriptor, found, scale, lambda: self._glass.colour)
        if self._levels[0].stored.all():
            return shrunk(reader.read, pitch_x / scale, pitch_y / scale)
        on_glass = lambda *box: self._glass.fill(reader.read(*box))  # noqa: E731
        return shrunk(on_glass, pitch_x / scale, pitch_y / scale)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    @functools.cached_property
    def _glass(self) -> Glass:
        return pyramid.find_glass(self._picture(self._levels[0]))

    def _picture(self, level: TileLevel) -> Picture:
        reader, stored = TileReader(self._descriptor, level), level.stored

        def peek(x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
            pixels = reader.read(x, y, width, height)
            rows = (y + np.arange(height)) // level.tile_px[1]
            columns = (x + np.arange(width)) // level.tile_px[0]
            return pixels, stored[rows][:, columns]

        return Picture(peek, level.size_px)

    def _add_levels(self, candidates: list[tiff.Directory]) -> None:
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
                        self._picture(finer), self._picture(level), level.fullest(6)
                    )
                ):
                    self._levels.append(level)

    def _require_agreement(self, other: Picture) -> None:
        """Refuse level 0 where openslide makes another picture of its fullest tiles.

        Damage counts as agreement: it is refused when it is asked for.
        """
        level, size_px = self._levels[0], other.size_px
        if level.size_px != size_px:
            raise Unsupported("its first picture is not level 0")
        ours = self._picture(level)
        for x, y in level.fullest(3):
            left, top = max(x - 128, 0), max(y - 128, 0)
            box = (left, top, min(256, size_px[0] - left), min(256, size_px[1] - top))
            try:
                (mine, ours_is), (theirs, theirs_is) = ours.peek(*box), other.peek(*box)
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
    centres = np.argwhere(base.stored)[:, ::-1] + 0.5  # columns (x, y), in tiles
    at = (centres * base.tile_px * level.size_px / base.size_px / level.tile_px).astype(np.int64)
    full = np.asarray(level.lengths.all(axis=0))
    x, y = np.minimum(at, np.array(full.shape[::-1]) - 1).T
    return bool(full[y, x].all())


def _require_first(pages: list[tiff.Directory]) -> None:
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


def _about(page: tiff.Directory) -> dict[str, Any]:
    """What the header says of the scale: description, and pixels per mm where it names a unit."""
    about: dict[str, Any] = {"description": page.description, "size_px": page.size_px}
    per_mm = {2: 1 / 25.4, 3: 1 / 10}.get(page.get(tiff.RESOLUTION_UNIT, 2))
    for name, tag in (("x_per_mm", tiff.X_RESOLUTION), ("y_per_mm", tiff.Y_RESOLUTION)):
        parts = page.all(tag)
        if per_mm and len(parts) == 2 and all(parts):
            about[name] = parts[0] / parts[1] * per_mm
    return about


Source = TiffSource | OpenSlideSource
