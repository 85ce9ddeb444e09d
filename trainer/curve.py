"""What more labelled Patients are worth: R2 by their number, from Runs on more and more of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featurestore import FeatureStore
from featurestore.types import Progress
from featurestore.words import counted, in_columns
from trainer import runs
from trainer.config import CurveConfig, TrainConfig
from trainer.holdout import SPLITS
from trainer.paired import Estimate
from trainer.sweep import sweep

LEAST = 25  # Patients of the smallest size that is chosen unasked
POWERS = np.arange(0.1, 2.01, 0.05)  # of the law that is fitted through the sizes


@dataclass(frozen=True, kw_only=True)
class Point:
    """Runs on so many train Patients."""

    train_patients: int
    r2: Estimate
    mae: Estimate
    r2_spread: float | None  # over seeds, each with Patients of its own
    ridge_r2: float | None  # of the floor
    gain: Estimate | None  # of R2, over the size before; on the same test Slides


@dataclass(frozen=True, kw_only=True)
class Curve:
    """R2 by number of train Patients."""

    sweep_id: str
    cohort: str
    points: tuple[Point, ...]
    twice: float | None  # R2 at twice the most, if it goes on as it came: a power law
    n_slides: int  # tested
    n_patients: int
    warnings: tuple[str, ...]  # to be read before any number
    failures: tuple[str, ...]

    def text(self) -> str:
        """A row a size, and what twice as many would give."""
        rows = [["train patients", "R2", "± seeds", "MAE", "ridge R2", "R2 gained"]]
        for point in self.points:
            spread = runs.number(point.r2_spread, ".3f")
            gain = point.gain.text("+.3f") if point.gain else "–"
            size = f"{point.train_patients:,}"
            floor = runs.floor_beside(point.r2.value, point.ridge_r2)
            numbers = [point.r2.text(".3f"), spread, point.mae.text(".2f"), floor, gain]
            rows.append([size, *numbers])
        of = counted(self.n_patients, "patient")
        lines = [
            *(f"warning     {warning}" for warning in self.warnings),
            f"curve of cohort {self.cohort}, tested on {counted(self.n_slides, 'slide')} of {of} "
            "(95% intervals by patient)",
            *in_columns(rows),
        ]
        if self.twice is not None:
            most = self.points[-1].train_patients
            lines.append(
                f"with {2 * most:,} patients R2 would be about {self.twice:.3f}, if it goes on as "
                "it came (a power law through these rows)"
            )
        return "\n".join([*lines, *(f"failed      {one}" for one in self.failures)])


def curve(
    store: FeatureStore,
    config: TrainConfig,
    how: CurveConfig,
    *,
    progress: Progress | None = None,
) -> Curve:
    """Train on more and more of the train Patients, all tested on the same Slides.

    With one seed the fewer Patients lie among the more. They are those that validation and
    calibration are cut from too: what is counted is what people label.

    Raises:
        CohortNotFound, ConfigError, TrainError: as `sweep` does; more Patients than there are.
    """
    sizes = sorted(set(how.numbers() or _sizes(store, config)))
    found = sweep(
        store, config, {"train_patients": sizes}, seeds=how.seeds, engine=how, progress=progress
    )
    gains = {one.value: one.r2 for one in found.differences}
    points = tuple(
        Point(
            train_patients=n,
            r2=cell.r2,
            mae=cell.mae,
            r2_spread=cell.r2_spread,
            ridge_r2=cell.ridge_r2,
            gain=gains.get(n),
        )
        for cell in found.cells
        for n in cell.values.values()
    )
    return Curve(
        sweep_id=found.sweep.sweep_id,
        cohort=config.cohort,
        points=points,
        twice=_at_twice(points),
        n_slides=found.n_slides,
        n_patients=found.n_patients,
        warnings=tuple(found.warnings()),
        failures=found.failures,
    )


def _sizes(store: FeatureStore, config: TrainConfig) -> Sequence[int]:
    """All train Patients, and halves of them down to `LEAST`."""
    sides = {side.split: side.patients for side in store.splits(config.cohort)}
    folds = [n for name, n in sides.items() if name not in SPLITS]
    n = sum(folds) - max(folds) if folds else sides.get("train", 0)
    return [n, *(n >> k for k in range(1, 20) if n >> k >= LEAST)]


def _at_twice(points: Sequence[Point]) -> float | None:
    """R2 at twice the largest size by the law a - b n^-c, least squares; None under three sizes."""
    known = [(p.train_patients, p.r2.value) for p in points if p.r2.value is not None]
    if len(known) < 3:
        return None
    n, r2 = np.array(known, np.float64).T
    fits = []
    for power in POWERS:
        terms = np.stack([np.ones_like(n), -(n**-power)], axis=1)
        (a, b), *_ = np.linalg.lstsq(terms, r2, rcond=None)
        fits.append((float(((terms @ [a, b] - r2) ** 2).sum()), a - b * (2 * n[-1]) ** -power))
    return float(min(min(fits)[1], 1.0))
