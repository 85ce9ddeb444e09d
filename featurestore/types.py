"""The nouns of trephine as frozen dataclasses (DESIGN.md, section 2)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal

from featurestore.errors import ConfigError

TargetKind = Literal["fraction", "continuous", "binary"]
Method = Literal["rules", "ollama", "human"]
Status = Literal["agreed", "disputed", "unsupported", "single"]
Qualifier = Literal["<", ">", "~"]
ReadingOutcome = Literal["stated", "states none", "not read"]


def content_id(value: Any, digits: int = 16) -> str:
    """Hash any JSON value to hex digits; equal values give equal ids on every machine."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=digits // 2).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a Label is about. Values lie in [low, high]; the trainer scales by them."""

    name: str = "cellularity"
    kind: TargetKind = "fraction"
    low: float = 0.0
    high: float = 100.0

    def __post_init__(self) -> None:
        if self.kind not in ("fraction", "continuous", "binary"):
            raise ConfigError(f"kind must be fraction, continuous or binary, got {self.kind!r}")
        if not self.low < self.high:
            raise ConfigError(
                f"target {self.name!r}: low {self.low} must be under high {self.high}"
            )


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a Slide is cut: tile side, resolution, and the tissue filter that chose the tiles."""

    tile_px: int = 224
    tile_mpp: float = 2.0  # microns per tile pixel
    min_tissue: float = 0.05  # smallest share of tissue in a kept tile
    filter_version: str = "hsv-1"

    def __post_init__(self) -> None:
        if self.tile_px < 1:
            raise ConfigError(f"tile-px must be at least 1, got {self.tile_px}")
        if not self.tile_mpp > 0:
            raise ConfigError(f"tile-mpp must be over 0 microns per pixel, got {self.tile_mpp}")
        if not 0 <= self.min_tissue <= 1:
            raise ConfigError(f"min-tissue must lie in 0 to 1, got {self.min_tissue}")

    @property
    def tiling_id(self) -> str:
        """Sixteen hex digits over every field."""
        return content_id(asdict(self))

    @property
    def tile_um(self) -> float:
        """Side of a tile in microns."""
        return self.tile_px * self.tile_mpp


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one parser found in one Report; value, low and high are null where none is stated."""

    value: float | None
    low: float | None
    high: float | None
    qualifier: Qualifier | None = None
    evidence: str | None = None  # exact piece of the report that carries the figure
    rule: str = ""  # which rule, or which model, gave it
    outcome: ReadingOutcome = "stated"  # "states none" without a value, unless it says "not read"
    reason: str = ""  # why there is no value

    def __post_init__(self) -> None:
        if self.value is None and self.outcome == "stated":
            object.__setattr__(self, "outcome", "states none")

    @property
    def found(self) -> bool:
        """Whether the report states a value."""
        return self.value is not None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The free text of a Case, with its date. The text never enters the store."""

    case_id: str
    text: str
    reported_on: date | None = None

    @property
    def report_hash(self) -> str:
        """Thirty-two hex digits over the text."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()
