"""External validation: a Run on a second labelled Cohort, of Patients that it has never seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from featurestore.words import counted
from trainer import conformal, evaluate, floor, inference, runs
from trainer.holdout import assign_splits
from trainer.tile_filter import keep_tiles


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A Run with the test of another Cohort in the place of its own."""

    run: runs.Run
    trained_on: str
    own_patients: int  # of those tested here, how many the Cohort that it was trained on has

    def text(self) -> str:
        """Every number that a Run has."""
        record, known = self.run.record, self.own_patients
        patients = int(record.metric("patients") or 0)
        what, so = "external validation", "of these the numbers are"
        if known == patients:
            what, so = f"not an {what}", "these numbers are"
        said = f"{what} of run {record.run_id}, trained on cohort {self.trained_on}, "
        lines = [f"{said}on cohort {record.cohort}"]
        if known:
            lines.append(
                f"warning     {known:,} of {counted(patients, 'patient')} "
                f"{'is' if known == 1 else 'are'} of the run's own cohort {self.trained_on}, held "
                f"back from training there: {so} its own test again, or a part of it"
            )
        own = self.run.text().splitlines()
        lines += [line for line in own if not line.startswith(("figure ", "next "))]
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """The Run's record, with the metrics of this Cohort, and where it was trained."""
        return self.run.json() | {"trained_on": self.trained_on, "own_patients": self.own_patients}


def validate(store: FeatureStore, run_id: str, cohort: str) -> Evaluation:
    """Measure a Run on every Slide of another Cohort, and the ridge floor beside it.

    Raises:
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
    bags = inference.mark(store, run, inference.chosen_bags(store, run, cohort, None))
    own = inference.with_content(store, run.bags(store))
    known = bags.filter(pl.col("seen") != "not")
    if known.height:
        slide, patient = known["slide_id", "patient_id"].row(0)
        raise TrainError(
            f"run {record.run_id} learnt from {counted(known['patient_id'].n_unique(), 'patient')} "
            f"of cohort {cohort!r}, or from copies of their slides, with "
            f"{counted(known.height, 'slide')}, the first is {slide!r} of patient {patient!r}: "
            "these numbers would say nothing. Make a cohort without those that are seen in: "
            f"trephine predict {record.run_id} {cohort} --format csv"
        )
    found = inference.applied(store, inference.load_model(run), bags, run.config, target)
    fitted = assign_splits(own, run.config).filter(pl.col("split").is_in(["train", "validation"]))
    fitted = keep_tiles(store, fitted, run.config.tiles)
    beside = floor.beside(store, fitted, bags, found, target)
    numbers = {"test": evaluate.measured(found, target)} | beside
    judged = replace(record, cohort=cohort, n_test=bags.height, metrics=numbers, notes=())
    calibrated = inference.as_predictions(conformal.calibrating(run.predictions))
    both = pl.concat([calibrated, found.with_columns(split=pl.lit("test"))])
    same = (pl.col(one).is_in(own[one].implode()) for one in inference.SAME)
    return Evaluation(
        run=replace(run, record=judged, predictions=both),
        trained_on=record.cohort,
        own_patients=bags.filter(pl.any_horizontal(same))["patient_id"].n_unique(),
    )
