"""Conformal intervals that follow the Prediction, and how often they hold the label."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from featurestore.types import Target, TargetKind

CALIBRATES, LEAST_CASES = 20, 9  # Slides and their Cases, from which on there are intervals
CROSSES = 100  # calibration Cases, under which train Slides calibrate too, predicted out of fold
CROSSED = 25  # train Slides, from which on they do: models without a fifth learn from 20
OUT_OF_FOLD = "out_of_fold"  # their split
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

    mean: np.ndarray  # Predictions of the Slides that calibrate, shape (N,)
    residual: np.ndarray  # how far their labels are from them, shape (N,)
    case: np.ndarray  # number of the Case of each, int64 (N,)
    times: float  # half-width over the spread of residuals near a Prediction

    def at(self, mean: np.ndarray) -> np.ndarray:
        """Half-width about each Prediction, shape as `mean`."""
        mean = np.asarray(mean, np.float64)
        return self.times * self.spread(mean, np.full(len(mean), -1))

    def spread(self, mean: np.ndarray, case: np.ndarray) -> np.ndarray:
        """Mean residual near each Prediction, (M,), by a Gaussian kernel; a Case weighs once.

        Those of `case`, the number of each one's own Case, (M,), are left out. Never zero.
        """
        weights = self.weights
        middle, every = np.average([self.mean, self.residual], axis=1, weights=weights)
        spread = np.average((self.mean - middle) ** 2, weights=weights) ** 0.5
        reach = max(REACH * float(spread), 1e-9)
        columns = np.stack([weights, weights * self.residual])
        local, parts = np.empty(len(mean)), 1 + len(mean) * len(self.mean) // (1 << 22)  # of 32 MB
        for part in np.array_split(np.arange(len(mean)), parts):
            near = np.exp(-0.5 * ((mean[part, None] - self.mean) / reach) ** 2)
            near[case[part, None] == self.case] = 0
            n, total = np.einsum("mn,kn->km", near, columns)  # threads of a `@` add otherwise
            local[part] = (total + PRIOR * every) / (n + PRIOR)
        return np.asarray(np.maximum(local, 1e-9 * max(1.0, reach)))

    @property
    def weights(self) -> np.ndarray:
        """Of each Slide that calibrates: a share of its Case, which weighs 1."""
        return np.asarray(1 / np.bincount(self.case)[self.case])

    @property
    def typical(self) -> float:
        """Half-width about the median Prediction of those that calibrate."""
        return float(self.at(np.median(self.mean, keepdims=True))[0])


def half_widths(
    labels: np.ndarray, predicted: np.ndarray, alpha: float = ALPHA, cases: np.ndarray | None = None
) -> Widths:
    """Half-widths about any Prediction, from Slides that calibrate; infinite with too few.

    Normalised split conformal (Papadopoulos et al. 2008; Lei et al. 2018, section 5.2): residuals
    are divided by the mean residual near their Prediction, so intervals are wide where errors are
    large. That mean leaves a Slide's own Case out, as it does a new Slide's.
    The labels and predicted, (N,), are of Slides that neither training nor early stopping saw, of
    `cases`, (N,), or each of its own; a share `alpha` of labels may lie outside.
    """
    mean, residual = np.asarray(predicted, np.float64), np.abs(labels - predicted)
    case = np.unique(np.arange(len(mean)) if cases is None else cases, return_inverse=True)[1]
    plain = Widths(mean=mean, residual=residual, case=case, times=1)
    scores, weights = residual / plain.spread(mean, case), plain.weights
    order = np.argsort(scores)
    k = rank(int(case.max()) + 1, alpha)
    reached = np.flatnonzero(weights[order].cumsum() >= k - 1e-9)
    return replace(plain, times=float(scores[order[reached[0]]]) if len(reached) else math.inf)


def calibrating(predictions: pl.DataFrame) -> pl.DataFrame:
    """The Predictions of a Run that calibrate: by models that did not learn from the Slide."""
    return predictions.filter(pl.col("split").is_in(["calibration", OUT_OF_FOLD]))


def calibrated_half_width(predictions: pl.DataFrame) -> Widths | None:
    """Half-widths from a Run's Predictions; None where too few calibrate: see `why_none`.

    With train Slides among them it is cross-conformal (Vovk 2015): as each is judged by a model
    that learnt from a few Slides less than the Run's own, intervals are rather too wide.
    """
    part = calibrating(predictions).sort("mean", "label")  # so that sums are always the same
    if part.height < CALIBRATES or part["case_id"].n_unique() < LEAST_CASES:
        return None
    labels, mean, cases = (part[name].to_numpy() for name in ("label", "mean", "case_id"))
    return half_widths(labels, mean, cases=cases)


def why_none(predictions: pl.DataFrame, kind: TargetKind) -> str:
    """Why there are no intervals."""
    if kind == "binary":
        return "no intervals: of a class the prediction itself says how sure it is"
    part = calibrating(predictions)
    if part.height < CALIBRATES:
        return f"no intervals: {part.height} calibration slides, under {CALIBRATES}"
    cases = part["case_id"].n_unique()
    return f"no intervals: {part.height} slides of {cases} cases, under {LEAST_CASES}"


def add_intervals(frame: pl.DataFrame, width: Widths | None, target: Target) -> pl.DataFrame:
    """Add interval_low and _high about `mean`, cut to the Target's range; null without a width."""
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
    """Whether the interval holds the label, at its very edge too; null where there is none."""
    return (pl.col("label") - pl.col("mean")).abs() <= _half(width) + 1e-9


