"""The figures of a Run: each takes data and gives an SVG, whose text says what it shows."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from featurestore.types import Target
from featurestore.words import counted
from trainer import conformal, evaluate
from trainer.holdout import SPLITS
from trainer.runs import digits
from trainer.svg import BOTTOM, TOP, Chart, Span, marks, ticks

STYLE = Path(__file__).parent / "page" / "chart.css"
FEW = 200  # Slides under which each is a point, and no cells are counted
ROW_PX = 26  # of a figure with a row a group


def figures(test: pl.DataFrame, target: Target) -> list[dict[str, Any]]:
    """Two figures of how Predictions agree with Labels, and a histogram: each name, title, svg."""
    labels, mean, _ = evaluate.arrays(test)
    if target.kind == "binary":
        positive = evaluate.is_positive(labels, target)
        classes = histogram(mean[~positive], mean[positive], target, ("negative", "positive"))
        drawn = [
            ("roc", "ROC curve", roc(labels, [("", mean)], target)),
            ("calibration", "Calibration", calibration(test, target)),
            ("by_class", "Predictions by class", classes),
        ]
    else:
        against = predicted_vs_label(labels, mean, target)
        drawn = [
            ("predicted_vs_label", "Predicted against label", against),
            ("bland_altman", "Difference against mean", bland_altman(test, target)),
            ("histogram", "Labels and predictions", histogram(labels, mean, target)),
        ]
    return [{"name": name, "title": title, "svg": svg} for name, title, svg in drawn]


def save_figures(folder: Path, test: pl.DataFrame, target: Target) -> None:
    """Write the first two of `figures` into a Run's folder, in colours for paper."""
    style = f'xmlns="http://www.w3.org/2000/svg"><style>{STYLE.read_text("utf-8")}</style>'
    for one in figures(test, target)[:2]:
        alone = str(one["svg"]).replace(">", f" {style}", 1)
        (folder / f"{one['name']}.svg").write_text(alone, encoding="utf-8")


def roc(labels: np.ndarray, runs: Sequence[tuple[str, np.ndarray]], target: Target) -> Markup:
    """Share of positives found against share of negatives mistaken for them, a line a Run."""
    chart = Chart((0, 1), (0, 1))
    chart.axes("False positive rate (1 − specificity)", "True positive rate (sensitivity)")
    chart.line((0, 1), (0, 1), "lgrey thin broken")
    positive = evaluate.is_positive(labels, target)
    for i, (name, mean) in enumerate(runs):
        order = np.argsort(-mean)
        ends = np.flatnonzero(np.diff(mean[order], append=-np.inf))  # of equal predictions
        counts = (one[order].cumsum()[ends] / max(1, one.sum()) for one in (~positive, positive))
        mistaken, found = ([0.0, *share.tolist()] for share in counts)
        chart.line(mistaken, found, f"l{i % 6}")
        chart.text(90, TOP + 14 + 18 * i, name[:48], f"t{i % 6}")
    return chart.svg("Receiver operating characteristic")


def calibration(test: pl.DataFrame, target: Target) -> Markup:
    """Share of positive Cases by tenth of the Prediction's range, with its exact interval."""
    chart = Chart((0, 1), (0, 1))
    chart.axes("Mean prediction", "Share of positive cases")
    chart.line((0, 1), (0, 1), "lgrey thin broken")
    share = (pl.col("mean") - target.low) / (target.high - target.low)
    held = pl.col("label") > (target.low + target.high) / 2
    for part in test.with_columns(tenth=(10 * share).floor().clip(0, 9)).partition_by("tenth"):
        cases = evaluate.by_case(part).with_columns(share=share, held=held)
        x, (y, low, high, _) = float(cases["share"].to_numpy().mean()), conformal.share_held(cases)
        chart.line((x, x), (low, high), "l0")
        chart.points(np.array([x]), np.array([y]), "c0 solid", 4.5)
        chart.text(chart.at(x, y)[0] + 8, chart.at(x, y)[1] + 4.5, str(cases.height), "tick")
    return chart.svg("Calibration: share of positive cases by prediction")


def edges(labels: np.ndarray, target: Target, width: float, most: Span) -> np.ndarray:
    """Edges of cells over a span, `width` apart, none of them where a label is.

    People round, so labels pile up on a few values: a cell is centred on multiples of its width,
    and moved where labels lie between those, as the middle of a range does.
    """
    low, high = most
    for part in (0.5, 0.25, 0.375, 0.125, 0.4375, 0.3125):
        start = target.low - part * width
        off = (labels - start) / width
        if (np.abs(off - off.round()) > 1e-6).all():
            break
    first = np.floor((low - start) / width + 1e-9)
    last = np.ceil((high - start) / width - 1e-9)
    return np.asarray(start + width * np.arange(first, max(last, first + 1) + 1))


