"""The ridge floor under every Run: a straight line through mean Embeddings."""

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl
import torch

from featurestore import FeatureStore
from featurestore.errors import TrainError, TrephineError
from featurestore.types import Target
from featurestore.words import Told
from trainer import runs
from trainer.bags import Sampler
from trainer.config import TrainConfig
from trainer.draws import PREDICT
from trainer.evaluate import Truth, by_case, drawn, finite, measured, r2, with_truth
from trainer.holdout import assign_splits
from trainer.model import compute_threads
from trainer.tile_filter import keep_tiles

RIDGE_TILES = 1_024  # rows of a Slide that enter its mean Embedding, at most
PENALTIES = np.logspace(-1, 6, 22)


def _mean_embeddings(store: FeatureStore, bags: pl.DataFrame) -> np.ndarray:
    """Mean Embedding of each Slide over its first `RIDGE_TILES` rows, float64 (N, D).

    Rows are stored in random order, so the first ones are a uniform sample.
    """
    sampler, means = Sampler(bags, RIDGE_TILES, seed=0), np.empty((bags.height, bags["dim"][0]))
    with store.rows(bags) as reader:

        def mean(i: int) -> np.ndarray:
            rows = np.empty((int(sampler.lengths[i]), reader.dim), np.float16)
            sampler.read(reader, i, 0, 0, PREDICT, rows)
            return np.asarray(rows.mean(axis=0, dtype=np.float64))

        for i, key in enumerate(bags.select("slide_key", "tiling_id", "encoder_id").rows()):
            kept = None if sampler.kept is None else sampler.kept[i].tobytes()
            means[i] = store.once(("mean", key, kept), partial(mean, i))
    if len(bad := np.flatnonzero(~np.isfinite(means).all(axis=1))):  # only where nothing is checked
        raise TrainError(
            f"the embeddings of slide {bags['slide_id'][int(bad[0])]!r} are not all finite. Set "
            "such slides aside with: trephine verify --repair"
        )
    return means


def floor_of(store: FeatureStore, config: TrainConfig, target: Target) -> pl.DataFrame:
    """The test Slides of a configuration, (slide_id, label), with the floor's `mean` of each."""
    bags = store.bags(config.cohort, config.encoder_id, config.tiling_id)
    bags = keep_tiles(store, assign_splits(bags, config), config.tiles)
    test = bags.filter(pl.col("split") == "test")
    fitted = bags.filter(pl.col("split").is_in(["train", "validation"]))
    floor = pl.Series("mean", ridge_floor(store, fitted, test, target))
    return test.select("slide_id", floor, label=pl.col("value").cast(pl.Float64))


def ridge_floor(
    store: FeatureStore, train: pl.DataFrame, test: pl.DataFrame, target: Target
) -> np.ndarray:
    """Predict `test`, (N,) in the Target's units, by ridge regression on mean Embeddings.

    It sees the inner validation too; predictions of a Target with a range are clipped to it.
    """
    x, z = (_mean_embeddings(store, part) for part in (train, test))
    y = train["value"].to_numpy().astype(np.float64)
    key = hashlib.blake2b(b"".join(np.ascontiguousarray(part).data for part in (x, y, z)))
    predicted = store.once(("floor", key.hexdigest()), lambda: ridge(x, y, z))
    return predicted if target.kind == "continuous" else predicted.clip(target.low, target.high)


def ridge(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Predict rows of z, (M, D), by ridge regression of y, (N,), on x, (N, D), both standardised.

    The penalty is the one of `PENALTIES` with the least squared error when each row is left out:
    residuals over 1 - leverage, of all penalties from one decomposition (Golub, Heath and Wahba
    1979). scikit-learn's RidgeCV gives the same in longer, and takes over a second to import.
    """
    with compute_threads(0):  # one thread: what several add up has other last digits
        mean, std = x.mean(axis=0), x.std(axis=0)
        std[std <= 1e-9 * np.abs(mean)] = 1  # constant, but for rounding
        left, right = (torch.from_numpy((rows - mean) / std) for rows in (x, z))
        u, s, v = torch.linalg.svd(left, full_matrices=False)
        middle = float(y.mean())
        apart = torch.from_numpy(y - middle)
        along = u.T @ apart
        kept = s[:, None] ** 2 / (s[:, None] ** 2 + torch.from_numpy(PENALTIES))
        leverage = 1 / len(y) + (u * u) @ kept
        fitted = u @ (kept * along[:, None])
        left_out = (apart[:, None] - fitted) / (1 - leverage).clamp(1e-12)
        penalty = PENALTIES[int((left_out**2).mean(0).argmin())]
        return np.asarray(middle + (right @ (v.T @ (s / (s**2 + penalty) * along))).numpy())


def beside(
    store: FeatureStore,
    fitted: pl.DataFrame,
    bags: pl.DataFrame,
    test: pl.DataFrame,
    target: Target,
) -> dict[str, dict[str, float | None]]:
    """What stands beside the numbers of `test` Predictions, whose bags are `bags`, in their order.

    It is test_cases, if they are fewer than Slides, and ridge_test: the floor, fitted on `fitted`.
    """
    cases = by_case(test)
    found = {"test_cases": measured(cases, target)} if cases.height < test.height else {}
    floor = pl.Series("mean", ridge_floor(store, fitted, bags, target))
    return found | {"ridge_test": measured(test.with_columns(floor), target)}


def pooled_floor(
    labels: np.ndarray, floors: Sequence[Mapping[str, float | None]]
) -> dict[str, float | None]:
    """The floor of folds as one, from the numbers of each, and the labels of all, (N,).

    It is r2, mae and accuracy, if all folds know them; the AUC of several is `pooled_auc`.
    """
    slides, found = np.array([one.get("n") for one in floors], np.float64), dict[str, float]()
    for name in ("rmse", "mae", "accuracy", *["auc"] * (len(floors) == 1)):
        each = np.array([one.get(name) for one in floors], np.float64)  # NaN where it is unknown
        if np.isfinite(each).all():
            found[name] = float(np.average(each**2 if name == "rmse" else each, weights=slides))
    if "rmse" in found:
        found["r2"] = 1 - found.pop("rmse") / (float(labels.var()) or np.nan)
    return finite(found)


def pooled_auc(
    store: FeatureStore, folds: Sequence[TrainConfig], target: Target
) -> dict[str, float | None]:
    """The AUC of the floor over several folds as one, predicted anew; nothing but of classes."""
    if target.kind != "binary" or len(folds) < 2:
        return {}
    try:
        pooled = pl.concat(floor_of(store, config, target) for config in folds)
    except TrephineError:  # Embeddings are no longer there
        return {}
    label, mean = pooled["label"].to_numpy(), pooled["mean"].to_numpy()
    return finite({"auc": drawn(label, mean, np.zeros(len(mean)), target)["auc"][0]})


def against_truth(store: FeatureStore, run_id: str, truth: Truth) -> Told:
    """Hold a Run's test Predictions, and its floor, against the truth; see `with_truth`."""
    run = runs.load(store, run_id)
    target, own = run.record.about(), run.predictions.select("slide_id", model="mean")
    test = with_truth(floor_of(store, run.again(), target), truth, target)
    test = test.join(own, on="slide_id", maintain_order="left")
    true, mean, floor = (test[name].to_numpy() for name in ("truth", "model", "mean"))
    found, least = r2(true, mean), r2(true, floor)
    said = (
        f"R2 on {len(true)} test slides, against the true {target.name}: {found:.3f} "
        f"(ridge on mean embeddings: {least:.3f})"
    )
    return Told(said, {"n": len(true), "r2": found, "ridge_r2": least})
