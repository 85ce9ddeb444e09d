"""The scale of a Slide: microns per pixel, from whoever states it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featurestore.errors import SlideRefused, SlideWithoutMpp
from featurestore.types import MPP_RANGE, MppSource

MOST_UNEQUAL = 0.05  # largest relative difference of mpp in x and y
ADVICE: dict[MppSource, str] = {
    "manifest": "Correct the column mpp of the manifest.",
    "file": "Add a column mpp to the manifest, or pass --mpp.",
    "option": "Correct --mpp.",
}


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Microns per pixel of a Slide, and who says so."""

    mpp: float
    mpp_file: float | None  # by the file; None where it states none, or nonsense
    source: MppSource


def find_mpp(
    path: Path, manifest: float | None, option: float | None, stated: tuple[float, float] | None
) -> Scale:
    """Decide on the scale: the manifest's, else the file's, else the option's.

    The file states it across and down; a statement out of all bounds is none.

    Raises:
        SlideRefused: none of them, or nonsense.
    """
    fault, mpp_file = None, None
    if stated is not None:
        x, y = stated
        fault = _fault(path, x, y)
        if fault is None:
            mpp_file = x if x == y else math.sqrt(x * y)
        if _in_range(x) and _in_range(y):
            option = None  # it is for files that state nothing
    said: dict[MppSource, float | None]
    said = {"manifest": manifest, "file": mpp_file, "option": option}
    for source, mpp in said.items():
        if mpp is not None and not _in_range(mpp):
            raise _out_of_range(path, mpp, source)
        if mpp is not None:
            return Scale(mpp=mpp, mpp_file=mpp_file, source=source)
    raise fault or SlideWithoutMpp(
        f"slide {path.name!r} has no mpp. Add a column mpp to the manifest, or pass --mpp."
    )


def _in_range(value: float) -> bool:
    return MPP_RANGE[0] <= value <= MPP_RANGE[1]


def _fault(path: Path, x: float, y: float) -> SlideRefused | None:
    """What is wrong with what the file states."""
    for value in (x, y):
        if not _in_range(value):
            return _out_of_range(path, value, "file")
    if abs(x - y) > MOST_UNEQUAL * min(x, y):
        return SlideRefused(
            f"slide {path.name!r} has an mpp of {x:.4g} across and {y:.4g} down, expected the same "
            f"to 5%. Add a column mpp to the manifest."
        )
    return None


def _out_of_range(path: Path, value: float, source: MppSource) -> SlideRefused:
    return SlideRefused(
        f"slide {path.name!r} has an mpp of {value:.4g} by the {source}, expected {MPP_RANGE[0]} "
        f"to {MPP_RANGE[1]:g}. {ADVICE[source]}"
    )


def stated_mpp(
    properties: Mapping[str, str], about: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Microns per pixel across and down, from the first source that states both.

    By openslide's properties, OME-XML, Aperio's header, TIFF resolution: of our TIFF reader
    `about` has description, x_per_mm and y_per_mm.
    """
    across, down = (properties.get(f"openslide.mpp-{axis}") for axis in "xy")
    if across and down:
        return _numbers(across, down)
    text = str(about.get("description", ""))
    if "<OME" in text and (ome := _ome_mpp(text)):
        return ome
    if aperio := re.search(r"\|\s*MPP\s*=\s*([0-9.,]+)", text):
        return _numbers(aperio[1], aperio[1])
    if "x_per_mm" in about and "y_per_mm" in about:
        return 1000 / about["x_per_mm"], 1000 / about["y_per_mm"]
    return None


_MICRONS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6}


def _ome_mpp(xml: str) -> tuple[float, float] | None:
    """PhysicalSizeX and Y of the first Pixels element; the default unit is the micron."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    if pixels is None:
        return None
    values: list[float] = []
    for axis in "XY":
        size = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', pixels[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', pixels[0])
        factor = _MICRONS.get(unit[1] if unit else "µm")
        number = _numbers(size[1], size[1]) if size else None
        if number is None or factor is None:
            return None
        values.append(number[0] * factor)
    return values[0], values[1]


def _numbers(x: str, y: str) -> tuple[float, float] | None:
    try:
        return float(x.replace(",", ".")), float(y.replace(",", "."))
    except ValueError:
        return None
