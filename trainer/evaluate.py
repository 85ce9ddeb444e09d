"""Numbers of agreement between labels and Predictions."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import polars as pl

from featurestore import FeatureStore, strangers
from featurestore.errors import ConfigError
from featurestore.types import Target
from featurestore.words import counted
from trainer.runs import Score

Z95 = 1.959963984540054
BOOTSTRAPS = 2_000
PART = 1 << 22  # numbers of 32 MB
ROUNDED = 0.9  # share of labels that must be multiples of a step to call it theirs
SOURCES = 20  # Cases with Labels of two sources, from which on they tell the noise of Labels


def r2(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Coefficient of determination; NaN where all labels are equal or there is but one."""
    spread = float(((labels - labels.mean()) ** 2).sum()) if len(labels) > 1 else 0.0
    return 1 - float(((labels - predicted) ** 2).sum()) / spread if spread else float("nan")


def metrics(
    labels: np.ndarray, predicted: np.ndarray, patients: np.ndarray, target: Target
) -> dict[str, float]:
    """All numbers of labels, predicted and patient_ids, (N,), each with its 95% interval.

    Intervals are percentiles over resampled Patients, each with all their Slides: the bootstrap of
    clusters (Davison and Hinkley 1997, section 3.8). NaN is what is undefined: R2 where all labels
    are equal, limits of one Slide, intervals of one Patient.

    Returns:
        In the Target's units: n, patients, positive (share of binary labels that are high), and
        with `_low` and `_high` beside each: auc and accuracy at the middle of the range (binary
        Targets); r2, mae, rmse, pearson; bias and the limits of agreement loa_low and loa_high,
        bias - and + 1.96 standard deviations of predicted - labels (Bland and Altman 1986);
        within_5 and within_10, shares of Slides off by at most so many hundredths of the Target's
        range; slope and intercept of the least-squares line of labels on predicted, 1 and 0 where
        predictions are calibrated.
    """
    values = {"n": float(len(labels)), "patients": float(len(np.unique(patients)))}
    if target.kind == "binary":
        values["positive"] = float(is_positive(labels, target).mean())
    for name, each in drawn(labels, predicted, patients, target).items():
        values[name] = float(each[0])
        values[f"{name}_low"], values[f"{name}_high"] = interval(each[1:])
    return values


def drawn(
    labels: np.ndarray, predicted: np.ndarray, patients: np.ndarray, target: Target
) -> dict[str, np.ndarray]:
    """Each number that has an interval: its value, then those of resampled Patients, (1 + R,).

    R is `BOOTSTRAPS`, or 0 with fewer than two Patients. Resamples of the same Patients are the
    same whatever is predicted, so what is made of two Predictions number by number is paired.
    """
    size = target.high - target.low
    numbers = _drawn(labels, predicted, patients, float(labels.mean()), size)
    if target.kind == "binary":
        of = np.unique(patients, return_inverse=True)[1]
        n, positive = int(of.max()) + 1, is_positive(labels, target)
        middle = target.low + size / 2
        many = (np.ones((1, n)), *(_resampled(n) if n > 1 else ()))
        parts = [_of_classes(positive, predicted, counts[:, of], middle) for counts in many]
        for name in ("auc", "accuracy"):
            numbers[name] = np.concatenate([part[name] for part in parts])
    return numbers