def coverage(frame: pl.DataFrame, width: Widths) -> dict[str, float]:
    """How often intervals hold the label of test Slides: label, mean, case_id and patient_id.

    It is the numbers of `counted_held`, and expected_low and expected_high, between which 95% of
    such coverages fall where test is like calibration: the count of Patients whose labels are held
    is then beta-binomial (Vovk 2012). Outside of them, test is another matter.
    """
    from scipy import stats  # slow to import, and training must start at once

    frame = frame.with_columns(held=held(width))
    calibrated, n = int(width.case.max()) + 1, share_held(frame)[-1]
    k = rank(calibrated)
    low, high = stats.betabinom(n, k, calibrated + 1 - k).ppf([0.025, 0.975]) / n
    return counted_held(frame) | {"expected_low": float(low), "expected_high": float(high)}


def counted_held(frame: pl.DataFrame) -> dict[str, float]:
    """The number n of Slides, those held of them, and coverage with its ends, of `share_held`."""
    numbers = zip(("coverage", "coverage_low", "coverage_high"), share_held(frame), strict=False)
    return {"n": frame.height, "held": float(frame["held"].sum()), **dict(numbers)}


def in_words(found: Mapping[str, float]) -> str:
    """Say what intervals are meant to hold, what they do, and what is counted."""
    low, high = found["coverage_low"], found["coverage_high"]
    return (
        f"meant to hold {1 - ALPHA:.0%} of labels; of test they hold {round(found['held'], 1):,g} "
        f"of {found['n']:,}, {found['coverage']:.1%} with each case counted once (95% "
        f"interval {low:.1%} to {high:.1%}, by patient)"
    )


def share_held(frame: pl.DataFrame) -> tuple[float, float, float, int]:
    """Share of labels held, each Case once, its exact 95% interval, and the number of Patients.

    That of Clopper and Pearson 1934 with as many trials as Patients: Slides of one are not
    independent, so they are taken as one.
    """
    from scipy import stats  # slow to import, and training must start at once

    n, cases = frame["patient_id"].n_unique(), frame.group_by("case_id").agg(pl.mean("held"))
    share = float(cases.select(pl.mean("held")).item())
    k = share * n
    low = stats.beta.ppf(0.025, k, n - k + 1) if k > 0 else 0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1
    return share, float(low), float(high), n
