"""R2 and MAE of groups of Predictions of the same Slides, and their paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.evaluate import bootstrap_by_patient, finite, interval

SCORES = ("r2", "mae")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95% interval, by bootstrap over Patients; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    def text(self, form: str) -> str:
        """The number and its interval, in a format such as `.3f`."""
        shown = ("–" if x is None else format(x, form) for x in (self.value, self.low, self.high))
        return "{} ({} to {})".format(*shown)


class Paired:
    """Scores of groups on the same Slides and the same resampled Patients.

    A group is the Predictions of some Runs, (R, N); its scores are the mean over them, so that a
    difference of two groups is that of their Runs, pair by pair, and what makes a Slide hard for
    both is not in its interval. Labels and patients are of the Slides, (N,).
    """

    def __init__(
        self, labels: np.ndarray, groups: Sequence[np.ndarray], patients: np.ndarray
    ) -> None:
        centred = labels - labels.mean()
        terms = [np.ones(len(labels)), centred, centred**2]
        for predicted in groups:
            error = predicted - labels
            terms += [(error**2).mean(axis=0), np.abs(error).mean(axis=0)]
        table = np.stack(terms, axis=1)
        self._values = _scores(table.sum(axis=0))  # (G, 2)
        self._drawn = _scores(bootstrap_by_patient(table, patients))  # (resamples, G, 2)

    def of(self, group: int) -> dict[str, Estimate]:
        """R2 and MAE of a group."""
        return _estimates(self._values[group], self._drawn[:, group])

    def difference(self, group: int, base: int) -> dict[str, Estimate]:
        """R2 and MAE of a group, less those of another."""
        drawn = self._drawn[:, group] - self._drawn[:, base]
        return _estimates(self._values[group] - self._values[base], drawn)


def _scores(sums: np.ndarray) -> np.ndarray:
    """R2 and MAE of each group, (..., G, 2), from sums over Slides (..., 3 + 2G)."""
    n, t, tt = (sums[..., i, None] for i in range(3))
    squares, absolute = sums[..., 3::2], sums[..., 4::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = tt - t * t / n
        spread = np.where(spread > 1e-12 * (tt + 1e-300), spread, np.nan)
        return np.stack([1 - squares / spread, absolute / n], axis=-1)


def _estimates(values: np.ndarray, drawn: np.ndarray) -> dict[str, Estimate]:
    made = {}
    for i, name in enumerate(SCORES):
        low, high = interval(drawn[:, i])
        made[name] = Estimate(**finite({"value": values[i], "low": low, "high": high}))
    return made