def span_of(target: Target, *values: np.ndarray) -> Span:
    """The Target's range, or further where values lie outside of it."""
    every = np.concatenate(values)
    return float(every.min(initial=target.low)), float(every.max(initial=target.high))


def predicted_vs_label(labels: np.ndarray, predicted: np.ndarray, target: Target) -> Markup:
    """Predicted against label, both (N,): a point each, moved aside a little, or cells of many."""
    span, size = span_of(target, labels, predicted), target.high - target.low
    if len(labels) < FEW:
        chart = _identity(span, target)
        aside = np.random.default_rng(0).uniform(-0.008, 0.008, len(labels)) * size
        chart.points(labels + aside, predicted, "c0", 4)
    else:
        cells = edges(labels, target, 0.05 * size, span)
        chart = _identity(span, target, (float(cells[0]), float(cells[-1])), right=70)
        counts, _, _ = np.histogram2d(labels, predicted, bins=[cells, cells])
        most = int(counts.max())
        for i, j in np.argwhere(counts > 0).tolist():
            n, x, y = int(counts[i, j]), (cells[i], cells[i + 1]), (cells[j], cells[j + 1])
            chart.rect(x, y, "c0", _shade(n / most), counted(n, "slide"))
        _count_bar(chart, most)
    return chart.svg(f"Predicted against label of {len(labels)} test slides")


def _shade(part: float) -> float:
    """How dark a cell is that has this share of the most Slides of a cell."""
    return float(0.12 + 0.88 * part**0.6)


def _count_bar(chart: Chart, most: int) -> None:
    """What the shades of cells mean, in whole numbers."""
    _, top, right, bottom = chart.box
    steps = min(most, 40)
    tall = (bottom - top) / steps
    for i in range(1, steps + 1):
        place = f'x="{right + 16}" y="{bottom - i * tall:.1f}" width="12" height="{tall + 0.3:.1f}"'
        chart.parts.append(f'<rect class="c0" {place} fill-opacity="{_shade(i / steps):.2f}"/>')
    for value in sorted({1, *(int(t) for t in ticks((0, most), 5) if t >= 1), most}):
        y = bottom - (value / most) * (bottom - top) + tall / 2
        chart.text(right + 33, y + 4, str(value), "tick")


def _identity(span: Span, target: Target, reach: Span | None = None, **room: int) -> Chart:
    """Axes of predicted against label, a little wider than a span, and the line of identity."""
    pad = 0.025 * (target.high - target.low)
    reach = reach or (span[0] - pad, span[1] + pad)
    chart, name = Chart(reach, reach, **room), axis_name(target)
    chart.axes(f"Label: {name}", f"Predicted {name}", marks(span), marks(span))
    chart.line(span, span, "lgrey thin broken")
    return chart


def bland_altman(test: pl.DataFrame, target: Target) -> Markup:
    """Difference against mean of labels and predicted: Bland and Altman 1986.

    With bias and limits of agreement, their intervals as bands, and the proportional bias.
    """
    labels, predicted, patients = evaluate.arrays(test)
    limits = evaluate.metrics(labels, predicted, patients, target)
    trend = evaluate.trend(labels, predicted, patients)
    middle, difference = (labels + predicted) / 2, predicted - labels
    span, size = span_of(target, middle), target.high - target.low
    lines = {"bias": "bias", "loa_high": "+1.96 SD", "loa_low": "−1.96 SD"}
    ends_x = np.array([middle.min(), middle.max()])
    is_known = all(map(math.isfinite, trend.values()))
    ends_y = (trend["intercept"] + trend["slope"] * ends_x).tolist() if is_known else []
    drawn = [limits.get(name + end, math.nan) for name in lines for end in ("", "_low", "_high")]
    known = [abs(y) for y in (*drawn, *ends_y) if math.isfinite(y)]
    reach = 1.12 * max([float(np.abs(difference).max()), *known, 0.02 * size])
    pad = 0.025 * size
    chart = Chart((span[0] - pad, span[1] + pad), (-reach, reach), right=74)
    unit = " (points)" if size == 100 else ""
    chart.axes(f"Mean of label and prediction: {axis_name(target)}", f"Predicted − label{unit}",
               marks(span), marks((-reach, reach), form="+g"))  # fmt: skip
    chart.line(chart.x, (0, 0), "lgrey thin")
    for name, text in lines.items():
        css, how = ("1", "") if name == "bias" else ("grey", "thin broken")
        value, low, high = (limits.get(name + end, math.nan) for end in ("", "_low", "_high"))
        if not math.isfinite(value):
            continue
        if math.isfinite(low) and math.isfinite(high):
            chart.rect(chart.x, (low, high), "c1" if css == "1" else css, 0.12)
        chart.line(chart.x, (value, value), f"l{css} {how}")
        y = chart.at(0, value)[1]
        chart.text(chart.box[2] + 6, y - 1, text, f"tick t{css}")
        chart.text(chart.box[2] + 6, y + 14, f"{value:+.{digits(target)}f}", f"tick t{css}")
    if ends_y:
        chart.line(ends_x.tolist(), ends_y, "l2")
    _dots(chart, middle, difference, "c0")
    return chart.svg("Bland-Altman: difference of prediction and label against their mean")


