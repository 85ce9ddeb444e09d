"""The scale of a Slide: microns per pixel, from whoever states it."""

import html
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
    mpp_source: MppSource


def find_mpp(
    path: Path, manifest: float | None, option: float | None, stated: tuple[float, float] | None
) -> Scale:
    """Decide on the scale: the manifest's, else the file's, else the option's.

    The file states it across and down. No statement, or nonsense, is a SlideRefused.
    """
    fault, mpp_file = None, None
    if stated is not None:
        x, y = stated
        fault = _out_of_range(path, x, "file") or _out_of_range(path, y, "file")
        if fault is None:
            option = None  # it is for files that state nothing
            if abs(x - y) <= MOST_UNEQUAL * min(x, y):
                mpp_file = x if x == y else math.sqrt(x * y)
            else:
                fault = SlideRefused(
                    f"slide {path.name!r} has an mpp of {x:.4g} across and {y:.4g} down, expected "
                    "the same to 5%. Add a column mpp to the manifest."
                )
    said: dict[MppSource, float | None]
    said = {"manifest": manifest, "file": mpp_file, "option": option}
    for source, mpp in said.items():
        if mpp is not None:
            if wrong := _out_of_range(path, mpp, source):
                raise wrong
            return Scale(mpp=mpp, mpp_file=mpp_file, mpp_source=source)
    raise fault or SlideWithoutMpp(
        f"slide {path.name!r} has no mpp. Add a column mpp to the manifest, or pass --mpp."
    )


def _out_of_range(path: Path, value: float, source: MppSource) -> SlideRefused | None:
    if MPP_RANGE[0] <= value <= MPP_RANGE[1]:
        return None
    return SlideRefused(
        f"slide {path.name!r} has an mpp of {value:.4g} by the {source}, expected {MPP_RANGE[0]} "
        f"to {MPP_RANGE[1]:g}. {ADVICE[source]}"
    )


def stated_mpp(
    properties: Mapping[str, str], about: Mapping[str, Any]
) -> tuple[float, float] | None:
    """Microns per pixel across and down, from the first source that states both.

    By OME-XML, Aperio's header, openslide's properties, TIFF resolution: of our TIFF reader `about`
    has size_px, description, x_per_mm and y_per_mm. A plain TIFF's resolution, which openslide
    takes, is often that of a printer.
    """
    text = str(about.get("description", ""))
    if ome := _of_picture(re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", text), about.get("size_px")):
        said = {tuple(_ome_microns(one, axis) for axis in "XY") for one in ome}
        x, y = said.pop()
        return None if said or x is None or y is None else (x, y)  # of several nobody is sure
    if aperio := re.search(r"\|\s*MPP\s*=([^|;\r\n]*)", text):  # whole: 1e-1 is not 1
        return _numbers(aperio[1], aperio[1])
    across, down = (properties.get(f"openslide.mpp-{axis}") for axis in "xy")
    if across and down:
        return _numbers(across, down)
    if "x_per_mm" in about and "y_per_mm" in about:
        return 1000 / about["x_per_mm"], 1000 / about["y_per_mm"]
    return None


# metres by their prefixes, with both letters that are in use for a millionth, and the others' names
_MICRONS = {f"{prefix}m": 1e6 * 10.0**power for prefix, power in (
    ("Y", 24), ("Z", 21), ("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("h", 2),
    ("da", 1), ("", 0), ("d", -1), ("c", -2), ("m", -3), ("µ", -6), ("μ", -6), ("u", -6), ("n", -9),
    ("p", -12), ("f", -15), ("a", -18), ("z", -21), ("y", -24),
)}  # fmt: skip
_INCH = 25_400.0
_MICRONS |= {"Å": 1e-4, "thou": _INCH / 1000, "li": _INCH / 12, "in": _INCH, "pt": _INCH / 72}


def _of_picture(pixels: list[str], size_px: tuple[int, int] | None) -> list[str]:
    """The Pixels elements that state a scale: of a picture of this size, if some are."""
    wanted = [f"Size{axis}" for axis in "XY"], [str(side) for side in size_px or ()]
    own = [one for one in pixels if [_attribute(one, name) for name in wanted[0]] == wanted[1]]
    return [one for one in own or pixels if "PhysicalSize" in one]


def _attribute(element: str, name: str) -> str:
    found = re.search(rf"""\b{name}\s*=\s*(["'])(.*?)\1""", element)
    return html.unescape(found[2]).strip() if found else ""


def _ome_microns(element: str, axis: str) -> float | None:
    """PhysicalSizeX or Y of a Pixels element, in microns; None where its unit is no length."""
    size, unit = (_attribute(element, f"PhysicalSize{axis}{end}") for end in ("", "Unit"))
    number = _numbers(size, size)
    factor = _MICRONS.get(unit or "µm")
    return None if number is None or factor is None else number[0] * factor


def _numbers(x: str, y: str) -> tuple[float, float] | None:
    try:
        return float(x.replace(",", ".")), float(y.replace(",", "."))
    except ValueError:
        return None
