"""Split-conformal intervals around Predictions, and how often they hold the label."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from featurestore.types import Target

CALIBRATES = 20  # calibration Slides, from which on there are intervals
ALPHA = 0.1  # share of labels that may lie outside: intervals are 90% ones


def rank(n: int, alpha: float = ALPHA) -> int:
    """Which of n sorted residuals is the half-width: ceil((n + 1)(1 - alpha)); over n is infinity.

    That is their quantile of level ceil((n + 1)(1 - alpha)) / n, which covers at least 1 - alpha
    whatever the model and the noise, if calibration and new Slides are exchangeable: Papadopoulos
    et al. 2002; Lei et al. 2018, section 2.2.
    """
    return math.ceil(round((n + 1) * (1 - alpha), 9))  # 10 * 0.9 is 9, not the next float over it


def half_width(labels: np.ndarray, predicted: np.ndarray, alpha: float = ALPHA) -> float:
    """Half-width of the interval about any Prediction, from calibration Slides; inf with too few.

    Args:
        labels: of Slides that neither training nor early stopping saw, shape (N,).
        predicted: shape (N,).
        alpha: share of labels that may lie outside.
    """
    k = rank(len(labels), alpha)
    residuals = np.sort(np.abs(labels - predicted))
    return float(residuals[k - 1]) if k <= len(residuals) else math.inf


def calibrated_half_width(predictions: pl.DataFrame) -> float | None:
    """Half-width from a Run's Predictions of calibration Slides; None where under `CALIBRATES`."""
    part = predictions.filter(pl.col("split") == "calibration")
    if part.height < CALIBRATES:
        return None
    return half_width(part["truth"].to_numpy(), part["mean"].to_numpy())


def add_intervals(frame: pl.DataFrame, width: float | None, target: Target) -> pl.DataFrame:
    """Add interval_low and interval_high about `mean`, cut to the Target's range if it has one.

    Both are null where there is no half-width. Labels lie in the range, so the cut loses none.
    """
    low, high = pl.col("mean") - pl.lit(width, pl.Float64), pl.col("mean") + width
    if target.kind != "continuous":
        low, high = low.clip(lower_bound=target.low), high.clip(upper_bound=target.high)
    return frame.with_columns(low.alias("interval_low"), high.alias("interval_high"))


def held(width: float | None) -> pl.Expr:
    """Whether the interval of half-width `width` holds the label; null where there is none."""
    slack = 1e-9  # a label at the very edge is inside
    return (pl.col("truth") - pl.col("mean")).abs() <= pl.lit(width, pl.Float64) + slack


def coverage(
    frame: pl.DataFrame, width: float, n_calibration: int, alpha: float = ALPHA
) -> Mapping[str, float]:
    """How often intervals hold the label.

    Args:
        frame: one row per test Slide with truth (its label) and mean.
        width: half-width of the intervals.
        n_calibration: Slides that it came from.
        alpha: share of labels that may lie outside.

    Returns:
        n; coverage, with its exact 95% interval coverage_low and coverage_high (Clopper and Pearson
        1934, Slides taken as independent); expected_low and expected_high, between which 95% of
        such coverages fall where test is like calibration: the count of held labels is then
        beta-binomial (Vovk 2012). Outside of them, test is another matter.
    """
    from scipy import stats  # slow to import, and training must start at once

    n, k = frame.height, rank(n_calibration, alpha)
    inside = int(frame.select(held(width).sum()).item())
    low, high = stats.binomtest(inside, n).proportion_ci(0.95, method="exact")
    expected = stats.betabinom(n, k, n_calibration + 1 - k).ppf([0.025, 0.975]) / n
    return {
        "n": n,
        "coverage": inside / n,
        "coverage_low": float(low),
        "coverage_high": float(high),
        "expected_low": float(expected[0]),
        "expected_high": float(expected[1]),
    }
