"""What a file of another tool holds: the rows of one Slide, where their tiles lie, who says so."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from featurestore.errors import FeaturesRefused
from featurestore.types import Tiling

# What coords count: level-0 pixels, microns where nobody says the slide's mpp, or nothing but rows.
Unit = Literal["level0_px", "um", "row"]
IMPORTED = "import "  # how `reader` begins for a Slide whose pixels were never seen


@dataclass(frozen=True, kw_only=True)
class ForeignTiling(Tiling):
    """How another tool cut a Slide; None is what it does not say."""

    tile_px: int | None = None  # type: ignore[assignment]
    tile_mpp: float | None = None  # type: ignore[assignment]
    min_tissue: float | None = None  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file of features, not read yet."""

    path: Path
    name: str  # of the Slide, as the file is named
    folder: str  # that tells one Encoder from another
    encoder: str  # the Encoder's name, as the folder says it
    cut: str = ""  # tells one way to cut Slides from another
    coords: tuple[Path, ...] = ()  # where the places of the tiles may stand


@dataclass(frozen=True, kw_only=True)
class ForeignBag:
    """The rows of one Slide, in the file's order; None is what nobody says."""

    rows: np.ndarray  # floats (N, D); (0, 0) where an empty Slide has no width
    coords: np.ndarray  # float64 (N, 2), top left corners (x, y)
    unit: Unit = "level0_px"
    tile_px: int | None = None
    tile_mpp: float | None = None  # microns per tile pixel, where the tool cuts by microns
    tile_px0: float | None = None  # side in level-0 pixels
    tile_um: float | None = None  # side in microns
    min_tissue: float | None = None
    mpp: float | None = None  # microns per level-0 pixel
    size_px0: tuple[int, int] | None = None
    encoder: str | None = None
    version: str | None = None  # of the tool
    tissue: np.ndarray | None = None  # (N,)
    said: Mapping[str, Any] = field(default_factory=dict)  # what else an export can use

    def __post_init__(self) -> None:
        n = len(self.rows)
        if self.coords.shape != (n, 2):
            raise FeaturesRefused(
                f"has {n:,} rows of features, but coordinates of shape {self.coords.shape}: one of "
                "the two is unfinished or of another extraction. Extract the slide again"
            )
        if not np.isfinite(self.coords).all() or (n and np.abs(self.coords).max() >= 2**31):
            raise FeaturesRefused("has coordinates that are no places in a slide")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The regular files under a folder, sorted; links are followed, and every folder once."""

    root: Path
    files: Sequence[Path]

    def ending(self, *suffixes: str) -> list[Path]:
        """Files whose names end so."""
        return [path for path in self.files if path.name.endswith(suffixes)]


def listing(root: Path) -> Listing:
    """List a file, or the files of a folder.

    Raises:
        FeaturesRefused: there is nothing.
    """
    if root.is_file():
        return Listing(root=root.parent, files=[root])
    if not root.is_dir():
        raise FeaturesRefused(f"{root} does not exist. Give the folder that the tool wrote.")
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        at = Path(folder).stat()
        if (at.st_dev, at.st_ino) in seen:
            inner.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        files += [path for name in names if _is_regular(path := Path(folder) / name)]
    return Listing(root=root, files=sorted(files))


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A Slide on its way out."""

    out: Path  # folder of the export
    slide_id: str
    encoder: str  # the Encoder's name, as a folder can have it
    encoder_id: str
    bag: ForeignBag  # float16 rows

    def need(self, **facts: Any) -> None:
        """Refuse where the store does not know what the other tool asks for.

        Raises:
            FeaturesRefused: a fact is None or False.
        """
        for name, value in facts.items():
            if value in (None, False):
                raise FeaturesRefused(f"has no {name.replace('_', ' ')}, which its readers need")

    def sorted(self, *by: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coords, float32 rows and order, sorted by columns of the coords, the first first."""
        order = np.lexsort([self.bag.coords[:, column] for column in reversed(by)])
        return self.bag.coords[order], self.bag.rows[order].astype(np.float32), order


def whole(number: float | None) -> int | None:
    """A count of pixels that a tool wrote as a float."""
    return None if number is None else round(number)
