"""Read the levels of a Slide: TIFF pyramids by libvips and libjpeg-turbo, the rest by openslide."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# openslide first: it brings its own libraries, which clash with those of a pyvips imported before.
import openslide  # isort: skip
import numpy as np
import pyvips
from PIL import Image

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides.canvases import BlockCanvas, Canvas, VipsCanvas, whole_box
from ingest.slides.jpeg_levels import DECODER, SCALES, JpegLevel, JpegReader, find_jpeg_level
from ingest.slides.tiff import Directory

MOST_APART = 2.0  # grey levels between two decoders of the same JPEG tile, on average

pyvips.cache_set_max(
    0
)  # an operation cache keeps files open and memory taken; nothing here repeats


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the libraries' errors into ours."""
    try:
        yield
    except (pyvips.Error, openslide.OpenSlideError, OSError, MemoryError, ValueError) as error:
        raise SlideUnreadable(
            f"slide {path.name!r} cannot be decoded: {first_line(error)}."
        ) from None


def first_line(error: BaseException) -> str:
    """What a library says, without the line that only names the call."""
    text = error.detail if isinstance(error, pyvips.Error) and error.detail else str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


class VipsSource:
    """Tiled TIFF pyramids through libvips; JPEG tiles, where it agrees, by `jpeg_levels`."""

    def __init__(self, file: Path, slide: Any, directories: list[Directory]):
        """Raises pyvips.Error where openslide should read the slide, SlideRefused where nobody."""
        self._file = str(file)
        base = self._load({"page": 0})
        version = ".".join(str(pyvips.version(i)) for i in range(3))
        self.name = f"pyvips {pyvips.__version__}, libvips {version}"
        self.about: dict[str, Any] = {k: base.get(k) for k in base.get_fields() if k in _ABOUT}
        if base.get("vips-loader") != "tiffload":
            raise pyvips.Error(f"{base.get('vips-loader')} reads no pyramid")
        if slide is not None:
            if slide.properties.get("openslide.vendor") not in ("aperio", "generic-tiff"):
                raise pyvips.Error("openslide knows this vendor's layout better")
            if slide.dimensions != (base.width, base.height) or not _tiled(base):
                raise pyvips.Error("its first page is not level 0")
        _require_colour(file, base)
        known = set(slide.level_dimensions) if slide is not None and slide.level_count > 1 else None
        self.levels: list[tuple[int, int]] = []
        self._where: list[dict[str, int]] = []
        regions = []
        for where, image in self._pages(base):
            size = (image.width, image.height)
            if size not in self.levels and (known is None or size in known):
                self.levels.append(size)
                self._where.append(where)
                regions.append(pyvips.Region.new(image))
        self._descriptor = os.open(file, os.O_RDONLY)
        try:
            self._jpeg = self._jpeg_levels(directories)
            for index, (region, (width, height)) in enumerate(
                zip(regions, self.levels, strict=True)
            ):
                if index in self._jpeg and self._agrees(self._jpeg[index], region):
                    continue
                level = self._jpeg.pop(index, None)
                if level is not None and level.is_misnamed:
                    raise pyvips.Error("its tiles have other colours than its header says")
                side = min(64, width, height)  # a truncated or foreign codec shows in a corner
                region.fetch(width - side, height - side, side, side)
        except (pyvips.Error, OSError):
            self.close()
            raise
        if self._jpeg:
            self.name += f", {DECODER}"

    def _jpeg_levels(self, directories: list[Directory]) -> dict[int, JpegLevel]:
        """Levels of plain colour JPEG tiles, by their index."""
        found = {}
        for index, where in enumerate(self._where if directories else []):
            directory = directories[where["page"]]
            directory = directory.children[where["subifd"]] if "subifd" in where else directory
            level = find_jpeg_level(self._descriptor, directory)
            if level is not None and level.size_px == self.levels[index]:
                found[index] = level
        return found

    def _agrees(self, level: JpegLevel, region: Any) -> bool:
        """Whether our decoder makes of a tile with many bytes what libvips makes of it.

        Damage that both read over counts as agreement: it is refused when it is asked for.
        """
        reader = JpegReader(self._descriptor, level, 1, strict=False)
        (width, height), (across, down) = level.size_px, level.tile_px
        lengths = level.lengths.ravel().copy()
        for _ in range(3):
            longest = int(lengths.argmax())
            lengths[longest] = 0
            row, column = divmod(longest, level.lengths.shape[1])
            x, y = column * across, row * down
            box = (x, y, min(across, width - x), min(down, height - y))
            with contextlib.suppress(ValueError, OSError, pyvips.Error):
                ours = reader.read(*box)
                theirs = np.frombuffer(region.fetch(*box), np.uint8).reshape(ours.shape)
                if level.is_misnamed:  # libtiff believes the header and shows Y, Cb, Cr as colours
                    picture = Image.frombytes("YCbCr", box[2:], theirs.tobytes())
                    theirs = np.asarray(picture.convert("RGB"))
                return bool(np.abs(ours.astype(np.int16) - theirs).mean() < MOST_APART)
        return False

    def _load(self, where: dict[str, int]) -> Any:
        return pyvips.Image.new_from_file(self._file, fail_on="truncated", **where)

    def _pages(self, base: Any) -> Iterator[tuple[dict[str, int], Any]]:
        """The pages that are levels, largest first: tiled like level 0, and of its shape."""
        found: list[tuple[dict[str, int], Any]] = [({"page": 0}, base)]
        places = [{"page": page} for page in range(1, _get(base, "n-pages", 1))]
        places += [{"page": 0, "subifd": k} for k in range(_get(base, "n-subifds", 0))]
        for where in places:
            image = self._load(where)
            across, down = base.width / image.width, base.height / image.height
            same_shape = abs(across - down) / across < 0.005 + 1.5 / min(image.width, image.height)
            same_kind = (image.bands, image.format, _tiled(image)) == (
                (base.bands, base.format, _tiled(base))
            )
            if across >= 1.5 and same_shape and same_kind:
                found.append((where, image))
        return iter(sorted(found, key=lambda item: -item[1].width))

    def canvas(self, level: int, pitch_x: float, pitch_y: float) -> Canvas:
        """A canvas of its own for each thread: an Image and a Region are not to be shared."""
        if level not in self._jpeg:
            return VipsCanvas(self._load(self._where[level]), pitch_x, pitch_y)
        most = min(whole_box(min(pitch_x, pitch_y)), self._jpeg[level].most_scale)
        scale = next(scale for scale in SCALES if scale <= most)
        reader = JpegReader(self._descriptor, self._jpeg[level], scale)
        return BlockCanvas(reader.read, pitch_x / scale, pitch_y / scale)

    def close(self) -> None:
        """Let go of the file; libvips' own close with their images."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


_ABOUT = ("image-description", "resolution-unit", "xres", "yres")


def _get(image: Any, field: str, default: Any) -> Any:
    return image.get(field) if image.get_typeof(field) else default


def _tiled(image: Any) -> bool:
    return bool(image.get_typeof("tile-width"))


def _require_colour(file: Path, image: Any) -> None:
    """Refuse what is not upright 8-bit RGB, with or without alpha: the rest would be guessed at."""
    if _get(image, "orientation", 1) > 1:
        raise SlideRefused(
            f"slide {file.name!r} is stored turned or mirrored (orientation "
            f"{image.get('orientation')}), expected 1. Export it again upright."
        )
    if image.format != "uchar" or image.bands not in (3, 4) or image.interpretation != "srgb":
        raise SlideRefused(
            f"slide {file.name!r} has {image.bands} channel(s) of {image.format} "
            f"({image.interpretation}), expected 8-bit colour. Export it again as 8-bit RGB."
        )


class OpenSlideSource:
    """Everything that openslide opens; one handle serves all threads."""

    def __init__(self, slide: Any, path: Path):
        self._slide = slide
        self.about: dict[str, Any] = {}
        self.levels: list[tuple[int, int]] = [tuple(size) for size in slide.level_dimensions]
        vendor = slide.properties.get("openslide.vendor")
        self.name = f"openslide {openslide.__library_version__} ({vendor})"
        with refusing(path):
            for level, (width, height) in enumerate(self.levels):
                self.read(level, max(width - 64, 0), max(height - 64, 0), 64, 64)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a level, without openslide's own interpolation: it shifts by fractions.

        openslide takes level-0 positions and divides them by its own mean downsample.
        """
        downsample = self._slide.level_downsamples[level]
        place = (round(x * downsample), round(y * downsample))
        rgba = self._slide.read_region(place, level, (width, height))
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(white)

    def canvas(self, level: int, pitch_x: float, pitch_y: float) -> Canvas:
        """A canvas on a level."""
        return BlockCanvas(functools.partial(self.read, level), pitch_x, pitch_y)

    def close(self) -> None:
        """Close the handle."""
        self._slide.close()
