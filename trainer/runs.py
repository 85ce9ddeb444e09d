"""A Run: its id, its folder, its row, and what it says at the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from featurestore import layout
from featurestore.store import FeatureStore
from featurestore.types import content_id

CALIBRATES = 20  # calibration Slides, from which on there are intervals
FIGURES = ("predicted_vs_truth.png", "bland_altman.png")

PREDICTION_COLUMNS: dict[str, Any] = {
    "slide_id": pl.String,
    "slide_key": pl.String,
    "split": pl.String,
    "truth": pl.Float64,
    "mean": pl.Float64,
    "std": pl.Float64,
    "n_tiles": pl.Int64,
    "n_resamples": pl.Int64,
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, finished: its record (run.json), its folder and its Predictions."""

    record: Mapping[str, Any]
    path: Path
    predictions: pl.DataFrame

    @property
    def run_id(self) -> str:
        """Sorts by time."""
        return str(self.record["run_id"])

    def metric(self, name: str, split: str = "test") -> float | None:
        """One metric; None where it is undefined."""
        return self.record["metrics"].get(split, {}).get(name)

    def summary(self) -> str:
        """What to read at the end of a training, and what to type next."""
        record = self.record
        whole = self.predictions.filter((pl.col("split") == "test") & pl.col("std").is_null())
        lines = [
            f"run {self.run_id}: {record['model']} on bags of {record['bag_size']}, "
            f"{record['n_train']} slides to train, {record['n_validation']} to validate, "
            f"{record['n_test']} to test, {record['seconds']:.1f} s",
            f"test R2     {interval(record, 'r2', '.3f')}",
            f"test MAE    {interval(record, 'mae', '.2f')}",
            f"ridge floor R2 {number(self.metric('r2', 'ridge_test'), '.3f')}, "
            f"MAE {number(self.metric('mae', 'ridge_test'), '.2f')} (mean embeddings)",
            f"std         over {record['config']['resamples']} resampled bags; none for "
            f"{whole.height} of {record['n_test']} test slides, whose bag is the whole slide",
            *(f"note        {note}" for note in record["notes"]),
            f"figures     {', '.join(str(self.path / name) for name in FIGURES)}",
            f"next        trephine report {self.run_id}",
        ]
        return "\n".join(lines)


def number(value: float | None, form: str) -> str:
    """Format a number, or a dash where there is none."""
    return "–" if value is None else format(value, form)


def interval(record: Mapping[str, Any], name: str, form: str, split: str = "test") -> str:
    """Format a metric with its bootstrap interval."""
    values = record["metrics"].get(split, {})
    low, high = (number(values.get(f"{name}_{side}"), form) for side in ("low", "high"))
    return f"{number(values.get(name), form)} (95% interval {low} to {high}, by patient)"


def new_run_id(config: Mapping[str, Any], started: datetime) -> str:
    """UTC time to the second, then six hex digits over configuration and full time."""
    return f"{started:%Y%m%d-%H%M%S}-{content_id([config, started.isoformat()], 6)}"


@cache
def code_version() -> str:
    """Version of the package and, in a checkout, its commit; `+` marks uncommitted changes."""
    try:
        version = metadata.version("trephine")
    except metadata.PackageNotFoundError:
        version = "0"
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*", "--"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
        tracked = (
            subprocess.run(
                ["git", "-C", str(here), "ls-files", "--error-unmatch", "__init__.py"],
                capture_output=True,
                timeout=10,
                check=False,
            ).returncode
            == 0
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} ({answer})" if answer and tracked else version


def write_record(folder: Path, record: Mapping[str, Any], predictions: pl.DataFrame) -> None:
    """Write run.json and predictions.parquet as the catalog folds them in."""
    (folder / "run.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n")
    frame = predictions.select(
        pl.col(name).cast(dtype) for name, dtype in PREDICTION_COLUMNS.items()
    )
    frame.write_parquet(folder / "predictions.parquet")


def folder_of(store: FeatureStore, run_id: str) -> Path:
    """Folder of a finished Run."""
    return layout.runs_dir(store.root) / run_id


def load(store: FeatureStore, run_id: str) -> Run:
    """Load a finished Run; `latest` is the newest.

    Raises:
        RunNotFound: the store has no such Run.
    """
    record = store.run(run_id)
    path = folder_of(store, record["run_id"])
    return Run(record=record, path=path, predictions=store.predictions(record["run_id"]))
