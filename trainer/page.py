"""Write the page of one or more Runs: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from featurestore import FeatureStore
from featurestore.errors import ConfigError, write_beside
from featurestore.types import RunRecord, Target
from trainer import cases, compare, conformal, evaluate, overlays, plots, runs, settling, verdict
from trainer.config import SettleConfig
from trainer.inference import load_model
from trainer.svg import STYLE, minus

SETTLING_SLIDES = 100  # test Slides, at most, on which the page measures how means settle
PAGE = Path(__file__).parent / "page"

# Metrics of the full table: name, what it is, format.
_METRICS = (
    ("r2", "R²", ".3f"),
    ("mae", "Mean absolute error", ".2f"),
    ("rmse", "Root mean square error", ".2f"),
    ("pearson", "Pearson's r", ".3f"),
    ("bias", "Bias (predicted − label)", "+.2f"),
    ("loa_low", "Lower 95% limit of agreement", "+.2f"),
    ("loa_high", "Upper 95% limit of agreement", "+.2f"),
    ("within_5", "Within 5% of the range", ".1%"),
    ("within_10", "Within 10% of the range", ".1%"),
    ("slope", "Calibration slope (label on predicted)", ".3f"),
    ("intercept", "Calibration intercept", "+.2f"),
    ("auc", "Area under the ROC curve", ".3f"),
    ("accuracy", "Accuracy at the middle of the range", ".1%"),
)


def write_page(
    store: FeatureStore,
    run_ids: Sequence[str],
    out: Path,
    *,
    truth: evaluate.Truth | None = None,
    rounding: float | None = None,
    every: bool = False,
) -> Path:
    """Write the page of Runs to `out`; several Runs are compared at its top.

    Of more than `compare.DRAWN` the comparison is all, and each has a page of its own.

    Args:
        store: where the Runs are.
        run_ids: finished Runs; `latest` is the newest.
        out: the HTML file; replaced if it exists.
        truth: gives what is known of a Target better than by Labels: slide_id and truth.
        rounding: the step that labels are rounded to, in the Target's units; found in them if None.
        every: hold the pictures of all test Slides, and not of 60 alone.

    Returns:
        `out`.

    Raises:
        RunNotFound: the store has no such Run.
        ConfigError: no Run is named, or the truth is of other Slides.
    """
    loaded, tests = _loaded(store, run_ids, rounding)
    thumbnails: dict[str, Any] = {}
    most = None if every else max(2, cases.GROUP // len(loaded))
    whole = len(loaded) <= compare.DRAWN
    views = []
    for run, test in zip(loaded, tests, strict=True):
        numbers = run.record.metrics
        view = {"record": run.record, "test": numbers["test"], "ridge": numbers["ridge_test"]}
        if whole:
            view |= run_view(store, run, test, truth, rounding)
            frame = cases.table(store, run, test)
            found = cases.pictures(store, run, cases.shown(frame, most), thumbnails)
            said = cases.data(store, run, frame, found)
            view["cases"] = {"n": len(found), "data": said, "attends": load_model(run).attends}
        views.append(view)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = lambda value, form: minus(runs.number(value, form))
    environment.filters["data"] = script_data
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html").render(
        runs=views,
        whole=whole,
        compared=compare.view(store, loaded, tests) if len(loaded) > 1 else None,
        thumbnails={key: one for key, one in thumbnails.items() if one is not None},
        style=Markup(STYLE.read_text("utf-8") + (PAGE / "style.css").read_text("utf-8")),
        script=Markup(script),
        script_hash=digest,
        legend=_legend(),
    )
    out = Path(out)
    with write_beside(out) as beside:
        beside.write_text(page, encoding="utf-8")
    return out


def page_text(store: FeatureStore, run_ids: Sequence[str]) -> str:
    """The top of the page, the table by range and a plot, of each Run, in characters."""
    loaded, tests = _loaded(store, run_ids, None)
    texts = []
    for run, test in zip(loaded, tests, strict=True):
        encoder = store.encoder(run.record.encoder_id)
        said = verdict.cautions(store, run, test, encoder)
        texts.append(verdict.as_text(run, verdict.sentence(run, test, encoder), said, test))
    return "\n\n".join(texts)


def _loaded(
    store: FeatureStore, run_ids: Sequence[str], rounding: float | None
) -> tuple[list[runs.Run], list[pl.DataFrame]]:
    if not run_ids:
        raise ConfigError("name at least one run. List them with: trephine runs")
    if rounding is not None and not rounding > 0:
        raise ConfigError(f"rounding must be over 0, got {rounding}")
    loaded = [runs.load(store, run_id) for run_id in dict.fromkeys(run_ids)]
    loaded = list({run.run_id: run for run in loaded}.values())  # `latest` may be named too
    tests = [test_slides(store, run) for run in loaded]
    return [_counted(run, test) for run, test in zip(loaded, tests, strict=True)], tests


def _counted(run: runs.Run, test: pl.DataFrame) -> runs.Run:
    """The same, with the number of test Patients that older Runs did not record."""
    known = {"patients": float(test["patient_id"].n_unique())} | dict(run.record.metrics["test"])
    metrics = {**run.record.metrics, "test": known}
    return replace(run, record=replace(run.record, metrics=metrics))


def script_data(value: Any) -> Markup:
    """JSON that no text in it can end early, for a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _legend() -> dict[str, Any]:
    """The colours of the overlay, for the page's own legend."""
    rgb = overlays.palette()[:: (overlays.LEVELS - 1) // 8, :3].tolist()
    return {
        "colours": ", ".join(f"rgb({r} {g} {b})" for r, g, b in rgb),
        "multiples": [name.replace("1/4", "¼").replace("1/2", "½") for name in overlays.MULTIPLES],
    }


def run_view(
    store: FeatureStore,
    run: runs.Run,
    test: pl.DataFrame,
    truth: evaluate.Truth | None = None,
    rounding: float | None = None,
) -> dict[str, Any]:
    """Gather what the page says of one Run."""
    record, target = run.record, run.record.about()
    encoder = store.encoder(record.encoder_id)
    ceiling = label_ceiling(test, target, truth, rounding)
    return {
        "target": target,
        "unit": "points" if target.high - target.low == 100 else "",
        "point": (" " if target.high - target.low == 100 else "") + plots.point_name(target),
        "name": plots.axis_name(target),
        "value": f".{plots.digits(target)}f",
        "fine": f".{plots.digits(target) + 1}f",
        "verdict": verdict.sentence(run, test, encoder),
        "cautions": verdict.cautions(store, run, test, encoder),
        "ceiling": ceiling,
        "metrics": _metric_table(record, ceiling),
        "figures": _figures(test, target),
        "groups": _groups(store, run, test, target),
        "by_label": verdict.BY_LABEL,
        "n_whole": test["std"].null_count(),
        "median_std": test["std"].median(),
        "settling": _settling(store, run, target),
        "intervals": _intervals(run, test, target),
        "training": _training(run),
        "over_time": _over_time(store, run),
        "cohort": store.cohort(record.cohort),
        "splits": store.splits(record.cohort),
        "encoder": encoder,
        "identity": json.dumps(encoder.identity, indent=1, sort_keys=True),
        "command": run.command(),
    }


def test_slides(store: FeatureStore, run: runs.Run) -> pl.DataFrame:
    """Test Predictions with what is known of their Slides, their intervals and who is held."""
    record = run.record
    bags = store.bags(record.cohort, record.encoder_id, record.tiling_id)
    test = run.predictions.filter(pl.col("split") == "test").join(
        bags.select("slide_id", "patient_id", "case_id", "scanner", "dated", "low", "high"),
        on="slide_id",
        how="left",
        maintain_order="left",
    )
    width = run.half_widths
    return conformal.add_intervals(test, width, record.about()).with_columns(
        pl.col("patient_id", "case_id").fill_null(pl.col("slide_id")),  # of what was set aside
        held=conformal.held(width),
    )


def label_ceiling(
    test: pl.DataFrame,
    target: Target,
    truth: evaluate.Truth | None = None,
    rounding: float | None = None,
) -> dict[str, Any]:
    """What R2 labels allow: measured where the truth is known, else estimated from their rounding.

    Returns:
        r2, null where labels show no rounding; truth, the metrics against it, or null; and where it
        is null, step and whether that was stated.
    """
    labels = test["truth"].to_numpy()
    if truth is None:
        step = rounding or evaluate.rounding_step(labels, target)
        most = math.nan if step is None else evaluate.rounding_ceiling(labels, step)
        said = {"step": step, "stated": rounding is not None, "truth": None}
        return evaluate.finite({"r2": most}) | said
    both = evaluate.with_truth(test, truth, target)
    labels, true, mean = (both[c].to_numpy() for c in ("truth", "true", "mean"))
    numbers = evaluate.metrics(true, mean, both["patient_id"].to_numpy(), target)
    return evaluate.finite({"r2": evaluate.r2(labels, true)}) | {"truth": evaluate.finite(numbers)}


def _metric_table(record: RunRecord, ceiling: Mapping[str, Any]) -> dict[str, Any]:
    """All numbers, a row a metric and a column a split that is large enough to say something."""
    metrics = record.metrics
    by_case = runs.number(record.metric("n", "test_cases"), ",.0f")
    columns = [
        (f"Test (n = {record.n_test:,})", metrics["test"]),
        (f"By case (n = {by_case})", metrics.get("test_cases")),
        ("Test, against the truth", ceiling["truth"]),
        (f"Validation (n = {record.n_validation:,})", metrics.get("validation")),
        (f"Calibration (n = {record.n_calibration:,})", metrics.get("calibration")),
        ("Ridge floor on test", metrics["ridge_test"]),
    ]
    few = {"Validation": record.n_validation, "Calibration": record.n_calibration}
    columns = [
        (title, values)
        for title, values in columns
        if values and few.get(title.split(" ")[0], verdict.READABLE) >= verdict.READABLE
    ]
    fine = str(plots.digits(record.about()) + 1)
    known = [row for row in _METRICS if row[0] in metrics["test"]]
    return {
        "columns": [title for title, _ in columns],
        "splits": [values for _, values in columns],
        "rows": [
            {"name": name, "label": label, "form": form.replace("2", fine)}
            for name, label, form in known
        ],
    }


def _figures(test: pl.DataFrame, target: Target) -> list[dict[str, Any]]:
    labels, mean, patients = (test[c].to_numpy() for c in ("truth", "mean", "patient_id"))
    limits = evaluate.metrics(labels, mean, patients, target)
    line = verdict.trend(labels, mean, patients)
    known = all(map(math.isfinite, line.values()))
    words = "Lines are bias and 95% limits of agreement, bands their 95% intervals by patient"
    if known:
        words += (
            f"; green, the proportional bias: {line['slope']:+.2f} for each point of the mean "
            f"(95% interval {line['slope_low']:+.2f} to {line['slope_high']:+.2f})"
        )
    how = "Each point is a test slide" if test.height < plots.FEW else "Cells count test slides"
    drawn = (
        ("Predicted against label", plots.predicted_vs_truth(labels, mean, target),
         f"{how}; on the broken line the prediction is the label."),
        ("Difference against mean",
         plots.bland_altman(labels, mean, target, limits,
                            (line["intercept"], line["slope"]) if known else None),
         f"{words}."),
        ("Labels and predictions", plots.histogram(labels, mean, target),
         "Where people prefer round digits the labels stand like the teeth of a comb; the model "
         "sees no digits."),
    )  # fmt: skip
    return [
        {"title": title, "svg": Markup(svg), "caption": minus(caption)}
        for title, svg, caption in drawn
    ]


def _settling(store: FeatureStore, run: runs.Run, target: Target) -> dict[str, Any]:
    """How many Bags are enough, by bag size, on at most `SETTLING_SLIDES` test Slides."""
    sizes = (*SettleConfig().bag_sizes, run.record.bag_size)
    wanted = SettleConfig(bag_sizes=sizes, max_slides=SETTLING_SLIDES)
    curves = settling.settling(store, run.run_id, wanted)
    rows = settling.summary(curves, target)
    own = rows.row(by_predicate=pl.col("bag_size") == run.record.bag_size, named=True)
    sampled = rows["n_sampled"].sum() > 0
    used = run.config.resamples
    return {
        "rows": rows.rows(named=True),
        "svg": Markup(plots.settling(curves, target)) if sampled else None,
        "n": own["n_slides"],
        "enough": own["enough"],
        "reach": own["std"] and evaluate.Z95 * own["std"] / used**0.5,
        "max_resamples": own["max_resamples"],
    }


def _intervals(run: runs.Run, test: pl.DataFrame, target: Target) -> dict[str, Any]:
    """The split-conformal intervals and how many test labels they hold; None without."""
    n, width = run.record.n_calibration, run.half_widths
    held = None if width is None else conformal.coverage(test, width)
    level = 1 - conformal.ALPHA
    return {
        "n": n,
        "folded": run.predictions["split"].to_list().count(conformal.OUT_OF_FOLD),
        "least": conformal.CALIBRATES,
        "level": level,
        "half": width and width.typical,
        "coverage": held,
        "svg": held and Markup(plots.intervals(_coverage(test, target, held),
                                               "Labels held by the interval", level, ".0%")),
    }  # fmt: skip


def _coverage(
    test: pl.DataFrame, target: Target, held: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Share of labels held, of all test Slides and of thirds of the prediction's range."""
    whole = {"value": held["coverage"], "low": held["coverage_low"], "high": held["coverage_high"]}
    rows: list[dict[str, Any]] = [{"name": "all test slides", "css": 1} | whole]
    size = target.high - target.low
    digits = plots.digits(target) - 1
    third = ((pl.col("mean") - target.low) / size * 3).floor().clip(0, 2).cast(pl.Int64)
    for (part,), group in sorted(test.group_by(third.alias("third"))):
        low, high = (target.low + size * (part + i) / 3 for i in (0, 1))
        name = f"predicted {low:.{digits}f}–{high:.{digits}f} (n = {group.height:,})"
        held_there = conformal.share_held(group)
        rows.append({"name": name} | dict(zip(("value", "low", "high"), held_there, strict=False)))
    return rows


def _groups(
    store: FeatureStore, run: runs.Run, test: pl.DataFrame, target: Target
) -> list[dict[str, Any]]:
    """Tables of errors by group, each with what it is by."""
    about = store.named("queries/page_slides", {"cohort": run.record.cohort})
    test = test.join(about.select("slide_id", "quality"), on="slide_id", how="left")
    tables = [
        ("label range", evaluate.by_range(test, target)),
        ("predicted range", evaluate.by_range(test, target, of="mean")),
        ("half-year", evaluate.by_half_year(test, target)),
        ("scanner", evaluate.by_scanner(test, target)),
        ("quality", evaluate.by_group(test, pl.col("quality").fill_null("unknown"), target)),
    ]
    found: list[dict[str, Any]] = [
        {"by": by, "rows": table.rows(named=True)}
        for by, table in tables
        if table.height > 1 or by == "label range"
    ]
    ends = [abs(r[k]) for t in found for r in t["rows"] for k in ("bias", "bias_low", "bias_high")
            if r["n"] >= verdict.READABLE / 4 and r[k] is not None]  # fmt: skip
    reach = max([*ends, (target.high - target.low) / 50])
    for table in found:
        for row in table["rows"]:
            row["few"] = row["n"] < verdict.READABLE
            row["mark"] = Markup(plots.bias_mark(row, reach))
    return found


def _training(run: runs.Run) -> Markup | None:
    """The training curve; None where an older Run kept none."""
    file = run.path / "metrics.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    known = [line for line in lines if line.get("loss") is not None]
    return Markup(plots.training(known, run.record.fit["best_step"])) if known else None


def _over_time(store: FeatureStore, run: runs.Run) -> Markup | None:
    """Slides of each split by quarter; None where none is dated."""
    record = run.record
    bags = store.bags(record.cohort, record.encoder_id, record.tiling_id)
    own = pl.col("split") != conformal.OUT_OF_FOLD  # the Run itself learnt from these
    split = run.predictions.filter(own).select("slide_id", used="split")
    both = bags.join(split, on="slide_id", how="left").filter(pl.col("dated").is_not_null())
    if both.is_empty():
        return None
    named = both.select("dated", pl.col("used").fill_null("train"))
    return Markup(plots.over_time(named["dated"].to_list(), named["used"].to_list()))
