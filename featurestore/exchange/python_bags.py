"""Bags from Python: arrays, labels and splits, no slide and no file; and Labels of people."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featurestore.config import SplitConfig
from featurestore.errors import ConfigError, FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag, placed, unplaced
from featurestore.exchange.finding import Features
from featurestore.exchange.importing import ImportSummary, Read, Taker
from featurestore.ids import strangers
from featurestore.types import SAID, Case, GivenSlide, Label, RecordedLabel, Target

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

TOOL = "python"
OF_NAME = (
    "select slide_id, specimen from bags join encoders using (encoder_id)"
    " where encoders.name = $encoder"
)


def add_bags(
    self: FeatureStore,
    name: str,
    bags: Mapping[str, np.ndarray],
    *,
    labels: Mapping[str, float] | None = None,
    target: Target | None = None,
    splits: Mapping[str, str | int] | None = None,
    patients: Mapping[str, str] | None = None,
    coords: Mapping[str, np.ndarray] | None = None,
) -> ImportSummary:
    """Add bags from arrays: no slide, no file; what the store has already is known.

    Args:
        self: where they go; this is a method of `FeatureStore`.
        name: of their Encoder, and of the Cohort that `splits` make, ready to train on.
        bags: a matrix (N, D) of numbers within float16 each, by a unique name.
        labels: a value of the Target by the bag's name; kept as those of a person; the last holds.
        target: what the labels are about; cellularity, 0 to 100, unless said otherwise.
        splits: train, validation, calibration or test, or the number of a fold, for every bag.
        patients: who a bag is of, so that nobody stands on two sides; each its own unless said.
        coords: level-0 corners (N, 2) of a bag's rows, where they are known.

    Raises:
        FeaturesRefused: a bag is no such matrix, or the store has another of its name.
        ConfigError: a label, split or patient of no bag, or a value outside the Target.
        CohortError: the Cohort's name is taken, or the splits are none; the bags are there then.
    """
    labels, splits, patients = labels or {}, splits or {}, patients or {}
    target, coords = target or Target(), coords or {}
    for what, some in (("labels", labels), ("splits", splits), ("patients", patients)):
        if unknown := strangers(some, bags).text(what, "have no bag"):
            raise ConfigError(unknown)
    if splits and (missing := [one for one in bags if one not in splits]):
        raise ConfigError(f"{len(missing):,} bags have no split, the first is {missing[0]!r}")
    n_given, gone, of = len(bags), self.erased(), {one: patients.get(one, one) for one in bags}
    names = {one: [("slide", one), ("case", one), ("patient", who)] for one, who in of.items()}
    bags = {one: rows for one, rows in bags.items() if not gone.has(names[one])}
    given = _labels({one: value for one, value in labels.items() if one in bags}, target)
    cases = [
        Case(case_id=one, patient_id=of[one], patient_made_up=one not in patients) for one in bags
    ]
    summary = _taken(self, name, cases, functools.partial(_read, bags, coords))
    summary.erased = n_given - len(bags)
    self.record_labels(given, target)
    if splits:
        table = {one: str(side) for one, side in splits.items() if one in bags}
        split = SplitConfig(method="table", table=table)
        self.create_cohort(name, OF_NAME, {"encoder": name}, split=split, target=target.name)
    return summary


def _taken(store: FeatureStore, name: str, cases: Sequence[Case], read: Read) -> ImportSummary:
    """Take in a bag of each Case, or none."""
    bags = [one.case_id for one in cases]
    of_all: dict[str, Any] = {"tool": TOOL, "folder": name, "encoder": name, "cut": name}
    found = [Features(path=Path(name, one), name=one, **of_all) for one in bags]
    slides = [GivenSlide(slide_id=one, case_id=one, path=f"{name}/{one}") for one in bags]
    work = Taker(store, read, list(zip(slides, cases, strict=True)), TOOL, None)
    _check(found, read)
    for (_, _, slide_id), several in work.by_slide(found).items():
        try:
            work.take(work.people.who(slide_id), several)
        except FeaturesRefused as error:
            work.fail(several[0].path, str(error), slide_id)
    if work.summary.failures:
        raise FeaturesRefused("\n".join(work.summary.failures.values()))
    work.commit()
    return work.summary


def record_labels(self: FeatureStore, labels: Iterable[Label], target: Target) -> int:
    """Give Labels of a table or a person, and return how many are new: see `new_labels`.

    Each keeps the hash of the Report that was current, so that a later one is seen to be another.
    """
    current = dict(self.ask("select case_id, report_hash from case_reports").iter_rows())
    given = [replace(one, report_hash=current.get(one.case_id)) for one in labels]
    self.record(new := new_labels(self, given, target))
    return len(new)


def new_labels(self: FeatureStore, labels: Iterable[Label], target: Target) -> list[RecordedLabel]:
    """The rows to record of Labels: none for what the last of its Case and method says already.

    Who goes back to an earlier value says something new: of each source the last one holds.
    """
    labels, new = list(labels), list[RecordedLabel]()
    rows = self.ask(
        "from labels where target = $target and case_id in (select unnest($cases))"
        " order by recorded_at, label_id desc",
        {"target": target.name, "cases": list({one.case_id for one in labels})},
    )
    known = set(rows["label_id"])
    last = {(row["case_id"], row["method"]): row for row in rows.iter_rows(named=True)}
    for one in labels:
        before = last.get((one.case_id, one.method))
        if before is None or any(before[name] != getattr(one, name) for name in SAID):
            new.append(one.recorded(target, again=one.content_id in known))
            known.add(one.content_id)
            last[one.case_id, one.method] = vars(one)
    return new


def _read(
    bags: Mapping[str, np.ndarray], coords: Mapping[str, np.ndarray], found: Features
) -> ForeignBag:
    given = np.asarray(bags[found.name])
    if given.dtype.kind not in "fiub":
        raise FeaturesRefused(f"is of type {given.dtype}, expected numbers")
    rows = files.rows_of(given)
    at = coords.get(found.name)
    if at is None:
        return unplaced(rows)
    return ForeignBag(rows=rows, coords=files.places_of(np.asarray(at)))


def _check(found: Collection[Features], read: Read) -> None:
    """Refuse before anything is written."""
    dims: set[int] = set()
    for one in found:
        try:
            dims.add(placed(read(one), None, None).rows.shape[1])
        except FeaturesRefused as error:
            raise FeaturesRefused(f"bag {one.name!r} {error}") from error
    if len(dims) > 1:
        raise FeaturesRefused(f"the bags have rows of {sorted(dims)} columns, expected one width")


def _labels(values: Mapping[str, float], target: Target) -> list[Label]:
    low, high = target.low, target.high
    for one, value in values.items():
        sound = isinstance(value, int | float | np.number | np.bool_) and low <= value <= high
        if not sound or (target.kind == "binary" and value not in (low, high)):
            raise ConfigError(
                f"bag {one!r} has the label {value!r}, expected {low:g} "
                f"{'or' if target.kind == 'binary' else 'to'} {high:g} ({target.name}). "
                "Leave out what has no label."
            )
    numbers = {one: float(value) for one, value in values.items()}
    if high > 1 and set(numbers.values()) == {0, 1}:
        raise ConfigError(
            f"all labels are 0 or 1, and {target.name} is {low:g} to {high:g}. Pass "
            'target=Target(name="positive", kind="binary", low=0, high=1)'
        )
    said: dict[str, Any] = {"method": "human", "status": "single", "rule": "table"}
    return [
        Label(case_id=one, target=target.name, value=value, low=value, high=value, **said)
        for one, value in numbers.items()
    ]
