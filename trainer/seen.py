"""What a Run has seen: which Slides it learnt from, and those that are not new to it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from featurestore import FeatureStore
from trainer import conformal, runs
from trainer.holdout import assign_splits

SEEN = ("train", "validation", "calibration", "not")  # the first that fits counts
SAME = ("patient_id", "slide_key", "slide_id")  # by which a Slide is not new


def learnt_from(store: FeatureStore, run: runs.Run) -> pl.DataFrame:
    """The Slides that a Run took something from: columns `SAME`, and seen, one of `SEEN`.

    The parts are cut as in training; where other code cuts them otherwise, the Run's own
    Predictions tell.
    """
    record = run.record
    bags = store.bags(record.cohort, record.encoder_id, record.tiling_id)
    judged = pl.col("split") != conformal.OUT_OF_FOLD  # by a model that is not the Run's
    told = run.predictions.filter(judged).select("slide_id", told="split")
    parts = assign_splits(bags, run.config).join(told, on="slide_id", how="left")
    lost = pl.col("told").is_null() & (pl.col("split") != "test")  # learnt from, so not predicted
    seen = pl.when(lost).then(pl.lit("train")).otherwise(pl.coalesce("told", "split"))
    return parts.select(*SAME, seen=seen).filter(pl.col("seen") != "test")


def mark(store: FeatureStore, models: Sequence[runs.Run], bags: pl.DataFrame) -> pl.DataFrame:
    """Add a column `seen`: how some Runs know a Slide, by itself, its content or its Patient."""
    learnt = pl.concat([learnt_from(store, run) for run in models])
    rank = pl.col("seen").replace_strict(SEEN, range(len(SEEN)), return_dtype=pl.Int8)
    columns = []
    for one in SAME:
        best = learnt.group_by(one).agg(rank.min().alias(f"seen_{one}"))
        bags = bags.join(best, on=one, how="left", maintain_order="left")
        columns.append(f"seen_{one}")
    worst = pl.min_horizontal(columns).fill_null(len(SEEN) - 1)
    words = worst.replace_strict(range(len(SEEN)), SEEN, return_dtype=pl.String)
    return bags.with_columns(seen=words).drop(columns)
