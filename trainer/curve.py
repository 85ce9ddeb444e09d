"""What more labelled Patients are worth: scores by their number, from Runs on more and more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Progress, silent
from featurestore.words import Told
from trainer.config import CurveConfig, TrainConfig
from trainer.holdout import SPLITS
from trainer.sweep import sweep
from trainer.table_one import SweepResult

LEAST = 25  # Patients of the smallest size that is chosen unasked
POWERS = np.arange(0.1, 2.01, 0.05)  # of the law that is fitted through the sizes


def curve(
    store: FeatureStore, config: TrainConfig, how: CurveConfig, *, progress: Progress = silent
) -> Told:
    """Train on more and more of the train Patients, all tested on the same Slides.

    It tells a row a size, what each gained over the one before, and what twice as many would give:
    `found`, a Sweep, and `twice`, its first score by a power law, or None.
    With one seed the fewer Patients lie among the more. They are those that validation and
    calibration are cut from too: what is counted is what people label.
    """
    if config.train_patients is not None:
        raise ConfigError("a curve is over --sizes of train patients: leave out --train-patients")
    sizes = sorted(set(how.numbers() or _sizes(store, config)))
    found = sweep(
        store, config, {"train_patients": sizes}, seeds=how.number(), engine=how, progress=progress
    )
    twice = _at_twice(found)
    data, failed = {"found": found, "twice": twice}, bool(found.failures)
    return Told(found.text("curve", [_forecast(found, twice)]), data, gave_up=failed)


def _forecast(found: SweepResult, twice: float | None) -> str:
    """What twice as many Patients would give, in words."""
    if twice is not None:
        most = max(cell.values["train_patients"] for cell in found.cells)
        _, title, form = found.told[0]
        return (
            f"with {2 * most:,} patients {title} would be about {twice:{form}}, if it "
            "goes on as it came (a power law through these rows)"
        )
    if len(found.cells) > 2:
        return "no steady gain: these rows do not tell what more patients would give"
    return (
        "what more patients would give is told from three sizes on: name them with --sizes "
        f"(unasked they are halves of all, down to {LEAST})"
    )


def _sizes(store: FeatureStore, config: TrainConfig) -> Sequence[int]:
    """All train Patients, and halves of them down to `LEAST`."""
    sides = {side.split: side.patients for side in store.splits(config.cohort)}
    folds = [n for name, n in sides.items() if name not in SPLITS]
    n = sum(folds) - max(folds) if folds else sides.get("train", 0)
    return [max(n, 2), *(n >> k for k in range(1, 20) if n >> k >= LEAST)]


def _at_twice(found: SweepResult) -> float | None:
    """A score at twice the largest size by the law a - b n^-c, least squares.

    None under three sizes, and where they rise so little that the law falls under the last.
    """
    name = found.told[0][0]
    scores = ((cell.values["train_patients"], cell.numbers[name]) for cell in found.cells)
    known = [(n, v) for n, v in scores if v is not None]
    if len(known) < 3:
        return None
    n, score = np.array(known, np.float64).T
    fits = []
    for power in POWERS:
        terms = np.stack([np.ones_like(n), -(n**-power)], axis=1)
        (a, b), *_ = np.linalg.lstsq(terms, score, rcond=None)
        fits.append((float(((terms @ [a, b] - score) ** 2).sum()), a - b * (2 * n[-1]) ** -power))
    most = min(min(fits)[1], 1.0)
    return float(most) if most >= score[-1] else None
