"""Choose who reads a Slide: our own TIFF reader where it is sure, openslide otherwise."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openslide

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides import dicom
from ingest.slides.decoders import Unsupported
from ingest.slides.openslide_source import PLAIN_VENDORS, OpenSlideSource, wanted_properties
from ingest.slides.pyramid import Peek
from ingest.slides.tiff import read_index
from ingest.slides.tiff_source import TiffSource

Source = TiffSource | OpenSlideSource
# what openslide opens beside such a file was looked at under these names alone
OF_SEVERAL_FILES = {"dicom": (".dcm", ".dicom"), "hamamatsu": (".vms", ".vmu", ".ndpi")}


def open_source(file: Path, name: str) -> tuple[Source, Mapping[str, str]]:
    """Open a slide's file with the reader that is sure of its pixels; also openslide's properties.

    These are empty where it does not open the file.

    Raises:
        SlideUnreadable: it is damaged, or no slide.
        SlideRefused: nobody is sure of its pixels.
    """
    with refusing(name):
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
        if pages and vendor in (None, *PLAIN_VENDORS):
            with contextlib.closing(_Other(file, vendor)) as other:
                try:
                    return TiffSource(file, pages, other.level_0), other.properties
                except Unsupported as error:
                    if other.level_0 is None:
                        raise SlideUnreadable(
                            f"slide {name!r} cannot be opened: {error}."
                        ) from None
        source = OpenSlideSource(file)
        return source, source.properties


class _Other:
    """A TIFF file as openslide opens it, if it does."""

    def __init__(self, file: Path, vendor: str | None) -> None:
        self._slide: Any = None
        self.level_0: tuple[Peek, tuple[int, int]] | None = None
        self.properties: dict[str, str] = {}
        try:
            if vendor is not None:
                self._slide = openslide.OpenSlide(str(file))
        except openslide.OpenSlideError:
            if vendor != "generic-tiff":  # it lacks codecs that we have
                raise
        if self._slide is not None:
            self.level_0 = self._peek, self._slide.dimensions
            self.properties = wanted_properties(self._slide)

    def _peek(self, x: int, y: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        try:
            rgba = np.asarray(self._slide.read_region((x, y), 0, (width, height)))
        except openslide.OpenSlideError as error:
            raise ValueError(str(error)) from None
        return rgba[..., :3], rgba[..., 3] == 255

    def close(self) -> None:
        if self._slide is not None:
            self._slide.close()


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
