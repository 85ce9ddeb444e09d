"""What a Run has seen: which Slides it learnt from, and those that are not new to it."""

from __future__ import annotations

import polars as pl

from featurestore import FeatureStore
from trainer import conformal, runs
from trainer.holdout import assign_splits

SEEN = pl.Enum(["train", "validation", "calibration", "not"])  # the first that fits counts
SAME = ("patient_id", "slide_key", "slide_id")  # by which a Slide is not new


def learnt_from(store: FeatureStore, run: runs.Run) -> pl.DataFrame:
    """The Slides that a Run took something from: columns `SAME`, and seen, one of `SEEN`.

    The parts are cut as in training; where other code cuts them otherwise, the Run's own
    Predictions tell.
    """
    judged = pl.col("split") != conformal.OUT_OF_FOLD  # by a model that is not the Run's
    told = run.predictions.filter(judged).select("slide_id", told="split")
    parts = assign_splits(run.bags(store), run.config).join(told, on="slide_id", how="left")
    lost = pl.col("told").is_null() & (pl.col("split") != "test")  # learnt from, so not predicted
    seen = pl.when(lost).then(pl.lit("train")).otherwise(pl.coalesce("told", "split"))
    learnt = parts.select(*SAME, seen=seen).filter(pl.col("seen") != "test")
    return learnt.with_columns(pl.col("seen").cast(SEEN))


def mark(store: FeatureStore, run: runs.Run, bags: pl.DataFrame) -> pl.DataFrame:
    """Add a column `seen`: how a Run knows a Slide, by itself, its content or its Patient."""
    learnt, columns = learnt_from(store, run), [f"seen_{one}" for one in SAME]
    for one, column in zip(SAME, columns, strict=True):
        best = learnt.group_by(one).agg(pl.col("seen").min().alias(column))
        bags = bags.join(best, on=one, how="left", maintain_order="left")
    best_of_all = pl.min_horizontal(columns).fill_null("not").cast(pl.String)
    return bags.with_columns(seen=best_of_all).drop(columns)
