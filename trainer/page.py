"""Write the page of one or more Runs: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from PIL import Image

from featurestore import FeatureStore
from featurestore.errors import ConfigError, StoreDamaged
from featurestore.types import RunRecord, Target
from trainer import conformal, evaluate, plots, runs, settling
from trainer.config import SettleConfig

WORST = 10
THUMBNAIL_PX = 260
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
)


def write_page(
    store: FeatureStore,
    run_ids: Sequence[str],
    out: Path,
    *,
    truth: evaluate.Truth | None = None,
    rounding: float | None = None,
) -> Path:
    """Write the page of Runs to `out`; several Runs are compared at its top.

    Args:
        store: where the Runs are.
        run_ids: finished Runs; `latest` is the newest.
        out: the HTML file; replaced if it exists.
        truth: gives what is known of a Target better than by Labels: slide_id and truth.
        rounding: the step that labels are rounded to, in the Target's units; found in them if None.

    Returns:
        `out`.

    Raises:
        RunNotFound: the store has no such Run.
        ConfigError: no Run is named, or the truth is of other Slides.
    """
    if not run_ids:
        raise ConfigError("name at least one run. List them with: trephine runs")
    if rounding is not None and not rounding > 0:
        raise ConfigError(f"rounding must be over 0, got {rounding}")
    loaded = [runs.load(store, run_id) for run_id in dict.fromkeys(run_ids)]
    views = [run_view(store, run, truth, rounding) for run in loaded]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = lambda value, form: _minus(runs.number(value, form))
    page = environment.get_template("page.html").render(
        runs=views, style=(PAGE / "style.css").read_text(encoding="utf-8")
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def run_view(
    store: FeatureStore,
    run: runs.Run,
    truth: evaluate.Truth | None = None,
    rounding: float | None = None,
) -> dict[str, Any]:
    """Gather what the page says of one Run."""
    record, target = run.record, run.record.about()
    test = _test_slides(store, run, target)
    encoder = store.encoder(record.encoder_id)
    ceiling = label_ceiling(test, target, truth, rounding)
    return {
        "record": record,
        "target": target,
        "unit": "points" if target.high - target.low == 100 else "",
        "point": (" " if target.high - target.low == 100 else "") + plots.point_name(target),
        "name": plots.axis_name(target),
        "test": record.metrics["test"],
        "ridge": record.metrics["ridge_test"],
        "ceiling": ceiling,
        "metrics": _metric_table(record, ceiling),
        "figures": _figures(test, target),
        "groups": _groups(test, target),
        "n_whole": test["std"].null_count(),
        "median_std": test["std"].median(),
        "settling": _settling(store, run, target),
        "intervals": _intervals(run, test),
        "worst": _worst(store, test),
        "config": _config_rows(record.config),
        "cohort": store.cohort(record.cohort),
        "splits": store.splits(record.cohort),
        "encoder": encoder,
        "identity": json.dumps(encoder.identity, indent=1, sort_keys=True),
        "random_weights": encoder.weights == "random",
        "command": run.command(),
    }


def _test_slides(store: FeatureStore, run: runs.Run, target: Target) -> pl.DataFrame:
    """Test Predictions with what is known of their Slides, their intervals and who is held."""
    record = run.record
    bags = store.bags(record.cohort, record.encoder_id, record.tiling_id)
    test = run.predictions.filter(pl.col("split") == "test").join(
        bags.select("slide_id", "patient_id", "case_id", "scanner", "dated", "low", "high"),
        on="slide_id",
        how="left",
    )
    width = conformal.calibrated_half_width(run.predictions)
    return conformal.add_intervals(test, width, target).with_columns(held=conformal.held(width))


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
    """All numbers, a row a metric and a column a split; those that the Run has."""
    metrics = record.metrics
    columns = [
        (f"Test (n = {record.n_test})", metrics["test"]),
        ("Test, against the truth", ceiling["truth"]),
        (f"Validation (n = {record.n_validation})", metrics.get("validation")),
        (f"Calibration (n = {record.n_calibration})", metrics.get("calibration")),
        ("Ridge floor on test", metrics["ridge_test"]),
    ]
    columns = [(title, values) for title, values in columns if values]
    known = [row for row in _METRICS if row[0] in metrics["test"]]
    return {
        "columns": [title for title, _ in columns],
        "splits": [values for _, values in columns],
        "rows": [{"name": name, "label": label, "form": form} for name, label, form in known],
    }


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _figures(test: pl.DataFrame, target: Target) -> list[dict[str, str]]:
    captions = {
        "predicted_vs_truth": "Predicted against label. Each cell counts test slides; the broken "
        "line is identity.",
        "bland_altman": "Bland-Altman: difference against mean, with bias, 95% limits of agreement "
        "and the 95% interval of each, by bootstrap over patients.",
    }
    return [
        {"uri": _data_uri(plots.png(figure), "image/png"), "caption": captions[name]}
        for name, figure in plots.figures(test, target)
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
    figure = plots.png(plots.settling_figure(curves, target)) if sampled else None
    return {
        "rows": rows.rows(named=True),
        "uri": figure and _data_uri(figure, "image/png"),
        "n": own["n_slides"],
        "enough": own["enough"],
        "reach": own["std"] and evaluate.Z95 * own["std"] / used**0.5,
        "max_resamples": own["max_resamples"],
    }


def _intervals(run: runs.Run, test: pl.DataFrame) -> dict[str, Any]:
    """The split-conformal intervals and how many test labels they hold; None without."""
    n, width = run.record.n_calibration, conformal.calibrated_half_width(run.predictions)
    return {
        "n": n,
        "least": conformal.CALIBRATES,
        "level": 1 - conformal.ALPHA,
        "half": width,
        "coverage": None if width is None else conformal.coverage(test, width, n),
    }


def _groups(test: pl.DataFrame, target: Target) -> list[dict[str, Any]]:
    tables = [("label range", evaluate.by_range(test, target))]
    if test["scanner"].n_unique() > 1:
        tables.append(("scanner", evaluate.by_scanner(test, target)))
    if test["dated"].is_not_null().any():
        tables.append(("half-year", evaluate.by_half_year(test, target)))
    return [{"by": by, "rows": table.rows(named=True)} for by, table in tables]


def _worst(store: FeatureStore, test: pl.DataFrame) -> list[dict[str, Any]]:
    """The test Slides with the largest errors, each with its thumbnail."""
    error = pl.col("mean") - pl.col("truth")
    frame = test.with_columns(error.alias("error")).sort(
        error.abs(), "slide_id", descending=[True, False]
    )
    return [
        row | {"thumbnail": _thumbnail(store, row["slide_key"])}
        for row in frame.head(WORST).rows(named=True)
    ]


def _thumbnail(store: FeatureStore, slide_key: str) -> str | None:
    try:
        pixels = store.thumbnail(slide_key)
    except StoreDamaged:  # imported Slides have none
        return None
    if min(pixels.shape[:2]) == 0:
        return None
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return _data_uri(buffer.getvalue(), "image/jpeg")


def _config_rows(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(k.replace("_", " "), "–" if v is None else str(v)) for k, v in config.items()]


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
