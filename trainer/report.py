"""Write the page of one or more Runs: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from PIL import Image

from featurestore.errors import ConfigError, StoreDamaged
from featurestore.store import FeatureStore
from featurestore.types import Target
from trainer import evaluate, plots, runs
from trainer.fit import TrainConfig
from trainer.predict import run_target

WORST = 10
THUMBNAIL_PX = 260
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


def write_report(store: FeatureStore, run_ids: Sequence[str], out: Path) -> Path:
    """Write the page of Runs to `out`; several Runs are compared at its top.

    Args:
        store: where the Runs are.
        run_ids: finished Runs; `latest` is the newest.
        out: the HTML file; replaced if it exists.

    Returns:
        `out`.

    Raises:
        RunNotFound: the store has no such Run.
    """
    if not run_ids:
        raise ConfigError("name at least one run. List them with: trephine runs")
    views = [run_view(store, runs.load(store, run_id)) for run_id in dict.fromkeys(run_ids)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["num"] = lambda value, form: runs.number(value, form).replace("-", "−")
    page = environment.get_template("report.html").render(
        runs=views, style=(PAGE / "style.css").read_text(encoding="utf-8")
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return out


def run_view(store: FeatureStore, run: runs.Run) -> dict[str, Any]:
    """Gather what the page says of one Run."""
    record = run.record
    target = run_target(record)
    bags = store.bags(record["cohort"], record["encoder_id"], record["tiling_id"])
    test = run.predictions.filter(pl.col("split") == "test").join(
        bags.select("slide_id", "patient_id", "case_id", "scanner", "dated", "low", "high"),
        on="slide_id",
        how="left",
    )
    encoder = store.encoder(record["encoder_id"])
    percent = target.high - target.low == 100
    return {
        "record": record,
        "target": target,
        "unit": "points" if percent else "",
        "point": " points" if percent else "% of the range",
        "name": plots.axis_name(target),
        "test": record["metrics"]["test"],
        "ridge": record["metrics"]["ridge_test"],
        "metrics": _metric_rows(record["metrics"]),
        "figures": _figures(run),
        "groups": _groups(test, target),
        "n_whole": test["std"].null_count(),
        "median_std": test["std"].median(),
        "worst": _worst(store, test),
        "config": _config_rows(record["config"]),
        "cohort": store.cohort(record["cohort"]),
        "encoder": encoder,
        "identity": json.dumps(json.loads(encoder["identity"]), indent=1, sort_keys=True),
        "random_weights": encoder["weights"] == "random",
        "command": command(record["config"]),
    }


def command(config: Mapping[str, Any]) -> str:
    """Return the command line that trains with a configuration: what differs from the defaults."""
    words = ["trephine", "train", str(config["cohort"])]
    for item in fields(TrainConfig):
        value = config.get(item.name)
        default = None if item.default is MISSING else item.default
        resolved_loss = item.name == "loss" and value in ("bce", "mse")
        if item.name == "cohort" or value in (default, None) or resolved_loss:
            continue
        option = "--" + item.name.removesuffix("_id").replace("_", "-")
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-", 1))
        else:
            words += [option, str(value)]
    return shlex.join(words)


def _metric_rows(metrics: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    rows = []
    for name, label, form in _METRICS:
        if name not in metrics["test"]:
            continue
        cells = [
            _with_interval(metrics.get(split, {}), name, form)
            for split in ("test", "validation", "ridge_test")
        ]
        rows.append({"label": label, "cells": cells})
    return rows


def _with_interval(values: Mapping[str, float | None], name: str, form: str) -> str:
    text = runs.number(values.get(name), form)
    low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
    if low is not None and high is not None:
        text += f" ({low:{form}} to {high:{form}})"
    return text.replace("-", "−")


def _figures(run: runs.Run) -> list[dict[str, str]]:
    captions = (
        "Predicted against label. Each cell counts test slides; the broken line is identity.",
        "Bland-Altman: difference against mean, with bias, 95% limits of agreement and the 95% "
        "interval of each.",
    )
    return [
        {"uri": _data_uri((run.path / name).read_bytes(), "image/png"), "caption": caption}
        for name, caption in zip(runs.FIGURES, captions, strict=True)
    ]


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
