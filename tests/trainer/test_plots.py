"""Figures show the numbers they are of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure

from featurestore.types import Target
from trainer import evaluate, plots
from trainer.runs import FIGURES

TARGET = Target()


def frame_of(n: int) -> pl.DataFrame:
    rng = np.random.default_rng(n)
    truth = rng.integers(0, 21, n) * 5.0
    return pl.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(n)],
            "patient_id": [f"P{i // 2}" for i in range(n)],
            "truth": truth,
            "mean": truth + rng.normal(0, 8, n),
        }
    )


@pytest.mark.parametrize("n", [1, 30, 400])
def test_every_slide_is_counted_once_in_the_cells(n: int) -> None:
    frame = frame_of(n)
    ax = Figure().subplots()
    plots.predicted_vs_truth(ax, frame["truth"].to_numpy(), frame["mean"].to_numpy(), TARGET, 0.5)
    (mesh,) = [item for item in ax.collections if hasattr(item, "get_coordinates")]
    assert np.ma.filled(mesh.get_array(), 0).sum() == n
    assert ax.get_title() == f"n = {n} slides, $R^2$ = 0.500"


def test_the_lines_of_agreement_are_those_of_the_metrics() -> None:
    frame = frame_of(40)
    truth, mean = frame["truth"].to_numpy(), frame["mean"].to_numpy()
    limits = evaluate.metrics(truth, mean, frame["patient_id"].to_numpy(), TARGET)
    ax = Figure().subplots()
    plots.bland_altman(ax, truth, mean, TARGET, limits)
    heights = {float(np.asarray(line.get_ydata())[0]) for line in ax.lines}
    assert {limits["bias"], limits["loa_low"], limits["loa_high"]} <= heights
    offsets = np.asarray(ax.collections[0].get_offsets())
    assert np.allclose(offsets[:, 1], mean - truth)
    assert np.abs(offsets[:, 1]).max() < ax.get_ylim()[1]  # none is cut off


def test_one_slide_has_figures_too_and_they_are_the_files_of_a_run(tmp_path: Path) -> None:
    plots.save_figures(tmp_path, frame_of(1), TARGET)
    assert {file.name for file in tmp_path.iterdir()} == set(FIGURES)
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "axis", "point"),
    [
        (Target(), "cellularity (%)", "points"),
        (Target(name="fat_um", kind="continuous", low=0, high=300), "fat um", "% of the range"),
    ],
)
def test_axes_have_the_targets_unit(target: Target, axis: str, point: str) -> None:
    assert plots.axis_name(target) == axis
    assert plots.point_name(target) == point
