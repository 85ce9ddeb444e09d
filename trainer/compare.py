"""Several Runs beside each other: what differs, and paired differences by Patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup

from featurestore import FeatureStore
from featurestore.types import Target
from trainer import evaluate, plots, runs, verdict
from trainer.paired import Paired
from trainer.svg import minus

DRAWN = 6  # Runs in one figure, at most: there are so many colours


def view(
    store: FeatureStore, loaded: Sequence[runs.Run], tests: Sequence[pl.DataFrame]
) -> dict[str, Any]:
    """Gather what the page says of several Runs together; the first is what others are held to.

    Differences are of the test Slides that all have, where their labels are the same.
    """
    names = dict(store.ask("select encoder_id, name from encoders").iter_rows())
    settings = [_settings(run, names) for run in loaded]
    differ = [k for k in settings[0] if len({str(one[k]) for one in settings}) > 1]
    both = tests[0].select("slide_id", "patient_id", "truth")
    for i, test in enumerate(tests):
        both = both.join(
            test.select("slide_id", "truth", pl.col("mean").alias(f"mean_{i}")),
            on=["slide_id", "truth"],
            maintain_order="left",
        )
    labels = both["truth"].to_numpy()
    means = [both[f"mean_{i}"].to_numpy() for i in range(len(loaded))]
    short = [_name(one, differ, run) for one, run in zip(settings, loaded, strict=True)]
    figures: list[dict[str, Any]] = []
    target = loaded[0].record.about()
    fine = f".{plots.digits(target) + 1}f"
    pooled = _pooled(tests, target) if differ == ["fold"] else None
    if pooled:
        figures += pooled["figures"]
    if len(labels) > 1:
        paired = Paired(labels, [mean[None] for mean in means], both["patient_id"].to_numpy())
        for score, title, form in (
            ("r2", "R²", "+.3f"),
            ("mae", "mean absolute error", f"+{fine}"),
        ):
            rows = [
                {"name": short[i], "css": i % 6, **vars(paired.difference(i, 0)[score])}
                for i in range(1, len(loaded))
            ]
            rows = [row for row in rows if row["value"] is not None]
            if rows:
                drawn = plots.intervals(rows, f"Difference of {title} to {short[0]}", 0, form)
                figures.append({"title": f"Difference of {title}", "svg": Markup(drawn)})
        drawn = plots.both(labels, list(zip(short, means, strict=True))[:DRAWN], target)
        figures.append({"title": "Predictions against label", "svg": Markup(drawn)})
    return {
        "differ": [
            {"name": k.replace("_", " "), "values": [one[k] for one in settings]} for k in differ
        ],
        "short": short,
        "pooled": pooled,
        "n": len(labels),
        "patients": both["patient_id"].n_unique(),
        "figures": figures,
        "table": _over_seeds(loaded, settings, differ),
    }


def _pooled(tests: Sequence[pl.DataFrame], target: Target) -> dict[str, Any]:
    """The folds of one cross-validation as one: every Slide has one Prediction."""
    columns = ("truth", "mean", "patient_id")
    labels, mean, patients = (
        pl.concat(tests, how="diagonal_relaxed")[c].to_numpy() for c in columns
    )
    numbers = evaluate.metrics(labels, mean, patients, target)
    drawn = {
        "Predicted against label": plots.predicted_vs_truth(labels, mean, target),
        "Difference against mean": plots.bland_altman(labels, mean, target, numbers),
    }
    return {
        "n": len(labels),
        "patients": len(set(patients)),
        "score": verdict.score(numbers, target),
        "figures": [{"title": k, "svg": Markup(svg)} for k, svg in drawn.items()],
    }


def _settings(run: runs.Run, names: dict[str, str]) -> dict[str, Any]:
    """What decided a Run, its Encoder by name."""
    record = run.record
    own = {k: getattr(run.config, k) for k in vars(run.config) if k not in ("encoder_id", "device")}
    about = {"encoder": names.get(record.encoder_id, record.encoder_id), "tiling": record.tiling_id}
    return {"cohort": record.cohort} | about | own | {"code": record.code_version}


def _name(settings: dict[str, Any], differ: Sequence[str], run: runs.Run) -> str:
    """The shortest that tells a Run: what differs, where that is little."""
    said = [
        str(settings[k])
        if k in ("encoder", "model", "cohort")
        else f"{k.replace('_', ' ')} {settings[k]}"
        for k in differ
        if k not in ("code",)
    ]
    return ", ".join(said) if said and len(said) <= 3 else run.run_id


def _over_seeds(
    loaded: Sequence[runs.Run], settings: Sequence[dict[str, Any]], differ: Sequence[str]
) -> dict[str, Any] | None:
    """Table 1: mean and spread over seeds of what else differs; None where no seeds repeat."""
    fine = f".{plots.digits(loaded[0].record.about()) + 1}f"
    factors = [k for k in differ if k not in ("seed", "code")]
    cells: dict[tuple[str, ...], list[runs.Run]] = {}
    for run, one in zip(loaded, settings, strict=True):
        cells.setdefault(tuple(str(one[k]) for k in factors), []).append(run)
    if len(cells) < 2 or all(len(same) < 2 for same in cells.values()):
        return None
    rows = []
    for values, same in cells.items():
        numbers = []
        for name, form in (("r2", ".3f"), ("mae", fine)):
            found = [v for run in same if (v := run.metric(name)) is not None]
            spread = f" ± {np.std(found, ddof=1):{form}}" if len(found) > 1 else ""
            mean = runs.number(float(np.mean(found)) if found else None, form)
            numbers.append(minus(mean + spread))
        rows.append([*values, str(len(same)), *numbers])
    return {"head": [k.replace("_", " ") for k in factors] + ["seeds", "R²", "MAE"], "rows": rows}