def histogram(
    labels: np.ndarray,
    predicted: np.ndarray,
    target: Target,
    names: tuple[str, str] = ("labels", "predictions"),
) -> Markup:
    """Labels (N,) and predictions (M,) in one histogram: round digits stand out like a comb."""
    span, size, n = span_of(target, labels, predicted), target.high - target.low, len(labels)
    width = size * (0.05 if n < FEW else 0.025 if n < 1000 else 0.01)
    cells = edges(labels, target, width, span)
    (of_labels, _), (of_means, _) = (np.histogram(v, cells) for v in (labels, predicted))
    most = max(int(of_labels.max()), int(of_means.max()), 1)
    chart = Chart((float(cells[0]), float(cells[-1])), (0, most * 1.1))
    named = axis_name(target).capitalize()
    chart.axes(named, "Slides", marks(span), marks(chart.y, whole=True))
    for low, high, n in zip(cells, cells[1:], of_labels, strict=False):
        if n:
            inset = 0.12 * width
            chart.rect((low + inset, high - inset), (0, n), "c0", 0.55, f"{n} {names[0]}")
    x, y = np.repeat(cells, 2), np.concatenate([[0], np.repeat(of_means, 2), [0]])
    chart.line(x.tolist(), y.tolist(), "l1")
    chart.key([(names[0], "c0"), (names[1], "c1")])
    return chart.svg(f"Histogram of {names[0]} and of {names[1]}")


def settling(curves: pl.DataFrame, target: Target) -> Markup:
    """How the mean over Bags settles, of `trainer.settling.settling`, one curve a bag size.

    Points are measured, lines expected. Bag sizes that no Slide is larger than have no curve.
    """
    point = (target.high - target.low) / 100
    drawn = curves.filter(pl.col("n_sampled") > 0)
    sampled = drawn.partition_by("bag_size", maintain_order=True)
    most = drawn.select(pl.max_horizontal("se_expected", "se_measured").max()).item()
    top = 1.08 * evaluate.Z95 * most / point
    last = int(curves["resamples"].to_numpy().max())
    chart = Chart((0, last + 0.5), (0, max(top, 1.3)))
    chart.axes("Bags per slide", f"95% of means lie within ± ({point_name(target)})")
    for i, curve in enumerate(sampled):
        count = curve["resamples"].to_numpy()
        y = evaluate.Z95 * curve["se_expected"].to_numpy() / point
        chart.line(count.tolist(), y.tolist(), f"l{i % 6}")
        chart.points(count, evaluate.Z95 * curve["se_measured"].to_numpy() / point, f"c{i % 6}", 3)
    chart.line(chart.x, (1, 1), "lgrey thin broken")
    chart.key([(f"bags of {c['bag_size'][0]:,}", f"c{i % 6}") for i, c in enumerate(sampled)])
    return chart.svg("How the mean over resampled bags settles")


