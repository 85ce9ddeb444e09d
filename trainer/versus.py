"""Two Runs beside each other: what differs, and what it makes, slide by slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.fields import to_json
from featurestore.words import counted, in_columns
from trainer import runs
from trainer.config import TrainConfig
from trainer.paired import Estimate, Paired

RECORDED: tuple[str, ...] = (
    "cohort",
    "encoder_id",
    "tiling_id",
    "target",
    "code_version",
    "versions",
)
RECORDED += ("n_train", "n_validation", "n_calibration", "n_test")
FITTED = ("steps", "best_step", "device", "precision")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs between two Runs, and how they differ on the Slides that both were tested on."""

    run_ids: tuple[str, str]
    differs: Mapping[str, tuple[Any, Any]]  # of configuration and record; what is equal is left out
    n_slides: int  # tested by both, with one Label
    n_patients: int
    scores: tuple[Mapping[str, Estimate], ...]  # of each on those Slides: r2, mae
    difference: Mapping[str, Estimate]  # the second less the first

    def text(self) -> str:
        """A column a Run, then the paired differences."""
        rows: list[tuple[str, ...]] = [("", *self.run_ids)]
        rows += [(name, *map(_shown, both)) for name, both in self.differs.items()]
        forms = {"r2": ("R2", ".3f"), "mae": ("MAE", ".2f")}
        for name, (title, form) in forms.items() if self.scores else ():
            rows.append((f"test {title}", *(one[name].text(form) for one in self.scores)))
        lines = in_columns(rows)
        if not self.differs:
            lines.append("nothing else differs")
        if not self.n_slides:
            return "\n".join([*lines, "no slide was tested by both, so they cannot be compared"])
        said = (f"{t} {self.difference[n].text('+' + f)}" for n, (t, f) in forms.items())
        of = counted(self.n_patients, "patient")
        where = f"on {counted(self.n_slides, 'slide')} of {of} tested by both"
        return "\n".join([*lines, f"the second less the first, {where}: {', '.join(said)}"])


def compare(store: FeatureStore, first: str, second: str) -> Comparison:
    """Hold two Runs against each other.

    Raises:
        RunNotFound: one is not in the store.
    """
    both = [runs.load(store, run_id) for run_id in (first, second)]
    told = [_told(run) for run in both]
    names = dict.fromkeys([*told[0], *told[1]])
    pairs = {name: (told[0].get(name), told[1].get(name)) for name in names}
    tested = [run.predictions.filter(pl.col("split") == "test") for run in both]
    common = tested[0].join(tested[1], on=["slide_id", "truth"], suffix="_2").sort("slide_id")
    of = "select slide_id, patient_id from cohort_slides where cohort = $name"
    patients = store.ask(of, {"name": both[0].record.cohort})
    common = common.join(patients, on="slide_id", maintain_order="left")
    scores: tuple[Mapping[str, Estimate], ...] = ()
    difference: Mapping[str, Estimate] = {}
    if common.height:
        labels, patient = common["truth"].to_numpy(), common["patient_id"].to_numpy()
        means = (common[name].to_numpy() for name in ("mean", "mean_2"))
        paired = Paired(labels, [np.atleast_2d(mean) for mean in means], patient)
        scores, difference = (paired.of(0), paired.of(1)), paired.difference(1, 0)
    return Comparison(
        run_ids=(both[0].run_id, both[1].run_id),
        differs={name: pair for name, pair in pairs.items() if pair[0] != pair[1]},
        n_slides=common.height,
        n_patients=common["patient_id"].n_unique(),
        scores=scores,
        difference=difference,
    )


def again(run: runs.Run) -> TrainConfig:
    """The configuration that gives a Run's numbers again: what was left open then is said."""
    record, config = run.record, run.config
    return replace(
        config,
        encoder_id=record.encoder_id,
        tiling_id=record.tiling_id,
        steps=record.fit.get("planned_steps", config.steps),
        epochs=None if "planned_steps" in record.fit else config.epochs,
    )


def _told(run: runs.Run) -> dict[str, Any]:
    record = run.record
    own = {name: getattr(record, name) for name in RECORDED}
    said = {name.replace("_", "-"): value for name, value in to_json(run.config).items()}
    said = {name: value for name, value in said.items() if name.replace("-", "_") not in own}
    return own | {f"fit {name}": record.fit.get(name) for name in FITTED} | said


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return "–" if value is None else str(value)
