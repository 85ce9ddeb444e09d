"""External validation: a Run on a second labelled Cohort, of Patients that it has never seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from trainer import conformal, evaluate, runs
from trainer.holdout import assign_splits
from trainer.inference import applied, as_predictions, chosen_bags, load_model, mark
from trainer.tile_filter import keep_tiles


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A Run with the test of another Cohort in the place of its own."""

    run: runs.Run
    trained_on: str

    def text(self) -> str:
        """Every number that a Run has."""
        said = self.run.text().splitlines()
        kept = [line for line in said if not line.startswith(("figure ", "next "))]
        record = self.run.record
        first = f"external validation of run {record.run_id}, trained on cohort {self.trained_on}, "
        return "\n".join([first + f"on cohort {record.cohort}", *kept])

    def json(self) -> dict[str, Any]:
        """The Run's record, with the metrics of this Cohort, and where it was trained."""
        return self.run.json() | {"trained_on": self.trained_on}


def validate(store: FeatureStore, run_id: str, cohort: str) -> Evaluation:
    """Measure a Run on every Slide of another Cohort, and the ridge floor beside it.

    Raises:
        RunNotFound, CohortNotFound: there is no such one.
        ConfigError: the Cohort has Labels of another Target.
        TrainError: it has Patients, or contents, that the Run learnt from.
    """
    run = runs.load(store, run_id)
    record, target = run.record, run.record.about()
    other = store.target(store.cohort(cohort).target)
    if other != target:
        raise ConfigError(
            f"run {record.run_id} predicts {target.name} ({target.kind}, {target.low:g} to "
            f"{target.high:g}); cohort {cohort!r} has {other.name} ({other.kind}, {other.low:g} to "
            f"{other.high:g}). Choose another with: trephine cohort list"
        )
    bags = mark(store, run, chosen_bags(store, run, cohort, None))
    known = bags.filter(pl.col("seen") != "not")
    if known.height:
        names = known["patient_id"].unique().sort()
        raise TrainError(
            f"{len(names)} patients of cohort {cohort!r} are among those that run "
            f"{record.run_id} learnt from, with {known.height} slides, the first is "
            f"{names[0]!r}: these numbers would say nothing. Make a cohort without them."
        )
    found = applied(store, load_model(run), bags, run.config, target)
    fitted = assign_splits(run.bags(store), run.config)
    fitted = fitted.filter(pl.col("split").is_in(["train", "validation"]))
    fitted = keep_tiles(store, fitted, run.config.tiles)
    numbers = {"test": evaluate.measured(found, target)}
    numbers |= evaluate.beside(store, fitted, bags, found, target)
    judged = replace(record, cohort=cohort, n_test=bags.height, metrics=numbers, notes=())
    calibrated = as_predictions(conformal.calibrating(run.predictions))
    both = pl.concat([calibrated, found.with_columns(split=pl.lit("test"))])
    return Evaluation(run=replace(run, record=judged, predictions=both), trained_on=record.cohort)
