"""The scale of a Slide: microns per pixel, from whoever states it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from featurestore.errors import SlideRefused, SlideWithoutMpp

MPP_RANGE = (0.05, 100.0)
MOST_UNEQUAL = 0.05  # largest relative difference of mpp in x and y


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Microns per pixel of a Slide, and who says so."""

    mpp: float
    mpp_file: float | None  # by the file; None where it states none, or nonsense
    source: Literal["manifest", "file", "option"]


def find_mpp(
    path: Path,
    manifest: float | None,
    option: float | None,
    stated: tuple[float, float] | None,
) -> Scale:
    """Decide on the scale: the manifest's, else the file's, else the option's.

    The file states it across and down; a statement out of all bounds is none.

    Raises:
        SlideRefused: none of them, or nonsense.
    """
    wrong = _fault(path, stated) if stated is not None else None
    mpp_file = None
    if stated is not None and wrong is None:
        x, y = stated
        mpp_file = x if x == y else math.sqrt(x * y)
    if manifest is not None:
        found: tuple[float, Literal["manifest", "file", "option"]] = manifest, "manifest"
    elif mpp_file is not None:
        found = mpp_file, "file"
    elif option is not None and (stated is None or not all(_in_range(v) for v in stated)):
        found = option, "option"
    else:
        raise wrong or SlideWithoutMpp(
            f"slide {path.name!r} has no mpp. Add a column mpp to the manifest, or pass --mpp."
        )
    if not _in_range(found[0]):
        raise _out_of_range(path, found[0], found[1])
    return Scale(mpp=found[0], mpp_file=mpp_file, source=found[1])


def _in_range(value: float) -> bool:
    return MPP_RANGE[0] <= value <= MPP_RANGE[1]


def _fault(path: Path, stated: tuple[float, float]) -> SlideRefused | None:
    """What is wrong with what the file states."""
    x, y = stated
    for value in stated:
        if not _in_range(value):
            return _out_of_range(path, value, "file")
    if abs(x - y) > MOST_UNEQUAL * min(x, y):
        return SlideRefused(
            f"slide {path.name!r} has an mpp of {x:.4g} across and {y:.4g} down, expected the same "
            f"to 5%. Add a column mpp to the manifest."
        )
    return None


def _out_of_range(path: Path, value: float, source: str) -> SlideRefused:
    advice = {
        "manifest": "Correct the column mpp of the manifest.",
        "file": "Add a column mpp to the manifest, or pass --mpp.",
        "option": "Correct --mpp.",
    }[source]
    return SlideRefused(
        f"slide {path.name!r} has an mpp of {value:.4g} by the {source}, expected {MPP_RANGE[0]} "
        f"to {MPP_RANGE[1]:g}. {advice}"
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
    if "<OME" in text:
        ome = _ome_mpp(text)
        if ome is not None:
            return ome
    aperio = re.search(r"\|\s*MPP\s*=\s*([0-9.,]+)", text)
    if aperio:
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
