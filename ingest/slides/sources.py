"""Choose who reads a Slide: our own TIFF reader where it is sure, openslide otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides.apart import open_apart
from ingest.slides.decoders import Unsupported
from ingest.slides.openslide_source import PLAIN_VENDORS, OpenSlideSource
from ingest.slides.tiff import read_index
from ingest.slides.tiff_source import TiffSource

Source = TiffSource | OpenSlideSource


def open_source(file: Path, name: str) -> tuple[Source, Mapping[str, str]]:
    """Open a slide's file with the reader that is sure of its pixels.

    Args:
        file: of the slide.
        name: of the slide, for messages.

    Returns:
        The source, and openslide's properties; empty where it does not open the file.

    Raises:
        SlideUnreadable: it is damaged, or no slide.
        SlideRefused: nobody is sure of its pixels.
    """
    with refusing(name), contextlib.ExitStack() as on_error:
        pages = read_index(file)
        vendor = openslide.OpenSlide.detect_format(str(file))
        if vendor is None and not (pages and file.suffix.lower() in (".tif", ".tiff")):
            raise SlideUnreadable(f"slide {name!r} cannot be opened: its format is not recognised.")
        slide = _opened(file, vendor)
        properties: dict[str, str] = {}
        if slide is not None:
            on_error.callback(slide.close)
            properties = dict(slide.properties)
        why = ""
        if pages and vendor in (None, *PLAIN_VENDORS):
            try:
                return TiffSource(file, pages, _level_0(slide)), properties
            except Unsupported as error:
                why = str(error)
        if slide is None:
            raise SlideUnreadable(f"slide {name!r} cannot be opened: {why}.")
        source = OpenSlideSource(slide)
        on_error.pop_all()  # who closes the handle from now on is the source
        return source, properties


def _opened(file: Path, vendor: str | None) -> Any:
    """The slide as openslide opens it, or None where only we might.

    Raises:
        OpenSlideError: it is damaged.
    """
    if vendor is None:
        return None
    try:
        return open_apart(file)
    except openslide.OpenSlideError:
        if vendor != "generic-tiff":
            raise
        return None  # it lacks codecs that we have


def _level_0(slide: Any) -> Any:
    """What openslide makes of rectangles of level 0, and its size."""
    if slide is None:
        return None

    def peek(x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            rgba = np.asarray(slide.read_region((x, y), 0, (width, height)))
        except openslide.OpenSlideError as error:
            raise ValueError(str(error)) from None
        return rgba[..., :3], rgba[..., 3] == 255

    return peek, slide.dimensions


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
