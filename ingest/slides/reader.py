"""Open a Slide, whatever its format: size, mpp, thumbnail, pixels at a target mpp."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

# openslide first: it brings its own libraries, which clash with those of a pyvips imported before.
import openslide  # isort: skip
import numpy as np
import pyvips
from PIL import Image

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides.files import first_file
from ingest.slides.grid import strips
from ingest.slides.jpeg_levels import DECODER, SCALES, JpegLevel, JpegReader, find_jpeg_level
from ingest.slides.mpp import find_mpp
from ingest.slides.tiff import Directory, read_index

MOST_ENLARGED = 0.05  # a slide this much coarser than the target is still read
LEVEL_ENLARGED = 0.01  # a level this much coarser than the target still serves it
OVERVIEW_MPP = 8.0
STRIP_TILES = 8  # tiles a read; longer ones are no faster
MOST_APART = 2.0  # grey levels between two decoders of the same JPEG tile, on average

pyvips.cache_set_max(
    0
)  # an operation cache keeps files open and memory taken; nothing here repeats


class _Canvas(Protocol):
    """The whole slide at one scale. Pixel j spans [j, j + 1) times the pitch. For one thread."""

    def fetch(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Pixels of a rectangle, uint8 [height, width, 3]; white or repeated beyond the edge."""


class SlideReader:
    """One open Slide. A context manager; `read_tiles` may run once at a time."""

    def __init__(self, path: Path, source: _VipsSource | _OpenSlideSource, mpp: float):
        self.path, self.mpp = path, mpp
        self.size_px0: tuple[int, int] = source.levels[0]
        self.levels: list[tuple[int, int]] = source.levels
        self.reader: str = source.name
        self._source = source
        self._overview: tuple[np.ndarray, float] | None = None

    def __enter__(self) -> SlideReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._source.close()

    def require_mpp(self, tile_mpp: float) -> None:
        """Refuse the slide where tiles of ``tile_mpp`` would have to be enlarged.

        Raises:
            SlideRefused: the slide is more than 5% coarser.
        """
        if self.mpp > tile_mpp * (1 + MOST_ENLARGED):
            raise SlideRefused(
                f"slide {self.path.name!r} has {self.mpp:.4g} microns per pixel, coarser than the "
                f"{tile_mpp:g} asked for, and is never enlarged. Pass --tile-mpp "
                f"{math.ceil(self.mpp * 10) / 10:g} or more, or correct its mpp in the manifest."
            )

    def overview(self, mpp: float = OVERVIEW_MPP) -> tuple[np.ndarray, float]:
        """The whole slide at about 8 microns a pixel, for finding tissue.

        Returns:
            uint8 [h, w, 3], and its microns per pixel: as asked, or the slide's own where that is
            coarser. Its top-left corner is the slide's.
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
        canvas, pitch = self._canvas(mpp)
        step = max(8, round(2048 / max(pitch)))
        out = np.empty((height, width, 3), np.uint8)
        for y in range(0, height, step):
            for x in range(0, width, step):
                piece = out[y : y + step, x : x + step]
                piece[:] = self._fetch(canvas, x, y, piece.shape[1], piece.shape[0])
        return out

    def read_tiles(
        self, coords_px0: np.ndarray, tile_px: int, tile_mpp: float
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read tiles in the order that is cheapest, a few at a time.

        A tile is placed to the nearest pixel of its own scale: at most half a pixel away, and for
        the corners of `ingest.slides.grid.tile_grid` less than a tenth at 40x.

        Args:
            coords_px0: top-left corners in level-0 pixels, int [N, 2], columns (x, y), any order.
            tile_px: side of a tile in pixels.
            tile_mpp: microns per tile pixel.

        Yields:
            Row numbers of ``coords_px0``, int64 [k], and their pixels, uint8
            [k, tile_px, tile_px, 3]; each row once.

        Raises:
            SlideRefused: the slide is coarser than ``tile_mpp``.
            SlideUnreadable: pixels cannot be decoded.
        """
        self.require_mpp(tile_mpp)
        coords = np.asarray(coords_px0, np.float64).reshape(-1, 2)
        corners = np.rint(coords * (self.mpp / tile_mpp)).astype(np.int64)
        canvas, _ = self._canvas(tile_mpp)
        for strip in strips(corners, tile_px, STRIP_TILES):
            x, y = corners[strip[0]]
            offsets = corners[strip, 0] - x
            band = self._fetch(canvas, int(x), int(y), int(offsets[-1]) + tile_px, tile_px)
            if (np.diff(offsets) == tile_px).all():  # as on any grid: no copy is needed
                yield strip, band.reshape(tile_px, len(strip), tile_px, 3).swapaxes(0, 1)
            else:
                yield strip, np.stack([band[:, left : left + tile_px] for left in offsets])

    def _canvas(self, mpp: float) -> tuple[_Canvas, tuple[float, float]]:
        """A canvas on the coarsest level that is fine enough, and its pitch in level pixels."""
        scale = mpp / self.mpp
        width, height = self.size_px0
        pitches = [(scale * w / width, scale * h / height) for w, h in self.levels]
        level = max(
            (i for i, pitch in enumerate(pitches) if min(pitch) >= 1 - LEVEL_ENLARGED),
            key=lambda i: -min(pitches[i]),
            default=0,
        )
        with _refusing(self.path):
            return self._source.canvas(level, *pitches[level]), pitches[level]

    def _fetch(self, canvas: _Canvas, x: int, y: int, width: int, height: int) -> np.ndarray:
        with _refusing(self.path):
            return canvas.fetch(x, y, width, height)