def intervals(rows: Sequence[Mapping[str, Any]], x_name: str, zero: float, form: str) -> Markup:
    """A row each with a dot and its interval, from top to bottom, and a line at `zero`.

    Of a row: name, value, low and high, which may be None, and css. Values are written in a form.
    """
    values = [row[k] for row in rows for k in ("value", "low", "high") if row[k] is not None]
    left = 30 + int(7.6 * min(40, max(len(row["name"]) for row in rows)))
    height = ROW_PX * len(rows) + TOP + BOTTOM
    chart = Chart(_padded([zero, *values]), (0, len(rows)), height=height, left=left, right=64)
    shown = "+g" if zero == 0 else ".0%" if "%" in form else "g"
    chart.axes(x_name, "", marks(chart.x, 5, shown), [])
    chart.line((zero, zero), (0, len(rows)), "lgrey thin broken")
    for i, row in enumerate(rows):
        y, css = len(rows) - i - 0.5, row.get("css", 0)
        at_px = chart.at(0, y)[1] + 4.5
        chart.text(left - 12, at_px, row["name"][:40], "tick end")
        if row["low"] is not None:
            chart.line((row["low"], row["high"]), (y, y), f"l{css}")
        chart.points(np.array([row["value"]]), np.array([y]), f"c{css} solid", 4.5)
        chart.text(chart.box[2] + 8, at_px, format(row["value"], form), "tick")
    return chart.svg(x_name)


def _padded(values: Sequence[float]) -> Span:
    """From the least to the greatest, and a little beyond."""
    pad = 0.06 * (max(values) - min(values) or 1)
    return min(values) - pad, max(values) + pad


def training(lines: Sequence[Mapping[str, float]], best: int) -> Markup:
    """Loss of train and validation by step, from the Run's metrics.jsonl; the kept step marked."""
    series = [("loss", "train"), ("validation_loss", "validation")]
    values = [line[key] for line in lines for key, _ in series if line.get(key) is not None]
    chart = Chart((0, max(line["step"] for line in lines)), _padded(values))
    chart.axes("Step", "Loss")
    shown = []
    for i, (key, name) in enumerate(series):
        if known := [(line["step"], line[key]) for line in lines if line.get(key) is not None]:
            steps, losses = zip(*known, strict=True)
            chart.line(steps, losses, f"l{i}")
            shown.append((name, f"c{i}"))
    chart.line((best, best), chart.y, "lgrey thin broken")
    chart.key(shown)
    return chart.svg("Loss by step of training and validation")


def over_time(dated: Sequence[date], split: Sequence[str]) -> Markup:
    """Slides by quarter of their date, one colour a split, piled up."""
    quarter = [4 * day.year + (day.month - 1) // 3 for day in dated]
    first, last = min(quarter), max(quarter)
    known = [name for name in SPLITS if name in split] + sorted({*split} - {*SPLITS})
    counts = Counter(zip(quarter, split, strict=True))
    chart = Chart((first, last + 1), (0, max(Counter(quarter).values()) * 1.15))
    years = [y for y in range(first // 4, last // 4 + 2) if first <= 4 * y <= last + 1]
    every = -(-len(years) // 8) or 1
    named = [(4 * y, str(y)) for y in years[::every]] or [(first, str(first // 4))]
    chart.axes("Date, by quarter", "Slides", named, marks(chart.y, whole=True))
    for at in range(first, last + 1):
        base = 0
        for i, name in enumerate(known):
            if n := counts[at, name]:
                said = f"{n} {name}, {at // 4} quarter {at % 4 + 1}"
                chart.rect((at + 0.06, at + 0.94), (base, base + n), f"c{i % 6}", said=said)
                base += n
    chart.key([(name, f"c{i % 6}") for i, name in enumerate(known)])
    return chart.svg("Slides of each split by quarter")


def both(labels: np.ndarray, runs: Sequence[tuple[str, np.ndarray]], target: Target) -> Markup:
    """Predictions of several Runs against label, a colour each."""
    span = span_of(target, labels, *(mean for _, mean in runs))
    chart = _identity(span, target)
    aside = np.linspace(-0.008, 0.008, len(runs)) * (target.high - target.low)
    for i, (name, mean) in enumerate(runs):
        _dots(chart, labels + aside[i], mean, f"c{i % 6}")
        chart.text(70, TOP + 14 + 18 * i, name[:48], f"t{i % 6}")
    return chart.svg("Predictions of each run against label")


def _dots(chart: Chart, x: np.ndarray, y: np.ndarray, css: str) -> None:
    """A dot a Slide, smaller and fainter where there are many."""
    many = len(x) >= FEW
    chart.points(x, y, css + " many" * many, 2.5 if many else 4)


def point_name(target: Target) -> str:
    """What a hundredth of a Target's range is called."""
    return "points" if target.high - target.low == 100 else "% of the range"


def axis_name(target: Target) -> str:
    """Name of a Target with its unit."""
    percent = target.kind == "fraction" and (target.low, target.high) == (0, 100)
    return target.name.replace("_", " ") + (" (%)" if percent else "")
