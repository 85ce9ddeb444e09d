"""How the mean over resampled Bags settles, and how many Bags are enough."""

from typing import Any

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.frames import Rows
from featurestore.types import Target
from trainer import evaluate, runs
from trainer.bags import Sampler
from trainer.config import SettleConfig
from trainer.inference import bag_values, chosen_bags, load_model

ENOUGH = (
    "enough: the mean of so many bags lies, 95 times in 100, within a hundredth of the target's "
    "range of where it settles; null where every slide is one bag"
)
BEYOND = (
    "enough is over max_resamples, so it was not tried: it is reckoned from the spread of single "
    "bags, which falls as one over the root of their number. To try it: --resamples {}"
)


def settle(
    store: FeatureStore, run_id: str, config: SettleConfig, *, curve: bool = False, **which: Any
) -> Rows:
    """`settling` in short, or row by row, with what must be said beside it."""
    frame = settling(store, run_id, config, **which)
    rows = summary(frame, store.run(run_id).about())
    beyond = rows.filter(pl.col("enough") > pl.col("max_resamples"))["enough"].to_list()
    return Rows(frame if curve else rows, [ENOUGH, *(BEYOND.format(n) for n in beyond[:1])])


def settling(
    store: FeatureStore,
    run_id: str,
    config: SettleConfig | None = None,
    *,
    cohort: str | None = None,
    where: str | None = None,
) -> pl.DataFrame:
    """Measure how the mean over R Bags settles, for R from 1 to `resamples` and each bag size.

    It is on the Run's test Slides, unless a Cohort or a SQL condition over `bags` is given. Twice
    `resamples` Bags of each Slide are drawn in a pass, so that the mean of R Bags is held against
    the mean of R others: they differ by sqrt(2) standard errors.

    Returns:
        One row per bag size and R, in the Target's units: bag_size, resamples; n_slides; n_sampled,
        Slides with more tiles than the Bag; se_measured, the standard error of the mean of R Bags,
        root mean square over the n_sampled; se_expected, the same from the spread of single Bags
        over sqrt(R); mae, or accuracy, and mse of the mean of R Bags. Null where none is.
    """
    wanted, run = config or SettleConfig(), runs.load(store, run_id)
    target, model, resamples = run.record.about(), load_model(run), wanted.resamples
    bags = chosen_bags(store, run, cohort, where)
    if cohort is None and where is None:
        test = run.predictions.filter(split="test")
        bags = bags.join(test, on="slide_id", how="semi", maintain_order="left")
    order = np.random.default_rng(run.config.seed).permutation(bags.height)
    bags = store.sound_bags(bags[np.sort(order[: wanted.max_slides])])
    labels, curves = bags["value"].cast(pl.Float64).to_numpy(), []
    with store.rows(bags) as reader:
        for size in sorted(set(wanted.bag_sizes)):
            sampler = Sampler(bags, size, run.config.seed, run.config.sampling)
            slide, value = bag_values(model, sampler, reader, 2 * resamples)
            ends = np.bincount(slide).cumsum()[:-1]
            each = np.split(value[np.argsort(slide, kind="stable")], ends)
            values = np.stack([np.resize(v, 2 * resamples) for v in each])  # one Bag is repeated
            curve = _curve(values, sampler.n_tiles > size, labels, target)
            curves.append(curve.select(pl.lit(size).alias("bag_size"), pl.all()))
    return pl.concat(curves)


def _curve(
    values: np.ndarray, sampled: np.ndarray, labels: np.ndarray, target: Target
) -> pl.DataFrame:
    """One bag size of `settling`, from values (N, 2R) between 0 and 1; `sampled` is bool (N,)."""
    values = target.low + (target.high - target.low) * values
    halves = np.split(values, 2, axis=1)
    count = np.arange(1, halves[0].shape[1] + 1)
    one, other = (half.cumsum(axis=1) / count for half in halves)
    curve = {"resamples": count, "n_slides": len(values), "n_sampled": int(sampled.sum())}
    measured = expected = score = mse = np.full(len(count), np.nan)
    if sampled.any():
        measured = np.sqrt(((one - other)[sampled] ** 2).mean(axis=0) / 2)
        expected = np.sqrt(values[sampled].var(axis=1, ddof=1).mean() / count)
    labelled = ~np.isnan(labels)
    if labelled.any():
        means, label = one[labelled], labels[labelled, None]
        right = evaluate.is_positive(means, target) == evaluate.is_positive(label, target)
        score = (right if target.kind == "binary" else np.abs(means - label)).mean(axis=0)
        mse = ((means - label) ** 2).mean(axis=0)
    _, (name, _, _) = runs.scores_of(target)
    found = {"se_measured": measured, "se_expected": expected, name: score, "mse": mse}
    return pl.DataFrame(curve | found).fill_nan(None)


def summary(curves: pl.DataFrame, target: Target) -> pl.DataFrame:
    """Say for each bag size how many Bags are enough.

    Enough is the least R whose mean lies, 95 times in 100, within one hundredth of the Target's
    range of where it settles: 1.96 standard errors of a Slide of typical spread. It may be more
    than were drawn. A row has bag_size, n_slides, n_sampled, std (of one Bag, within Slides),
    enough, max_resamples, se_expected (of the mean of that many), mae_1 and mae (of one Bag, of
    that many); of classes accuracy_1 and accuracy.
    """
    point = (target.high - target.low) / 100
    last = pl.col("resamples") == pl.col("resamples").max()
    std = pl.col("se_expected").filter(resamples=1).first()
    enough = (evaluate.Z95 * std / point).pow(2).ceil().clip(lower_bound=1)
    _, (name, _, _) = runs.scores_of(target)
    return curves.group_by("bag_size", maintain_order=True).agg(
        pl.col("n_slides", "n_sampled").first(),
        std.alias("std"),
        enough.cast(pl.Int64).alias("enough"),
        pl.col("resamples").max().alias("max_resamples"),
        pl.col("se_expected").filter(last).first(),
        pl.col(name).first().alias(f"{name}_1"),
        pl.col(name).filter(last).first(),
    )
