"""External validation: a Run on a second labelled Cohort, of Patients that it has never seen."""

from dataclasses import replace

import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from featurestore.words import Told, counted
from trainer import conformal, evaluate, floor, inference, runs
from trainer.holdout import assign_splits
from trainer.tile_filter import keep_tiles


def validate(store: FeatureStore, run_id: str, cohort: str) -> Told:
    """Measure a Run on every Slide of another Cohort, and the ridge floor beside it.

    ConfigError: its Labels are of another Target. TrainError: the Run learnt from some of it.
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
    n_own = bags.filter(pl.any_horizontal(same))["patient_id"].n_unique()
    tested = replace(run, record=judged, predictions=both)
    told = {"trained_on": record.cohort, "own_patients": n_own}
    return Told(_text(tested, record.cohort, n_own), tested.json() | told)


def _text(run: runs.Run, trained_on: str, own_patients: int) -> str:
    record, n = run.record, int(run.metric("patients") or 0)
    what, so = "external validation", "of these the numbers are"
    if own_patients == n:
        what, so = f"not an {what}", "these numbers are"
    said = f"{what} of run {record.run_id}, trained on cohort {trained_on}, "
    lines = [f"{said}on cohort {record.cohort}"]
    if own_patients:
        lines.append(
            f"warning     {own_patients:,} of {counted(n, 'patient')} "
            f"{'is' if own_patients == 1 else 'are'} of the run's own cohort {trained_on}, held "
            f"back from training there: {so} its own test again, or a part of it"
        )
    own = run.text().splitlines()
    return "\n".join(lines + [one for one in own if not one.startswith(("figure ", "next "))])
