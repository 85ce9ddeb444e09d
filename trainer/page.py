"""Write the page of one or more Runs: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from featurestore import FeatureStore
from featurestore.errors import ConfigError, write_beside
from featurestore.types import RunRecord, Target
from featurestore.words import counted
from trainer import cases, compare, conformal, evaluate, overlays, plots, runs, settling, verdict
from trainer.config import SettleConfig
from trainer.inference import load_model
from trainer.svg import minus

SETTLING_SLIDES = 100  # test Slides, at most, on which the page measures how means settle
PAGE = Path(__file__).parent / "page"


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
        run_ids: finished Runs with one Target; `latest` is the newest.
        out: the HTML file; replaced if it exists.
        truth: gives what is known of a Target better than by Labels: slide_id and truth.
        rounding: the step that labels are rounded to, in the Target's units; found in them if None.
        every: hold the pictures of all test Slides, and not of 60 alone, shared by several Runs.

    Raises:
        RunNotFound, ConfigError: as it says.
    """
    loaded, tests = _loaded(store, run_ids, rounding)
    thumbnails: dict[str, Any] = {}
    most = None if every else max(cases.LEAST, cases.MOST // len(loaded))
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
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (
        templates()
        .get_template("page.html")
        .render(
            runs=views,
            whole=whole,
            compared=compare.view(store, loaded, tests) if len(loaded) > 1 else None,
            thumbnails={key: one for key, one in thumbnails.items() if one is not None},
            style=Markup(plots.STYLE.read_text("utf-8") + (PAGE / "style.css").read_text("utf-8")),
            script=Markup(script),
            script_hash=digest,
            colours=overlays.palette()[:: (overlays.LEVELS - 1) // 8, :3].tolist(),
            multiples=[name.replace("1/4", "¼").replace("1/2", "½") for name in overlays.MULTIPLES],
        )
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
        said = verdict.cautions(store, run, test)
        texts.append(verdict.as_text(run, verdict.sentence(run, test), said, test))
    return "\n\n".join(texts)


def _loaded(
    store: FeatureStore, run_ids: Sequence[str], rounding: float | None
) -> tuple[list[runs.Run], list[pl.DataFrame]]:
    if not run_ids:
        raise ConfigError("name at least one run. List them with: trephine runs")
    if rounding is not None and not rounding > 0:
        raise ConfigError(f"rounding must be over 0, got {rounding}")
    found = (runs.load(store, run_id) for run_id in run_ids)
    loaded = list({run.run_id: run for run in found}.values())  # `latest` may be named too
    if len({run.record.about() for run in loaded}) > 1:
        named = ", ".join(f"{run.run_id} {run.record.target}" for run in loaded)
        raise ConfigError(f"a page is of runs with one target, got {named}. Write one for each.")
    return loaded, [test_slides(store, run) for run in loaded]


def templates() -> jinja2.Environment:
    """The page's templates: text from outside stays text, in scripts too (`tojson`)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["counted"] = counted
    environment.filters["said"] = compare.in_words
    environment.filters["num"] = lambda value, form: minus(runs.number(value, form))
    return environment


def run_view(
    store: FeatureStore,
    run: runs.Run,
    test: pl.DataFrame,
    truth: evaluate.Truth | None = None,
    rounding: float | None = None,
) -> dict[str, Any]:
    """Gather what the page says of one Run."""
    record, target = run.record, run.record.about()
    labels, against = test["truth"].to_numpy(), _against_truth(test, truth, target)
    return {
        "target": target,
        "unit": "points" if target.high - target.low == 100 else "",
        "point": (" " if target.high - target.low == 100 else "") + plots.point_name(target),
        "name": plots.axis_name(target),
        "value": f".{runs.digits(target)}f",
        "fine": f".{runs.digits(target) + 1}f",
        "verdict": verdict.sentence(run, test),
        "cautions": verdict.cautions(store, run, test),
        "truth": against,
        "ceiling": evaluate.ceiling(store, record.cohort, labels, target, rounding),
        "columns": _columns(record, against),
        "figures": plots.figures(test, target),
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
        "encoder": run.encoder,
        "identity": json.dumps(run.encoder.identity, indent=1, sort_keys=True),
        "command": run.command(),
    }


def test_slides(store: FeatureStore, run: runs.Run) -> pl.DataFrame:
    """Test Predictions with what is known of their Slides, their intervals and who is held."""
    about = run.bags(store).select("slide_id", "scanner", "dated", "low", "high")
    test = run.predictions.filter(pl.col("split") == "test")
    test = test.join(about, on="slide_id", how="left", maintain_order="left")
    width = run.half_widths
    return conformal.add_intervals(test, width, run.record.about()).with_columns(
        held=conformal.held(width)
    )


def _against_truth(
    test: pl.DataFrame, truth: evaluate.Truth | None, target: Target
) -> dict[str, Any] | None:
    """Metrics against the truth, and the R2 that it has itself against labels; None without."""
    if truth is None:
        return None
    both = evaluate.with_truth(test, truth, target)
    most = evaluate.r2(both["truth"].to_numpy(), both["true"].to_numpy())
    return evaluate.finite({"ceiling": most}) | evaluate.measured(
        both.with_columns(truth="true"), target
    )


def _columns(record: RunRecord, against: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    """All numbers: a column a split that is large enough to say something."""
    metrics = record.metrics
    by_case = runs.number(record.metric("n", "test_cases"), ",.0f")
    columns = [
        (f"Test (n = {record.n_test:,})", metrics["test"]),
        (f"By case (n = {by_case})", metrics.get("test_cases")),
        ("Test, against the truth", against),
        (f"Validation (n = {record.n_validation:,})", metrics.get("validation")),
        (f"Calibration (n = {record.n_calibration:,})", metrics.get("calibration")),
        ("Ridge floor on test", metrics["ridge_test"]),
    ]
    few = {"Validation": record.n_validation, "Calibration": record.n_calibration}
    return [
        (title, values)
        for title, values in columns
        if values and few.get(title.split(" ")[0], verdict.READABLE) >= verdict.READABLE
    ]


def _settling(store: FeatureStore, run: runs.Run, target: Target) -> dict[str, Any]:
    """How many Bags are enough, by bag size, on at most `SETTLING_SLIDES` test Slides."""
    sizes = (*SettleConfig().bag_sizes, run.record.bag_size)
    wanted = SettleConfig(bag_sizes=sizes, max_slides=SETTLING_SLIDES)
    curves = settling.settling(store, run.run_id, wanted)
    rows = settling.summary(curves, target)
    own = rows.row(by_predicate=pl.col("bag_size") == run.record.bag_size, named=True)
    sampled = rows["n_sampled"].sum() > 0
    return {
        "rows": rows.rows(named=True),
        "svg": Markup(plots.settling(curves, target)) if sampled else None,
        "own": own,
        "reach": own["std"] and evaluate.Z95 * own["std"] / run.config.resamples**0.5,
    }


def _intervals(run: runs.Run, test: pl.DataFrame, target: Target) -> dict[str, Any]:
    """The split-conformal intervals and how many test labels they hold; None without."""
    width, level = run.half_widths, 1 - conformal.ALPHA
    held = None if width is None else conformal.coverage(test, width)
    rows = held and _coverage(test, target)
    name = "Labels held by the interval"
    return {
        "folded": run.predictions["split"].to_list().count(conformal.OUT_OF_FOLD),
        "none": conformal.why_none(run.predictions, target.kind),
        "level": level,
        "half": width and width.typical,
        "coverage": held,
        "held": held and conformal.in_words(held),
        "svg": rows and Markup(plots.intervals(rows, name, level, ".0%")),
    }


def _coverage(test: pl.DataFrame, target: Target) -> list[dict[str, Any]]:
    """Share of labels held, of all test Slides and of thirds of the prediction's range."""
    digits, groups = runs.coarse(target), [("all test slides", 1, test)]
    for low, high, part in conformal.thirds(test, target):
        name = f"predicted {low:.{digits}f}–{high:.{digits}f} (n = {part.height:,})"
        groups.append((name, 0, part))
    names = ("name", "css", "value", "low", "high", "n")
    return [
        dict(zip(names, (*one, *conformal.share_held(part)), strict=True)) for *one, part in groups
    ]


def _groups(
    store: FeatureStore, run: runs.Run, test: pl.DataFrame, target: Target
) -> list[dict[str, Any]]:
    """Tables of errors by group, each with what it is by."""
    about = store.named("queries/page_slides", {"cohort": run.record.cohort})
    test = test.join(about.select("slide_id", "quality"), on="slide_id", how="left")
    first = "class" if target.kind == "binary" else "label range"
    tables = [
        (first, evaluate.by_range(test, target)),
        ("predicted range", evaluate.by_range(test, target, of="mean")),
        ("half-year", evaluate.by_half_year(test, target)),
    ]
    for by in ("scanner", "quality"):
        tables.append((by, evaluate.by_group(test, pl.col(by).fill_null("unknown"), target)))
    shown = {k: table.rows(named=True) for k, table in tables if table.height > 1 or k == first}
    many = [r for rows in shown.values() for r in rows if r["n"] >= verdict.READABLE / 4]
    ends = [abs(r[k]) for r in many for k in ("bias", "bias_low", "bias_high") if r[k] is not None]
    reach = max([*ends, (target.high - target.low) / 50])
    return [
        {"by": by, "reach": reach, "rows": [r | {"few": r["n"] < verdict.READABLE} for r in rows]}
        for by, rows in shown.items()
    ]


def _training(run: runs.Run) -> Markup | None:
    """The training curve; None where an older Run kept none."""
    file = run.path / "metrics.jsonl"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    known = [line for line in lines if line.get("loss") is not None]
    return Markup(plots.training(known, run.record.fit["best_step"])) if known else None


def _over_time(store: FeatureStore, run: runs.Run) -> Markup | None:
    """Slides of each split by quarter; None where none is dated."""
    own = pl.col("split") != conformal.OUT_OF_FOLD  # the Run itself learnt from these
    split = run.predictions.filter(own).select("slide_id", used="split")
    dated = run.bags(store).filter(pl.col("dated").is_not_null())
    both = dated.join(split, on="slide_id", how="left")
    if both.is_empty():
        return None
    named = both.select("dated", pl.col("used").fill_null("train"))
    return Markup(plots.over_time(named["dated"].to_list(), named["used"].to_list()))
