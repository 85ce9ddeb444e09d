"""Conformal intervals that follow the Prediction, and how often they hold the label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from featurestore.types import Target

CALIBRATES = 20  # calibration Slides, from which on there are intervals
ALPHA = 0.1  # share of labels that may lie outside: intervals are 90% ones
REACH = 0.3  # standard deviations of the predictions, over which residuals are averaged
PRIOR = 0.5  # residuals that the mean of all counts as, beside those near a Prediction


def rank(n: int, alpha: float = ALPHA) -> int:
    """Which of n sorted residuals is the half-width: ceil((n + 1)(1 - alpha)); over n is infinity.

    That is their quantile of level ceil((n + 1)(1 - alpha)) / n, which covers at least 1 - alpha
    whatever the model and the noise, if calibration and new Slides are exchangeable: Papadopoulos
    et al. 2002; Lei et al. 2018, section 2.2.
    """
    return math.ceil(round((n + 1) * (1 - alpha), 9))  # 10 * 0.9 is 9, not the next float over it


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Half-widths of intervals as a function of the Prediction; see `half_widths`."""

    mean: np.ndarray  # Predictions of the calibration Slides, shape (N,)
    residual: np.ndarray  # how far their labels are from them, shape (N,)
    times: float  # half-width over the spread of residuals near a Prediction

    def at(self, mean: np.ndarray) -> np.ndarray:
        """Half-width about each Prediction, shape as `mean`."""
        return self.times * _spread(self.mean, self.residual, np.asarray(mean, np.float64))

    @property
    def typical(self) -> float:
        """Half-width about the median calibration Prediction."""
        return float(self.at(np.median(self.mean, keepdims=True))[0])


def half_widths(labels: np.ndarray, predicted: np.ndarray, alpha: float = ALPHA) -> Widths:
    """Half-widths about any Prediction, from calibration Slides; infinite with too few.

    Normalised split conformal (Papadopoulos et al. 2008; Lei et al. 2018, section 5.2): residuals
    are divided by the mean residual near their Prediction, so intervals are wide where errors are
    large. That mean leaves a Slide's own residual out, as it does a new Slide's.

    Args:
        labels: of Slides that neither training nor early stopping saw, shape (N,).
        predicted: shape (N,).
        alpha: share of labels that may lie outside.
    """
    mean, residual = np.asarray(predicted, np.float64), np.abs(labels - predicted)
    k, scores = rank(len(mean), alpha), np.sort(residual / _spread(mean, residual, mean, residual))
    times = float(scores[k - 1]) if k <= len(scores) else math.inf
    return Widths(mean=mean, residual=residual, times=times)


def _spread(
    mean: np.ndarray, residual: np.ndarray, at: np.ndarray, own: np.ndarray | None = None
) -> np.ndarray:
    """Mean residual near each Prediction of `at`, by a Gaussian kernel; never zero.

    Args:
        mean: Predictions of known residual, shape (N,).
        residual: shape (N,).
        at: Predictions, shape (M,).
        own: residual of each of `at` where it is one of `mean`, to be left out, shape (M,).
    """
    reach, every = max(REACH * float(mean.std()), 1e-9), residual.mean()
    columns = np.stack([np.ones(len(mean)), residual], axis=1)
    parts = np.array_split(at, 1 + len(at) * len(mean) // (1 << 22))  # of 32 MB
    near = np.concatenate(
        [np.exp(-0.5 * ((part[:, None] - mean) / reach) ** 2) @ columns for part in parts]
    )
    if own is not None:
        near -= np.stack([np.ones(len(own)), own], axis=1)
    local = (near[:, 1] + PRIOR * every) / (near[:, 0] + PRIOR)
    return np.asarray(np.maximum(local, 1e-9 * max(1.0, reach)))


def calibrated_half_width(predictions: pl.DataFrame) -> Widths | None:
    """Half-widths from a Run's Predictions of calibration Slides; None where under `CALIBRATES`."""
    part = predictions.filter(pl.col("split") == "calibration")
    if part.height < CALIBRATES:
        return None
    return half_widths(part["truth"].to_numpy(), part["mean"].to_numpy())


def add_intervals(frame: pl.DataFrame, width: Widths | None, target: Target) -> pl.DataFrame:
    """Add interval_low and interval_high about `mean`, cut to the Target's range if it has one.

    Both are null where there is no half-width. Labels lie in the range, so the cut loses none.
    """
    low, high = pl.col("mean") - _half(width), pl.col("mean") + _half(width)
    if target.kind != "continuous":
        low, high = low.clip(lower_bound=target.low), high.clip(upper_bound=target.high)
    return frame.with_columns(low.alias("interval_low"), high.alias("interval_high"))


def _half(width: Widths | None) -> pl.Expr:
    if width is None:
        return pl.lit(None, pl.Float64)
    return pl.col("mean").map_batches(
        lambda mean: pl.Series(width.at(mean.to_numpy())), return_dtype=pl.Float64
    )


def held(width: Widths | None) -> pl.Expr:
    """Whether the interval holds the label; null where there is none."""
    slack = 1e-9  # a label at the very edge is inside
    return (pl.col("truth") - pl.col("mean")).abs() <= _half(width) + slack


def coverage(
    frame: pl.DataFrame, width: Widths, n_calibration: int, alpha: float = ALPHA
) -> Mapping[str, float]:
    """How often intervals hold the label.

    Args:
        frame: one row per test Slide with truth (its label) and mean; see `share_held` too.
        width: half-widths of the intervals.
        n_calibration: Slides that it came from.
        alpha: share of labels that may lie outside.

    Returns:
        n Slides; coverage, coverage_low and coverage_high of `share_held`; expected_low and
        expected_high, between which 95% of such coverages fall where test is like calibration: the
        count of Patients whose labels are held is then beta-binomial (Vovk 2012). Outside of them,
        test is another matter.
    """
    from scipy import stats  # slow to import, and training must start at once

    share, low, high, n = share_held(frame.with_columns(held=held(width)))
    k = rank(n_calibration, alpha)
    expected = stats.betabinom(n, k, n_calibration + 1 - k).ppf([0.025, 0.975]) / n
    return {
        "n": frame.height,
        "coverage": share,
        "coverage_low": low,
        "coverage_high": high,
        "expected_low": float(expected[0]),
        "expected_high": float(expected[1]),
    }


def share_held(frame: pl.DataFrame) -> tuple[float, float, float, int]:
    """Share of labels that intervals hold, each Case once, with its exact 95% interval.

    That of Clopper and Pearson 1934 with as many trials as Patients: Slides of one are not
    independent, so they are taken as one.

    Args:
        frame: one row per Slide with held; and case_id and patient_id, or each is its own.

    Returns:
        The share, its interval's ends, and the number of Patients.
    """
    from scipy import stats  # slow to import, and training must start at once

    known = {"case_id", "patient_id"} <= set(frame.columns)
    cases = frame.group_by("case_id").agg(pl.col("held").mean()) if known else frame
    n = frame["patient_id"].n_unique() if known else frame.height
    share = float(cases.select(pl.col("held").mean()).item())
    k = share * n
    low = float(stats.beta.ppf(0.025, k, n - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return share, low, high, n