def _drawn(
    labels: np.ndarray, predicted: np.ndarray, patients: np.ndarray, centre: float, size: float = 1
) -> dict[str, np.ndarray]:
    """Each number of values, from sums of ten terms over Slides, and over resampled ones."""
    t, p, e = labels - centre, predicted - centre, predicted - labels
    off = np.abs(e) - 1e-9 * size  # so that 5.0 is within 5
    within = [off <= 0.05 * size, off <= 0.1 * size]
    terms = [np.ones(len(t)), t, t * t, p, p * p, t * p, e * e, np.abs(e), *within]
    each = np.stack(terms, axis=1)
    sums = np.concatenate([each.sum(axis=0)[None], bootstrap_by_patient(each, patients)])
    n, t, tt, p, pp, tp, ee, absolute, within_5, within_10 = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        least = 1e-12 * size**2 * n  # spread that is but rounding: a millionth of the range
        spread_t, spread_p, both = tt - t * t / n, pp - p * p / n, tp - t * p / n
        spread_t = np.where(spread_t > least, spread_t, np.nan)
        spread_p = np.where(spread_p > least, spread_p, np.nan)
        bias, slope = (p - t) / n, both / spread_p
        s = np.sqrt(np.maximum(ee - n * bias**2, 0) / np.where(n > 1, n - 1, np.nan))
        return {
            "r2": 1 - ee / spread_t,
            "mae": absolute / n,
            "rmse": np.sqrt(ee / n),
            "pearson": both / np.sqrt(spread_t * spread_p),
            "bias": bias,
            "loa_low": bias - Z95 * s,
            "loa_high": bias + Z95 * s,
            "within_5": within_5 / n,
            "within_10": within_10 / n,
            "slope": slope,
            "intercept": t / n - slope * p / n + (1 - slope) * centre,
        }


def is_positive(labels: np.ndarray, target: Target) -> np.ndarray:
    """Which labels, (N,), are of the high class."""
    return np.asarray(labels > (target.low + target.high) / 2)


def measured(frame: pl.DataFrame, target: Target) -> dict[str, float | None]:
    """`metrics` of Predictions: rows with label, mean and patient_id."""
    return finite(metrics(*arrays(frame), target))


def arrays(frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predicted and patient_ids of Predictions, (N,) each."""
    return frame["label"].to_numpy(), frame["mean"].to_numpy(), frame["patient_id"].to_numpy()


def _of_classes(
    positive: np.ndarray, predicted: np.ndarray, weights: np.ndarray, middle: float
) -> dict[str, np.ndarray]:
    """Area under the ROC curve and accuracy, (R,), of Slides with weights (R, N).

    The area is the share of pairs, one of each class, that are in order; a tie counts as half.
    """
    order = np.argsort(predicted, kind="stable")
    starts = np.flatnonzero(np.diff(predicted[order], prepend=-np.inf) > 0)  # of equal predictions
    sides = ((weights * side)[..., order] for side in (positive, ~positive))
    up, down = (np.add.reduceat(side, starts, axis=-1) for side in sides)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = (up * (down.cumsum(axis=-1) - down / 2)).sum(axis=-1)
        return {
            "auc": below / (up.sum(axis=-1) * down.sum(axis=-1)),
            "accuracy": weights @ ((predicted > middle) == positive) / weights.sum(axis=-1),
        }


def by_case(frame: pl.DataFrame) -> pl.DataFrame:
    """One row per Case: label and mean over its Slides, patient_id; sorted by case_id."""
    cases = frame.group_by("case_id")
    return cases.agg(pl.first("patient_id"), pl.mean("label", "mean")).sort("case_id")


def bootstrap_by_patient(terms: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Sums of `terms` (N, K) over resampled Patients: (BOOTSTRAPS, K), or (0, K) of one Patient."""
    patient = np.unique(patients, return_inverse=True)[1]
    n = int(patient.max()) + 1
    if n < 2:
        return np.empty((0, terms.shape[1]))
    # A resample is a count per Patient, so its sums are one product with sums per Patient; einsum,
    # for what the threads of a `@` add up has other last digits.
    sums = np.stack([np.bincount(patient, term, minlength=n) for term in terms.T])
    return np.concatenate([np.einsum("rn,kn->rk", counts, sums) for counts in _resampled(n)])


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """The 95% interval of resampled values, (R,): percentiles; NaN where all are one."""
    known = drawn[np.isfinite(drawn)]
    if not len(known) or np.ptp(known) == 0:
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5]).tolist()
    return low, high


