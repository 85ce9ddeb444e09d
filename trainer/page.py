"""Write the page of one or more Runs: one HTML file that needs nothing beside it."""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import polars as pl
from markupsafe import Markup

from featurestore import FeatureStore
from featurestore.errors import ConfigError, write_beside
from featurestore.types import Target
from featurestore.words import Told, counted, size
from trainer import compare, conformal, evaluate, heatmap, plots, runs, settling, verdict
from trainer.config import SettleConfig
from trainer.inference import load_model
from trainer.svg import minus

SETTLING_SLIDES = 100  # test Slides, at most, on which the page measures how means settle
PAGE = Path(__file__).parent / "page"
GROUP = 20  # Slides that are called worst, best and typical
MOST, LEAST = 60, 6  # Slides whose pictures the page holds, in all and of a Run
# Of a row of the table of Cases, in this order: what it shows first comes first.
FIELDS: tuple[str, ...] = ("slide_id", "label", "low", "high", "qualifier", "mean", "error")
FIELDS += ("interval_low", "interval_high", "std", "dated", "quality", "scanner", "evidence")
FIELDS += ("n_tiles", "case_id", "method", "specimen", "group")


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
    """
    if rounding is not None and not rounding > 0:
        raise ConfigError(f"rounding must be over 0, got {rounding}")
    loaded, tests = _loaded(store, run_ids)
    thumbnails: dict[str, Any] = {}
    most = None if every else max(LEAST, MOST // len(loaded))
    whole = len(loaded) <= compare.DRAWN
    views = []
    for run, test in zip(loaded, tests, strict=True):
        numbers = run.record.metrics
        view = {"record": run.record, "encoder": run.encoder, "test": numbers["test"]}
        view["ridge"] = numbers["ridge_test"]
        if whole:
            view |= _run_view(store, run, test, truth, rounding)
            view["cases"] = _cases(store, run, test, most, thumbnails)
        views.append(view)
    compared = compare.view(store, loaded, tests) if len(loaded) > 1 else None
    known = {key: one for key, one in thumbnails.items() if one is not None}
    template = templates().get_template("page.html")
    page = template.render(runs=views, whole=whole, compared=compared, thumbnails=known)
    out = Path(out)
    with write_beside(out) as beside:
        beside.write_text(page, encoding="utf-8")
    return out


def written(store: FeatureStore, run_ids: Sequence[str], page: Path) -> Told:
    """What is said of a page when it is there, and which Runs of a cross-validation it lacks."""
    loaded = [runs.load(store, run_id) for run_id in run_ids]
    warnings = compare.lacking(compare.missing(store, loaded))
    n_bytes = page.stat().st_size
    said = f"The page is {page}, {size(n_bytes)}. Open it in a browser."
    data = {"page": str(page), "bytes": n_bytes, "warnings": warnings}
    return Told("\n".join([*runs.first(warnings), said]), data)


def page_text(store: FeatureStore, run_ids: Sequence[str]) -> Told:
    """Runs together, then the top of the page, the table by range and a plot of each, as text."""
    loaded, tests = _loaded(store, run_ids)
    parts = [verdict.as_text(store, run, test) for run, test in zip(loaded, tests, strict=True)]
    if len(loaded) > 1:
        found = compare.as_text(compare.view(store, loaded, tests), loaded[0].scores)
        parts.insert(0, "\n".join(found))
    said = "\n\n".join(filter(None, parts))
    return Told(said, {"text": said})


def _loaded(
    store: FeatureStore, run_ids: Sequence[str]
) -> tuple[list[runs.Run], list[pl.DataFrame]]:
    if not run_ids:
        raise ConfigError("name at least one run. List them with: trephine runs")
    found = (runs.load(store, run_id) for run_id in run_ids)
    loaded = _in_order({run.run_id: run for run in found}.values())  # `latest` may be named too
    if len({run.record.about() for run in loaded}) > 1:
        named = ", ".join(f"{run.run_id} {run.record.target}" for run in loaded)
        raise ConfigError(f"a page is of runs with one target, got {named}. Write one for each.")
    return loaded, [test_slides(store, run) for run in loaded]


def _in_order(loaded: Iterable[runs.Run]) -> list[runs.Run]:
    """Those alike but for fold and seed together, as the first of them came; by fold, then seed."""
    first: dict[str, int] = {}

    def place(run: runs.Run) -> tuple[int, int, str, int]:
        rest, fold = replace(run.config, fold=None, seed=0), run.config.fold or ""
        alike = f"{rest} {run.record.encoder_id} {run.record.tiling_id}"
        return first.setdefault(alike, len(first)), len(fold), fold, run.config.seed

    return sorted(loaded, key=place)


def templates() -> jinja2.Environment:
    """The page's templates: text from outside stays text, in scripts too (`tojson`)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (PAGE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = plots.STYLE.read_text("utf-8") + (PAGE / "style.css").read_text("utf-8")
    environment.globals |= {"style": Markup(style), "script": Markup(script), "script_hash": digest}
    environment.globals["colours"] = heatmap.palette()[:: (heatmap.LEVELS - 1) // 8, :3].tolist()
    multiples = [name.replace("1/4", "¼").replace("1/2", "½") for name in heatmap.MULTIPLES]
    environment.globals["multiples"] = multiples
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.filters["counted"] = counted
    environment.filters["said"] = compare.in_words
    environment.filters["num"] = lambda value, form: minus(runs.number(value, form))
    return environment


def _run_view(
    store: FeatureStore,
    run: runs.Run,
    test: pl.DataFrame,
    truth: evaluate.Truth | None,
    rounding: float | None,
) -> dict[str, Any]:
    """Gather what the page says of one Run."""
    record, target, labels = run.record, run.record.about(), test["label"].to_numpy()
    return {
        "target": target,
        "unit": "points" if target.high - target.low == 100 else "",
        "point": (" " if target.high - target.low == 100 else "") + plots.point_name(target),
        "name": plots.axis_name(target),
        "value": f".{runs.digits(target)}f",
        "fine": f".{runs.digits(target) + 1}f",
        "verdict": verdict.sentence(run, test),
        "cautions": verdict.cautions(store, run, test),
        "truth": _against_truth(test, truth, target),
        "ceiling": evaluate.ceiling(store, record.cohort, labels, target, rounding),
        "figures": plots.figures(test, target),
        "few": test.height < plots.FEW,
        "trend": evaluate.finite(evaluate.trend(*evaluate.arrays(test))),
        "groups": _groups(test, target),
        "by_label": verdict.BY_LABEL,
        "n_whole": test["std"].null_count(),
        "median_std": test["std"].median(),
        "settling": _settling(store, run, target),
        "intervals": _intervals(run, test, target),
        "training": _training(run),
        "over_time": _over_time(store, run),
        "cohort": store.cohort(record.cohort),
        "splits": store.splits(record.cohort),
        "identity": json.dumps(run.encoder.identity, indent=1, sort_keys=True),
        "command": run.command(),
    }


def test_slides(store: FeatureStore, run: runs.Run) -> pl.DataFrame:
    """Test Predictions with what is known of their Slides, their intervals and who is held."""
    test = run.predictions.filter(split="test")
    bags = run.bags(store).select("slide_id", "scanner", "dated", "low", "high")
    for about in (bags, store.named("queries/page_slides", {"cohort": run.record.cohort})):
        test = test.join(about, on="slide_id", how="left", maintain_order="left")
    test = conformal.add_intervals(test, run.half_widths, run.record.about())
    return test.with_columns(held=conformal.held(run.half_widths))


def _against_truth(
    test: pl.DataFrame, truth: evaluate.Truth | None, target: Target
) -> dict[str, Any] | None:
    """Metrics against the truth, and the R2 that it has itself against labels; None without."""
    if truth is None:
        return None
    both = evaluate.with_truth(test, truth, target)
    ceiling = evaluate.r2(both["label"].to_numpy(), both["truth"].to_numpy())
    found = evaluate.measured(both.with_columns(label="truth"), target)
    return evaluate.finite({"ceiling": ceiling}) | found


def _settling(store: FeatureStore, run: runs.Run, target: Target) -> dict[str, Any]:
    """How many Bags are enough, by bag size, on at most `SETTLING_SLIDES` test Slides."""
    sizes = (*SettleConfig().bag_sizes, run.record.bag_size)
    wanted = SettleConfig(bag_sizes=sizes, max_slides=SETTLING_SLIDES)
    curves = settling.settling(store, run.run_id, wanted)
    rows = settling.summary(curves, target)
    own = rows.row(by_predicate=pl.col("bag_size") == run.record.bag_size, named=True)
    return {
        "rows": rows.rows(named=True),
        "svg": plots.settling(curves, target) if rows["n_sampled"].sum() else None,
        "own": own,
        "reach": own["std"] and evaluate.Z95 * own["std"] / run.config.resamples**0.5,
    }


def _intervals(run: runs.Run, test: pl.DataFrame, target: Target) -> dict[str, Any]:
    """The split-conformal intervals and how many test labels they hold; None without."""
    width, level = run.half_widths, 1 - conformal.ALPHA
    held = width and conformal.coverage(test, width)
    rows = held and _coverage(test, target)
    order = "expected_low", "coverage", "expected_high"
    ends = [held[name] for name in order] if held else []
    off = [runs.lower(more, less, ".1%") for less, more in pairwise(ends)]  # as printed
    return {
        "folded": run.predictions["split"].to_list().count(conformal.OUT_OF_FOLD),
        "none": conformal.why_none(run.predictions, target.kind),
        "level": level,
        "half": width and width.typical,
        "coverage": held,
        "as_expected": held and "under" not in off,
        "held": held and conformal.in_words(held),
        "svg": rows and plots.intervals(rows, "Labels held by the interval", level, ".0%"),
    }


def _coverage(test: pl.DataFrame, target: Target) -> list[dict[str, Any]]:
    """Share of labels held, of all test Slides and of thirds of the prediction's range."""
    digits, groups = runs.coarse(target), {"all test slides": test}
    ends = np.linspace(target.low, target.high, 4)
    third = np.searchsorted(ends[1:-1], test["mean"].to_numpy(), side="right")
    for i, low, high in zip(range(3), ends, ends[1:], strict=False):
        if (part := test.filter(third == i)).height:
            groups[f"predicted {low:.{digits}f}–{high:.{digits}f} (n = {part.height:,})"] = part
    held = ((name, int(part is test), *conformal.share_held(part)) for name, part in groups.items())
    return [dict(zip(("name", "css", "value", "low", "high"), one, strict=False)) for one in held]


def _groups(test: pl.DataFrame, target: Target) -> list[dict[str, Any]]:
    """Tables of errors by group, each with what it is by."""
    first = "class" if target.kind == "binary" else "label range"
    tables = {
        first: evaluate.by_range(test, target),
        "predicted range": evaluate.by_range(test, target, of="mean"),
        "half-year": evaluate.by_half_year(test, target),
    }
    for by in ("scanner", "quality"):
        tables[by] = evaluate.by_group(test, pl.col(by).fill_null("unknown"), target)
    shown = {k: t.rows(named=True) for k, t in tables.items() if t.height > 1 or k == first}
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
    return plots.training(known, run.record.fit["best_step"]) if known else None


def _over_time(store: FeatureStore, run: runs.Run) -> Markup | None:
    """Slides of each split by quarter; None where none is dated."""
    own = pl.col("split") != conformal.OUT_OF_FOLD  # the Run itself learnt from these
    split = run.predictions.filter(own).select("slide_id", used="split")
    dated = run.bags(store).filter(pl.col("dated").is_not_null())
    both = dated.join(split, on="slide_id", how="left")
    days, used = both["dated"].to_list(), both["used"].fill_null("train").to_list()
    return plots.over_time(days, used) if days else None


def _cases(
    store: FeatureStore, run: runs.Run, test: pl.DataFrame, most: int | None, shared: dict[str, Any]
) -> dict[str, Any]:
    """Every test Slide as the page's script reads it, and the pictures of at most `most` of them.

    `group` is worst, best or typical for the `GROUP` Slides with the largest errors, the smallest
    and those about the median; empty for the others.
    """
    error, dated = pl.col("mean") - pl.col("label"), pl.col("dated").cast(pl.String)
    frame = test.with_columns(error=error, dated=dated)
    worst_first = frame.select(pl.arg_sort_by(-pl.col("error").abs(), "slide_id")).to_series()
    n, group = frame.height, np.full(frame.height, "", object)
    for name, first in ("typical", (n - GROUP) // 2), ("best", n - GROUP), ("worst", 0):
        group[worst_first[max(0, first) : max(0, first) + GROUP].to_numpy()] = name
    frame = frame.with_columns(group=pl.Series(group.tolist(), dtype=pl.String))
    attends, target = load_model(run).attends, run.record.about()
    found = heatmap.pictures(store, run, pictured(frame, most), shared, attends)
    history = store.named("queries/label_history", {"cohort": run.record.cohort})
    history = history.filter(pl.col("case_id").is_in(frame["case_id"].implode()))
    labels = history.rows_by_key("case_id").items()
    data = {
        "fields": FIELDS,
        "rows": [[_plain(value) for value in row] for row in frame.select(FIELDS).iter_rows()],
        "pictures": found,
        "history": {case: [[_plain(v) for v in one] for one in said] for case, said in labels},
        "bag": run.record.bag_size,
        "digits": runs.digits(target),
        "middle": (target.low + target.high) / 2 if target.kind == "binary" else None,
        "even": run.config.model == "mean",
    }
    return {"n": len(found), "data": data, "attends": attends}


def pictured(frame: pl.DataFrame, most: int | None) -> pl.DataFrame:
    """The Slides whose pictures the page holds: all of them if `most` is None, or enough.

    Else a third of each group, the worst from the top, the best from below; where a group has
    fewer, the others have its part, from the top.
    """
    if most is None or frame.height <= most:
        return frame
    size = pl.col("error").abs()
    parts = [
        frame.filter(group=name).sort(size, descending=name != "best").head(most // 3)
        for name in ("worst", "typical", "best")
    ]
    every = pl.concat([*parts, frame.sort(size, descending=True)])
    return every.unique("slide_id", keep="first", maintain_order=True).head(most)


def _plain(value: Any) -> Any:
    """A value as JSON has it, numbers to four places."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
