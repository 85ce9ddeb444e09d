"""Predict with several Runs as one: their mean, and the spread between them beside that of Bags."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError, RunNotFound
from featurestore.frames import Rows
from featurestore.words import counted
from trainer import inference, runs
from trainer.seen import SEEN

AS_ONE = (
    "mean of {} runs; std is the noise of drawing tiles, std_models the spread between the runs; "
    "no intervals: no slide calibrated the runs as one"
)
NAMED = 50  # Slides that are left out and named


def predict(
    store: FeatureStore,
    words: Sequence[str],
    *,
    where: str | None = None,
    resamples: int | None = None,
) -> Rows:
    """Apply one Run, or several as one, to the Slides of a Cohort or a condition.

    Args:
        store: where the Embeddings are.
        words: Runs, and last a Cohort, unless it is the first Run's or `where` is given.
        where: a SQL condition over `bags`.
        resamples: Bags a Slide and Run; as in training if None.

    Returns:
        Rows of `inference.predict`; with several Runs, on the Slides that all can be applied to,
        those of `as_one`. And what must be said beside them.

    Raises:
        RunNotFound: a word is no Run, and the last no Cohort either.
        ConfigError: the Runs predict several Targets.
    """
    run_ids, cohort = _told_apart(store, words)
    models = [runs.load(store, run_id) for run_id in run_ids]
    if len({run.record.about() for run in models}) > 1:
        named = ", ".join(f"{run.run_id} {run.record.target}" for run in models)
        raise ConfigError(f"runs predict as one where they have one target, got {named}")
    if cohort is None and where is None:
        cohort = models[0].record.cohort
    frames = [
        inference.predict(store, run.run_id, cohort, where=where, resamples=resamples)
        for run in models
    ]
    made = frames[0] if len(frames) == 1 else as_one(frames)
    notes = inference.notes(models[0], made) if len(frames) == 1 else [AS_ONE.format(len(frames))]
    lacking = _asked_for(store, cohort, where) - set(made["slide_id"])
    if lacking:
        notes.append(_left_out(sorted(lacking), models))
    return Rows(made, notes, failures=sorted(lacking))


def _asked_for(store: FeatureStore, cohort: str | None, where: str | None) -> set[str]:
    """The Slides of a Cohort or of a condition, whatever Embeddings they have."""
    if where is not None:
        return set(store.sql(f"select slide_id from bags where ({where}\n)")["slide_id"])
    of = (
        "select slide_id from cohort_slides where cohort = $cohort"
        " and not retired(slide_id, case_id, patient_id)"
    )
    return set(store.ask(of, {"cohort": cohort})["slide_id"])


def _left_out(slides: Sequence[str], models: Sequence[runs.Run]) -> str:
    named = ", ".join(slides[:NAMED])
    named += f" and {len(slides) - NAMED:,} more" if slides[NAMED:] else ""
    encoders = " and ".join(dict.fromkeys(run.record.encoder_id for run in models))
    return (
        f"{counted(len(slides), 'slide')} left out, for they have no tiles that may be drawn with "
        f"embeddings of encoder {encoders}: {named}. Embed them with: trephine ingest SLIDES"
    )


def as_one(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put Predictions of several Runs together: one row per Slide that all of them predict.

    Returns:
        Columns of `inference.predict`: mean, over Runs; std, of Bags, as the root mean square over
        Runs; n_tiles and n_resamples, the least of a Run; seen, by the Run that knows the Slide
        best; intervals null; and std_models, the standard deviation between Runs, n - 1.
    """
    together = pl.concat(frames)
    made = together.group_by("slide_id", maintain_order=True).agg(
        pl.col("slide_key", "split", "truth").first(),
        pl.col("mean").mean(),
        pl.when(pl.col("std").is_not_null().any()).then((pl.col("std") ** 2).mean().sqrt()),
        pl.col("n_tiles", "n_resamples").min(),
        pl.col("case_id", "patient_id").first(),
        pl.col("seen").cast(SEEN).min().cast(pl.String),
        pl.lit(None, pl.Float64).alias("interval_low"),
        pl.lit(None, pl.Float64).alias("interval_high"),
        pl.col("mean").std().alias("std_models"),
        pl.len().alias("runs"),
    )
    return made.filter(pl.col("runs") == len(frames)).drop("runs")


def _told_apart(store: FeatureStore, words: Sequence[str]) -> tuple[list[str], str | None]:
    """Which words are Runs, and which is the Cohort: the last one, if it is no Run."""
    found, cohort = [], None
    for i, word in enumerate(words, 1):
        try:
            found.append(store.run(word).run_id)
        except RunNotFound as error:
            if i == 1 or i < len(words):
                raise
            if store.ask("from cohorts where cohort = $name", {"name": word}).is_empty():
                raise RunNotFound(f"{error} Nor is a cohort called so.") from error
            cohort = word
    return list(dict.fromkeys(found)), cohort