def open_slide(path: Path, *, mpp: float | None = None) -> SlideReader:
    """Open a slide with the reader that can decode it: pyvips where it can, openslide otherwise.

    Args:
        path: a file, the .mrxs file of a MIRAX slide, or a file or the folder of a DICOM series.
        mpp: microns per level-0 pixel, over whatever the file says.

    Raises:
        SlideUnreadable: no library can decode it.
        SlideRefused: it has no mpp, a nonsense mpp, or pixels that are not 8-bit colour.
    """
    path = Path(path)
    file = first_file(path)
    with _refusing(path):
        directories = read_index(file)
        try:
            slide = openslide.OpenSlide(str(file))
        except openslide.OpenSlideUnsupportedFormatError:
            slide = None  # others are damaged: what libvips makes of them is not to be trusted
    if slide is None and file.suffix.lower() not in (".tif", ".tiff"):
        raise SlideUnreadable(
            f"slide {path.name!r} cannot be opened: its format is not recognised."
        )
    with contextlib.ExitStack() as on_error:
        if slide is not None:
            on_error.callback(slide.close)
        source: _VipsSource | _OpenSlideSource
        try:
            source = _VipsSource(file, slide, directories)
        except pyvips.Error as error:
            if slide is None:
                raise SlideUnreadable(
                    f"slide {path.name!r} cannot be opened: {_first_line(error)}."
                ) from None
            source = _OpenSlideSource(slide, path)
        on_error.callback(source.close)
        reader = SlideReader(
            path,
            source,
            find_mpp(path, mpp, slide.properties if slide is not None else {}, source.about),
        )
        on_error.pop_all()
        if slide is not None and not isinstance(source, _OpenSlideSource):
            slide.close()
        return reader


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn the libraries' errors into ours."""
    try:
        yield
    except (pyvips.Error, openslide.OpenSlideError, OSError, MemoryError, ValueError) as error:
        raise SlideUnreadable(
            f"slide {path.name!r} cannot be decoded: {_first_line(error)}."
        ) from None


def _first_line(error: BaseException) -> str:
    """What a library says, without the line that only names the call."""
    text = error.detail if isinstance(error, pyvips.Error) and error.detail else str(error)
    text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


# --- pyvips