def _resampled(n: int) -> Iterable[np.ndarray]:
    """How often each of n is drawn in n draws with replacement, float64 (R, n), in parts of 32 MB.

    The parts have `BOOTSTRAPS` rows in all; a single one is kept for the next numbers of as many.
    """
    return _DRAWN(n) if BOOTSTRAPS * n < PART else _drawn_in_parts(n)


def _drawn_in_parts(n: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for part in np.array_split(np.arange(BOOTSTRAPS), 1 + BOOTSTRAPS * n // PART):
        drawn = rng.integers(0, n, (len(part), n)) + n * np.arange(len(part))[:, None]
        counts = np.bincount(drawn.ravel(), minlength=len(part) * n)
        yield counts.reshape(len(part), n).astype(np.float64)


_DRAWN = lru_cache(maxsize=3)(lambda n: list(_drawn_in_parts(n)))  # test, validation, calibration


def by_group(frame: pl.DataFrame, group: pl.Expr, target: Target) -> pl.DataFrame:
    """`metrics` by group of Slides: label, mean, patient_id, held if it is known.

    Before them stand group, label and predicted (means), and held (share, null if unknown).
    """
    rows = []
    for (name,), part in frame.group_by(group.alias("group")):
        row = {"group": name, "label": part["label"].mean(), "predicted": part["mean"].mean()}
        row["held"] = part["held"].mean() if "held" in part.columns else None
        rows.append(row | measured(part, target) | {"patients": part["patient_id"].n_unique()})
    return pl.DataFrame(rows, infer_schema_length=None).sort("group")


def by_range(frame: pl.DataFrame, target: Target, *, of: str = "label") -> pl.DataFrame:
    """`by_group` over fifths of the label's range; `group` is `20–40`, a label of 20 is in it.

    Of `mean` over those of the prediction's, for why see `verdict.BY_LABEL`.
    """
    classes = target.kind == "binary" and of == "label"
    edges = np.linspace(target.low, target.high, 3 if classes else 6)
    names = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    names = ["negative", "positive"] if classes else names
    index = np.searchsorted(edges[1:-1], frame[of].to_numpy(), side="right")
    table = by_group(frame.with_columns(pl.Series("range", index)), pl.col("range"), target)
    return table.with_columns(pl.col("group").replace_strict(dict(enumerate(names))))


def by_half_year(frame: pl.DataFrame, target: Target) -> pl.DataFrame:
    """`by_group` over halves of years of the column `dated`: `2021 H1`, or `undated`."""
    year, month = pl.col("dated").dt.year(), pl.col("dated").dt.month()
    return by_group(frame, pl.format("{} H{}", year, (month + 5) // 6).fill_null("undated"), target)


def trend(labels: np.ndarray, predicted: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    """The least-squares line of differences on means, all (N,): the proportional bias.

    It has intercept, and slope with its interval over Patients; NaN where all means are equal.
    """
    middle = (labels + predicted) / 2
    found = _drawn(predicted - labels, middle, patients, float(middle.mean()))
    low, high = interval(found["slope"][1:])
    said = {name: float(found[name][0]) for name in ("intercept", "slope")}
    return said | {"slope_low": low, "slope_high": high}


def rounding_step(labels: np.ndarray, target: Target) -> float | None:
    """The step that people rounded labels to: the largest that `ROUNDED` of them are multiples of.

    Labels at the ends of the range fit any step: the others tell, by three values. It is 20, 10,
    5, 2 or 1 hundredths of the range; None where none fits.
    """
    size = target.high - target.low
    labels = labels[(labels != target.low) & (labels != target.high)]
    for step in () if len(np.unique(labels)) < 3 else (size * k / 100 for k in (20, 10, 5, 2, 1)):
        steps = (labels - target.low) / step
        if (np.abs(steps - steps.round()) < 1e-6).mean() >= ROUNDED:
            return step
    return None


def rounding_ceiling(labels: np.ndarray, step: float) -> float:
    """Estimate the R2 that the truth itself would reach against labels rounded to `step`.

    Supposes that rounding, uniform over one step with a variance of step**2 / 12, is the only error
    of labels; so it is the most that any model can hope for. NaN where labels are equal.
    """
    spread = float(labels.var())
    return max(0.0, 1 - step**2 / 12 / spread) if spread else float("nan")


def ceiling(
    store: FeatureStore, cohort: str, labels: np.ndarray, target: Target, step: float | None = None
) -> str | None:
    """Say what R2 Labels allow against themselves; None of classes, or where they do not show it.

    It is gathered from how far Labels of two sources are apart, where `SOURCES` Cases have such;
    else from rounding of the `labels` that are tested, (N,), to `step` if that is known.
    """
    spread = float(labels.var())
    if target.kind == "binary" or not spread:
        return None
    named = "queries/label_sources", {"cohort": cohort}
    found = store.once(("sources", cohort), lambda: store.named(*named))
    if found.height >= SOURCES:
        variance = float(found["variance"].to_numpy().mean())
        return (
            f"labels of {found.height:,} cases come from two sources, which differ as if each "
            f"erred by {variance**0.5:.3g}: a model can be expected to reach R2 "
            f"{max(0.0, 1 - variance / spread):.2f} at most"
        )
    if (step := step or rounding_step(labels, target)) is None:
        return None
    return (
        f"labels are rounded to {step:g}, which allows R2 {rounding_ceiling(labels, step):.3f} at "
        "most; what people disagree by would lower that "
        f"({counted(found.height, 'case')} with labels of two sources to tell)"
    )


Truth = Callable[[Target], pl.DataFrame]  # columns slide_id and truth, in the Target's units


def with_truth(test: pl.DataFrame, truth: Truth, target: Target) -> pl.DataFrame:
    """Put the truth beside test Slides; others are left out; ConfigError if all are."""
    known = truth(target).select("slide_id", "truth").drop_nulls()
    both = test.join(known, on="slide_id", how="inner", maintain_order="left")
    if both.is_empty():
        hint = strangers(known["slide_id"], test["slide_id"].to_list()).hint()
        raise ConfigError(
            f"the truth is of none of the {test.height} test slides, by slide_id.{hint}"
        )
    return both


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Write NaN as null, for JSON and the catalog."""
    return {k: float(v) if np.isfinite(v) else None for k, v in values.items()}


Drawn = dict[str, np.ndarray]  # of `drawn`: a value, then those of resampled Patients


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95% interval, by bootstrap over Patients; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    def text(self, form: str) -> str:
        """The number and its interval, in a format such as `.3f`."""
        if self.value is None or self.low is None or self.high is None:
            return "–" if self.value is None else format(self.value, form)
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


def estimates(
    scores: Sequence[Score], group: Sequence[Drawn], base: Sequence[Drawn] = ()
) -> dict[str, Estimate]:
    """The scores of a group of Runs, or what they are over those of another; by name.

    A score is the mean over the Runs, so that a difference is that of Runs, pair by pair, and what
    makes a Slide hard for both is not in its interval. Differences of shares are in points.
    """
    made = {}
    for name, _, form in scores:
        values = np.mean([one[name] for one in group], axis=0)
        if base:
            values = values - np.mean([one[name] for one in base], axis=0)
            values = values * (100 if form.endswith("%") else 1)
        low, high = interval(values[1:])
        made[name] = Estimate(**finite({"value": values[0], "low": low, "high": high}))
    return made


def differences(scores: Sequence[Score]) -> list[Score]:
    """How differences of scores are told: with a sign, those of shares in points."""
    return [
        (name, f"{title} in points", "+.1f") if form.endswith("%") else (name, title, f"+{form}")
        for name, title, form in scores
    ]
