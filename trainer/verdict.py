"""What a careful reader must know of a Run before its figures, in words; and the page as text."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.types import Target
from featurestore.words import counted
from trainer import evaluate, plots, runs
from trainer.svg import minus

Level = Literal["alarm", "warning", "note"]
NOTABLE = 0.03  # of the Target's range: a bias at an end that is told
READABLE = 20  # Slides under which shares and slopes say nothing
BY_LABEL = (
    "Grouped by label even a perfect model seems to read the low end high and the high end low, "
    "because labels err too; grouped by prediction it does not."
)


class Caution(NamedTuple):
    """One thing to know, and how much it matters."""

    level: Level
    text: str  # a sentence


def sentence(run: runs.Run, test: pl.DataFrame) -> str:
    """The verdict: R2 and error with intervals, on how many Slides of whom, when, with what."""
    record, target, numbers = run.record, run.record.about(), run.record.metrics["test"]
    patients = numbers.get("patients") or test["patient_id"].n_unique()  # older Runs have none
    known = {"n": record.n_test, "patients": patients, **numbers}
    dates = [str(one)[:10] for one in test["dated"].drop_nulls().sort()]
    when = f" dated {' to '.join(dict.fromkeys(dates[:1] + dates[-1:]))}," if dates else ""
    return minus(
        f"On {counted(record.n_test, 'test slide')} of {counted(int(patients), 'patient')},{when} "
        f"{record.target.replace('_', ' ')} is predicted with {score(known, target)}; encoder "
        f"{run.encoder.name}, bags of {counted(record.bag_size, 'tile')}."
    )


def score(numbers: Mapping[str, float | None], target: Target) -> str:
    """How good Predictions are, in words: R2 and the error, or AUC and accuracy, if known."""
    unit = " points" if target.high - target.low == 100 else ""
    mae = ("a mean absolute error of ", f".{runs.digits(target)}f", unit)
    said = {"r2": ("R² ", ".3f"), "mae": mae, "auc": ("AUC ", ".3f")}
    said |= {"accuracy": ("an accuracy of ", ".1%")}
    names = (name for name, _, _ in runs.scores_of(target) if name in numbers)
    told = (said[name][0] + runs.estimate(numbers, name, *said[name][1:]) for name in names)
    return minus(" and ".join(told))


def cautions(store: FeatureStore, run: runs.Run, test: pl.DataFrame) -> list[Caution]:
    """All that must be said of a Run before its figures, the gravest first."""
    record, slides, notes = run.record, "test slide", list[str]()
    graver = [*run.warnings()]
    if bias := proportional_bias(test, record.metrics["test"], record.about()):
        graver.append(bias)
    if store.cohort(record.cohort).options.get("late_slides") == "keep":
        graver.append("late slides of train patients were kept, dated after the first test slide")
    left = store.named("queries/not_in_cohorts", {"target": record.target}).row(0, named=True)
    if left["disputed"]:
        cases = counted(left["disputed"], "case")
        notes.append(f"{cases} with a disputed or unsupported label left out")
    if left["failed"]:
        notes.append(f"{counted(left['failed'], 'slide')} could not be read")
    if gone := record.n_test - test.height:
        taken = f"{counted(gone, slides)} taken out of the store since"
        notes.append(f"{taken}: the numbers of the run hold what figures and tables do not")
    if whole := test["std"].null_count():
        fit = f"{whole:,} of {counted(record.n_test, slides)} fit into one bag"
        notes.append(f"{fit}, so they have no standard deviation over bags")
    return told(graver) + told([*notes, *record.notes], "note")


def told(texts: Iterable[str], level: Level | None = None) -> list[Caution]:
    """Cautions as sentences of a page; each is as grave as it says itself, or of a level."""
    said = ((level or runs.level_of(one), one.replace("R2", "R²").rstrip(".")) for one in texts)
    return [Caution(grave, minus(f"{text[:1].upper()}{text[1:]}.")) for grave, text in said]


def proportional_bias(
    test: pl.DataFrame, numbers: Mapping[str, float | None], target: Target
) -> str | None:
    """That the ends of the scale are drawn to the middle, where the calibration slope shows it."""
    slope, low, high = (numbers.get(k) for k in ("slope", "slope_low", "slope_high"))
    if target.kind == "binary" or test.height < READABLE:
        return None
    if slope is None or low is None or high is None or round(low, 2) <= 1 <= round(high, 2):
        return None
    size, digits, said = target.high - target.low, runs.coarse(target), []
    labels, mean = test["label"].to_numpy(), test["mean"].to_numpy()
    above, under = labels.max() - mean.max(), mean.min() - labels.min()
    scale = 10**digits  # bounds are rounded outwards, so that they hold as printed
    most, least = math.ceil(mean.max() * scale) / scale, math.floor(mean.min() * scale) / scale
    gaps = (above, f"above {most:.{digits}f}"), (under, f"under {least:.{digits}f}")
    if reach := [words for gap, words in gaps if gap > NOTABLE * size]:
        said.append(f"it never predicts {' or '.join(reach)}")
    for row in evaluate.by_range(test, target)[[0, -1]].rows(named=True):
        bias, ends = row["bias"], (row["bias_low"], row["bias_high"])
        if None in ends or ends[0] <= 0 <= ends[1] or abs(bias) < NOTABLE * size:
            continue
        unit, way = " points" if size == 100 else "", "high" if bias > 0 else "low"
        said.append(f"labels of {row['group']} are read {abs(bias):.{digits}f}{unit} {way}")
    said.append(f"calibration slope {slope:.2f}, 95% interval {low:.2f} to {high:.2f}")
    return f"proportional bias: {'; '.join(said)}"


def as_text(store: FeatureStore, run: runs.Run, test: pl.DataFrame) -> str:
    """The top of the page, the tables by range and predicted against label, for a terminal."""
    target, d = run.record.about(), runs.digits(run.record.about())
    lines = [f"run {run.run_id} of cohort {run.record.cohort}", sentence(run, test), ""]
    lines += [f"{one.level:8}{one.text}" for one in cautions(store, run, test)]
    _, (name, title, _) = run.scores
    form = "8.0%" if name == "accuracy" else f"7.{d}f"
    for by, of in (("by label", "label"), ("by predicted", "mean")):
        lines += ["", f"{by:>12} {'slides':>7} {'label':>7} {'pred.':>7} {'bias':>7} {title:>7}"]
        lines += [
            minus(
                f"{row['group']:>12} {row['n']:7.0f} {row['label']:7.{d}f} "
                f"{row['predicted']:7.{d}f} {row['bias']:+7.{d}f} {row[name]:{form}}"
            )
            for row in evaluate.by_range(test, target, of=of).rows(named=True)
        ]
    lines += [f"note    {BY_LABEL}"]
    if target.kind != "binary":
        labels, mean = test["label"].to_numpy(), test["mean"].to_numpy()
        lines += ["", *character_plot(labels, mean, target), ""]
    return "\n".join([*lines, f"next        trephine report {run.run_id} -o report.html"])


def character_plot(labels: np.ndarray, predicted: np.ndarray, target: Target) -> Iterator[str]:
    """Predicted (upwards) against label, both (N,): each cell counts Slides, a dot is identity."""
    span, size = plots.span_of(target, labels, predicted), target.high - target.low
    cells = plots.edges(labels, target, 0.05 * size, span)
    counts, _, _ = np.histogram2d(labels, predicted, bins=[cells, cells])
    middle = (cells[:-1] + cells[1:]) / 2
    names = [f"{value:.{runs.digits(target) + 1}f}".rstrip("0").rstrip(".") for value in middle]
    every = 2 + max(map(len, names)) // 3  # cells from name to name, so that a space is between
    yield f"predicted {plots.axis_name(target)}"
    for j in reversed(range(len(middle))):
        row = ""
        for i, n in enumerate(counts[:, j].astype(int).tolist()):
            row += f"{'++' if n > 99 else n:>3}" if n else "  ·" if i == j else "   "
        yield f"{names[j]:>8} |{row}".rstrip()
    yield " " * 9 + "+" + "-" * (3 * len(middle))
    yield " " * 10 + "".join(f"{name:>{3 * every}}" for name in names[every - 1 :: every])
    yield f"{'label: ' + plots.axis_name(target):>{10 + 3 * len(middle)}}"
