"""A Run: its id, its folder, its row, and what it says at the end."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl

from featurestore import layout
from featurestore.errors import ConfigError, TrainError
from featurestore.store import FeatureStore
from featurestore.types import content_id
from trainer import conformal

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
        std = f"{record['config']['resamples']} resampled bags"
        if whole.height:
            std += f"; none for {whole.height} of {record['n_test']} test slides"
            std += ", whose bag is the whole slide"
        lines = [
            f"run {self.run_id}: {record['model']} on bags of {record['bag_size']}, "
            f"{record['n_train']} slides to train, {record['n_validation']} to validate, "
            f"{record['n_test']} to test, {record['seconds']:.1f} s",
            f"test R2     {interval(record, 'r2', '.3f')}",
            f"test MAE    {interval(record, 'mae', '.2f')}",
            f"ridge floor R2 {number(self.metric('r2', 'ridge_test'), '.3f')}, "
            f"MAE {number(self.metric('mae', 'ridge_test'), '.2f')} (mean embeddings)",
            f"std         over {std}",
            *self._said_of_intervals(),
            *(f"note        {note}" for note in record["notes"]),
            f"figures     {', '.join(str(self.path / name) for name in FIGURES)}",
            f"next        trephine report {self.run_id}",
        ]
        return "\n".join(lines)

    def _said_of_intervals(self) -> Iterator[str]:
        width = conformal.calibrated_half_width(self.predictions)
        if width is None:
            return  # a note says why
        test = self.predictions.filter(pl.col("split") == "test")
        found = conformal.coverage(test, width, self.record["n_calibration"])
        yield (
            f"interval    ± {width:.1f}, meant to hold {1 - conformal.ALPHA:.0%} of labels; holds "
            f"{found['coverage']:.1%} of test "
            f"(95% interval {found['coverage_low']:.1%} to {found['coverage_high']:.1%})"
        )


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


@contextmanager
def workplace(store: FeatureStore, key: str) -> Iterator[Path]:
    """Lend the folder of the unfinished Run `key`, with what a broken-off training left there.

    While another process has it, the folder is a new one. A training that is refused leaves none.
    """
    work = layout.tmp_dir(store.root) / f"run-{key}"
    lock = _lock(work)
    if lock is None:
        work = work.with_name(f"{work.name}-{uuid.uuid4().hex[:8]}")
        lock = _lock(work)
    try:
        yield work
    except TrainError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _lock(work: Path) -> int | None:
    """Make and lock a folder; a lock dies with its process. None where another has it."""
    work.mkdir(parents=True, exist_ok=True)
    lock = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if work.stat().st_ino == os.fstat(lock).st_ino:  # not published in between
            return lock
    except OSError:
        pass
    os.close(lock)
    return None


@contextmanager
def tensorboard(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write lines of metrics.jsonl as TensorBoard scalars.

    Raises:
        ConfigError: the package tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs the package tensorboard, which is not installed. "
            "Install it with: pip install tensorboard"
        ) from error

    def show(line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            writer.add_scalar(name, value, line["step"])
        writer.flush()

    with SummaryWriter(str(folder)) as writer:
        yield show


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
