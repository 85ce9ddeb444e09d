"""Numbers of agreement between labels and Predictions, and the ridge floor."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import polars as pl
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featurestore.store import FeatureStore
from featurestore.types import Target
from trainer.bags import PREDICT, Sampler

Z95 = 1.959963984540054
BOOTSTRAPS = 2_000
RIDGE_TILES = 1_024  # rows of a Slide that enter its mean Embedding, at most


def r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Coefficient of determination; NaN where all labels are equal or there is but one."""
    spread = float(((truth - truth.mean()) ** 2).sum()) if len(truth) > 1 else 0.0
    return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread else float("nan")


def bland_altman_limits(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Bias and 95% limits of agreement of predicted - truth, with 95% intervals.

    The intervals are the approximate ones of Bland and Altman 1986: standard errors s/sqrt(n) and
    s*sqrt(3/n); they suppose differences that are near normal and Slides that are independent.
    """
    difference = predicted - truth
    n = len(difference)
    bias = float(difference.mean())
    s = float(difference.std(ddof=1)) if n > 1 else float("nan")
    half_bias, half_limit = Z95 * s / np.sqrt(n), Z95 * s * np.sqrt(3 / n)
    low, high = bias - Z95 * s, bias + Z95 * s
    return {
        "bias": bias,
        "bias_low": bias - half_bias,
        "bias_high": bias + half_bias,
        "loa_low": low,
        "loa_low_low": low - half_limit,
        "loa_low_high": low + half_limit,
        "loa_high": high,
        "loa_high_low": high - half_limit,
        "loa_high_high": high + half_limit,
    }


def bootstrap_by_patient(
    truth: np.ndarray, predicted: np.ndarray, patients: np.ndarray, seed: int = 0
) -> dict[str, float]:
    """95% percentile intervals of R2 and MAE over resampled Patients, each with all their Slides.

    Args:
        truth: labels, shape (N,).
        predicted: shape (N,).
        patients: patient_id of each Slide, shape (N,).
        seed: of the resampling.

    Returns:
        r2_low, r2_high, mae_low, mae_high; NaN with fewer than two Patients.
    """
    _, patient = np.unique(patients, return_inverse=True)
    n = int(patient.max()) + 1
    if n < 2:
        return dict.fromkeys(("r2_low", "r2_high", "mae_low", "mae_high"), float("nan"))
    # A resample is a count per Patient, so its sums are one product with sums per Patient.
    centred = truth - truth.mean()
    columns = [np.ones(len(truth)), centred, centred**2, (truth - predicted) ** 2]
    columns.append(np.abs(truth - predicted))
    sums = np.stack([np.bincount(patient, c, minlength=n) for c in columns], axis=1)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=BOOTSTRAPS)
    weight, first, second, squares, absolute = (counts @ sums).T
    spread = second - first**2 / weight
    with np.errstate(divide="ignore", invalid="ignore"):
        r2s = np.where(spread > 1e-12, 1 - squares / spread, np.nan)
    bounds: dict[str, float] = {}
    for name, values in (("r2", r2s), ("mae", absolute / weight)):
        low, high = (
            np.nanpercentile(values, [2.5, 97.5]) if np.isfinite(values).any() else [np.nan] * 2
        )
        bounds |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return bounds


def metrics(
    truth: np.ndarray, predicted: np.ndarray, patients: np.ndarray, target: Target
) -> dict[str, float]:
    """All numbers of one split, in the Target's own units.

    `within_5` and `within_10` are shares of Slides off by at most 5 and 10 hundredths of the
    Target's range, which for cellularity are percentage points. `slope` and `intercept` are of
    the least-squares line of truth on predicted: 1 and 0 where predictions are calibrated.
    """
    error = predicted - truth
    point = (target.high - target.low) / 100
    spread = float(predicted.std())
    varied = len(truth) > 1 and spread > 1e-9 * (target.high - target.low)
    slope = float(np.mean((predicted - predicted.mean()) * truth) / spread**2) if varied else np.nan
    pearson = slope * spread / float(truth.std()) if varied and truth.std() else np.nan
    values = {
        "n": float(len(truth)),
        "r2": r2(truth, predicted),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "pearson": pearson,
        "within_5": float((np.abs(error) <= 5 * point + 1e-9).mean()),
        "within_10": float((np.abs(error) <= 10 * point + 1e-9).mean()),
        "slope": slope,
        "intercept": float(truth.mean() - slope * predicted.mean()),
        **bland_altman_limits(truth, predicted),
        **bootstrap_by_patient(truth, predicted, patients),
    }
    if target.kind == "binary" and len(np.unique(truth)) == 2:
        values["auc"] = float(roc_auc_score(truth > target.low, predicted))
    return values


def by_group(frame: pl.DataFrame, group: pl.Expr) -> pl.DataFrame:
    """Error by group of Slides.

    Args:
        frame: one row per Slide with truth and mean.
        group: names the group of each row.

    Returns:
        One row per group, sorted: group, n, truth (mean label), predicted, bias, mae, rmse.
    """
    error = pl.col("mean") - pl.col("truth")
    return (
        frame.group_by(group.alias("group"))
        .agg(
            pl.len().alias("n"),
            pl.col("truth").mean(),
            pl.col("mean").mean().alias("predicted"),
            error.mean().alias("bias"),
            error.abs().mean().alias("mae"),
            (error**2).mean().sqrt().alias("rmse"),
        )
        .sort("group")
    )


def by_range(frame: pl.DataFrame, target: Target, n_ranges: int = 5) -> pl.DataFrame:
    """`by_group` over equal ranges of the label; `group` is `20-40`, a label of 20 is in it."""
    edges = np.linspace(target.low, target.high, n_ranges + 1)
    names = [f"{low:g}–{high:g}" for low, high in pairwise(edges)]
    index = np.searchsorted(edges, frame["truth"].to_numpy(), side="right") - 1
    index = index.clip(0, n_ranges - 1)
    table = by_group(frame.with_columns(pl.Series("range", index)), pl.col("range"))
    return table.with_columns(pl.col("group").replace_strict(dict(enumerate(names))))


def mean_embeddings(store: FeatureStore, bags: pl.DataFrame) -> np.ndarray:
    """Mean Embedding of each Slide over its first `RIDGE_TILES` rows, float64 (N, D).

    Rows are stored in random order, so the first ones are a uniform sample.
    """
    sampler = Sampler(bags, RIDGE_TILES, seed=0)
    means = np.empty((bags.height, int(bags["dim"][0])))
    with store.rows(bags) as reader:
        for i, n in enumerate(sampler.lengths.tolist()):
            rows = np.empty((n, reader.dim), np.float16)
            sampler.read(reader, i, 0, 0, PREDICT, rows)
            means[i] = rows.mean(axis=0, dtype=np.float64)
    return means


def ridge_floor(
    store: FeatureStore, train: pl.DataFrame, test: pl.DataFrame, target: Target
) -> np.ndarray:
    """Predict `test` by ridge regression on mean Embeddings: the floor under every Run.

    It sees all of train, the inner validation too; its penalty is chosen there by leave-one-out.
    Embeddings are standardised, and predictions clipped to the Target's range unless continuous.

    Returns:
        Predictions in the Target's units, shape (N,).
    """
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-1, 6, 22)))
    model.fit(mean_embeddings(store, train), train["value"].to_numpy())
    predicted = np.asarray(model.predict(mean_embeddings(store, test)))
    return predicted if target.kind == "continuous" else predicted.clip(target.low, target.high)


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Write NaN as null, for JSON and the catalog."""
    return {k: float(v) if np.isfinite(v) else None for k, v in values.items()}
