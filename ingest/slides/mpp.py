"""The scale of a Slide: microns per pixel, from whoever states it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import SlideRefused

MPP_RANGE = (0.05, 100.0)
MOST_UNEQUAL = 0.05  # largest relative difference of mpp in x and y


def find_mpp(
    path: Path, given: float | None, properties: Mapping[str, str], about: Mapping[str, Any]
) -> float:
    """Microns per pixel: as given, else by openslide, OME-XML, Aperio header, TIFF resolution.

    Args:
        path: of the Slide, to name it.
        given: by the user, over whatever the file says.
        properties: as openslide names them; empty where it does not open the file.
        about: fields of libvips: image-description, resolution-unit, xres, yres.

    Raises:
        SlideRefused: none of them, or nonsense.
    """
    pair = (given, given) if given is not None else _stated_mpp(properties, about)
    if pair is None or pair[0] is None or pair[1] is None:
        raise SlideRefused(
            f"slide {path.name!r} has no mpp. Add a column mpp to the manifest, or pass --mpp."
        )
    x, y = pair
    for value in pair:
        if not MPP_RANGE[0] <= value <= MPP_RANGE[1]:
            raise SlideRefused(
                f"slide {path.name!r} has an mpp of {value:.4g}, expected {MPP_RANGE[0]} to "
                f"{MPP_RANGE[1]:g}. Add a column mpp to the manifest, or pass --mpp."
            )
    if abs(x - y) > MOST_UNEQUAL * min(x, y):
        raise SlideRefused(
            f"slide {path.name!r} has an mpp of {x:.4g} across and {y:.4g} down, expected the same "
            f"to 5%. Add a column mpp to the manifest, or pass --mpp."
        )
    return x if x == y else math.sqrt(x * y)


def _stated_mpp(
    properties: Mapping[str, str], about: Mapping[str, Any]
) -> tuple[float, float] | None:
    """(x, y) from the first source that states both."""
    across, down = (properties.get(f"openslide.mpp-{axis}") for axis in "xy")
    if across and down:
        return _numbers(across, down)
    text = str(about.get("image-description", ""))
    if "<OME" in text:
        ome = _ome_mpp(text)
        if ome is not None:
            return ome
    aperio = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", text)
    if aperio:
        return _numbers(aperio[1], aperio[1])
    if about.get("resolution-unit") in ("cm", "in") and about.get("xres") and about.get("yres"):
        return 1000 / about["xres"], 1000 / about["yres"]  # libvips counts pixels per mm
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
        return float(x), float(y)
    except ValueError:
        return None