class _VipsSource:
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

    def canvas(self, level: int, pitch_x: float, pitch_y: float) -> _Canvas:
        """A canvas of its own for each thread: an Image and a Region are not to be shared."""
        if level not in self._jpeg:
            return _VipsCanvas(self._load(self._where[level]), pitch_x, pitch_y)
        most = min(_box(min(pitch_x, pitch_y)), self._jpeg[level].most_scale)
        scale = next(scale for scale in SCALES if scale <= most)
        reader = JpegReader(self._descriptor, self._jpeg[level], scale)
        return _BlockCanvas(reader.read, pitch_x / scale, pitch_y / scale)

    def close(self) -> None:
        """Let go of the file; libvips' own close with their images."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


_ABOUT = ("image-description", "resolution-unit", "xres", "yres")


class _VipsCanvas:
    def __init__(self, level: Any, pitch_x: float, pitch_y: float):
        if level.hasalpha():
            level = level.flatten(background=255)
        self._image = _scaled(level, pitch_x, pitch_y)
        self._region = pyvips.Region.new(self._image)

    def fetch(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        # the canvas is a little larger than the slide, so only absurd corners lie outside it
        if x < 0 or y < 0 or x + width > self._image.width or y + height > self._image.height:
            raise SlideUnreadable(
                f"a tile at ({x}, {y}) px lies outside the slide of "
                f"{self._image.width} x {self._image.height} px"
            )
        pixels = np.frombuffer(self._region.fetch(x, y, width, height), np.uint8)
        return pixels.reshape(height, width, 3)


def _scaled(image: Any, pitch_x: float, pitch_y: float) -> Any:
    """Shrink an image so that output pixel j averages exactly input [j, j + 1) times the pitch.

    libvips rounds the output size and spreads what is left over both edges, which would shift every
    pixel. So the image is first extended to where its size is a multiple of the pitch.
    """
    box_x, box_y = _box(pitch_x), _box(pitch_y)
    rest_x, rest_y = pitch_x / box_x, pitch_y / box_y
    width, height = _even(image.width / box_x, rest_x), _even(image.height / box_y, rest_y)
    image = image.embed(0, 0, width * box_x, height * box_y, extend="copy")
    if box_x > 1 or box_y > 1:
        image = image.shrink(box_x, box_y)
    if rest_x == rest_y == 1:
        return image
    if rest_x >= 1 and rest_y >= 1:
        return image.reduce(rest_x, rest_y, kernel="linear")
    return image.affine(
        [1 / rest_x, 0, 0, 1 / rest_y],
        interpolate=pyvips.Interpolate.new("bilinear"),
        idx=0.5 - 0.5 * rest_x,
        idy=0.5 - 0.5 * rest_y,
        oarea=[0, 0, round(width / rest_x), round(height / rest_y)],
        extend="copy",
    )


def _box(pitch: float) -> int:
    """Whole pixels to average first; what is left of the pitch lies at 0.88 to 1.75."""
    return max(1, round(pitch - 0.25))


def _even(size: float, pitch: float) -> int:
    """A whole number a little over ``size`` that is a multiple of the pitch to 0.01 pixels."""
    counts = np.arange(math.ceil(size / pitch) + 8, math.ceil(size / pitch) + 520)
    errors = np.abs(counts * pitch - np.rint(counts * pitch))
    return round(counts[np.argmax(errors <= max(0.005, errors.min()))] * pitch)


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


# --- openslide


class _OpenSlideSource:
    """Everything that openslide opens; one handle serves all threads."""

    def __init__(self, slide: Any, path: Path):
        self._slide = slide
        self.about: dict[str, Any] = {}
        self.levels: list[tuple[int, int]] = [tuple(size) for size in slide.level_dimensions]
        vendor = slide.properties.get("openslide.vendor")
        self.name = f"openslide {openslide.__library_version__} ({vendor})"
        with _refusing(path):
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

    def canvas(self, level: int, pitch_x: float, pitch_y: float) -> _Canvas:
        """A canvas on a level."""
        return _BlockCanvas(functools.partial(self.read, level), pitch_x, pitch_y)

    def close(self) -> None:
        """Close the handle."""
        self._slide.close()


# --- blocks


class _BlockCanvas:
    """Shrinks blocks of pixels, so that output pixel j averages [j, j + 1) times the pitch.

    Args:
        read: pixels of a rectangle of a level, uint8 [height, width, 3].
        pitch_x: pixels of that level per output pixel.
        pitch_y: the same down.
    """

    def __init__(
        self, read: Callable[[int, int, int, int], np.ndarray], pitch_x: float, pitch_y: float
    ) -> None:
        self._read, self._pitch = read, (pitch_x, pitch_y)

    def fetch(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        if self._pitch == (1, 1):
            return self._read(x, y, width, height)
        edges = []  # per axis: first and last level pixel in whole boxes, box, rest of the pitch
        for start, length, pitch in zip((x, y), (width, height), self._pitch, strict=True):
            box = _box(pitch)
            first = math.floor(start * pitch / box)
            last = math.ceil((start + length) * pitch / box) + 1
            edges.append((first * box, last * box, box, start * pitch / box - first, pitch / box))
        (left, right, box_x, at_x, rest_x), (top, bottom, box_y, at_y, rest_y) = edges
        block = Image.fromarray(self._read(left, top, right - left, bottom - top))
        if box_x > 1 or box_y > 1:
            block = block.reduce((box_x, box_y))
        frame = (at_x, at_y, at_x + width * rest_x, at_y + height * rest_y)
        return np.asarray(block.resize((width, height), Image.Resampling.BILINEAR, box=frame))
