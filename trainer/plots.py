"""Figures of a Run, each a function of a matplotlib `ax`."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from featurestore.types import Target
from trainer import evaluate

# Colours of Okabe and Ito 2008, told apart by colour-blind readers and in grey.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#5a5a5a"
CURVES = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FEW = 300  # Slides that are drawn as points too

_STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.labelsize": 11.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
}


def predicted_vs_truth(
    ax: Axes, labels: np.ndarray, predicted: np.ndarray, target: Target, r2: float | None = None
) -> None:
    """Draw predicted against label as a 2-D histogram; both shape (N,), in the Target's units.

    Cells are 5 hundredths of the Target's range wide, 10 where Slides are few, and centred on
    multiples of that, since people round labels to them. The broken line is identity. Few Slides
    are drawn as points as well.
    """
    size = target.high - target.low
    width = size * (0.05 if len(labels) > FEW else 0.1)
    bins = np.arange(target.low - width / 2, target.high + width, width)
    inside = predicted.clip(bins[0], bins[-1])
    counts, _, _ = np.histogram2d(labels, inside, bins=[bins, bins])
    shown = np.ma.masked_equal(counts.T, 0)
    mesh = ax.pcolormesh(bins, bins, shown, cmap="Blues", vmin=0, vmax=max(4, counts.max() * 1.15))
    bar = ax.figure.colorbar(mesh, ax=ax, fraction=0.046, pad=0.03)
    bar.set_label("Slides per cell")
    bar.locator = mpl.ticker.MaxNLocator(integer=True, nbins=6)
    bar.update_ticks()
    bar.outline.set_visible(False)
    ax.plot(
        [target.low, target.high],
        [target.low, target.high],
        color=GREY,
        linestyle="--",
        linewidth=1.2,
    )
    if len(labels) <= FEW:
        ax.scatter(
            labels, predicted, s=16, color=ORANGE, edgecolor="white", linewidth=0.5, zorder=3
        )
    ax.set(
        xlim=(bins[0], bins[-1]),
        ylim=(bins[0], bins[-1]),
        xlabel=f"Label: {axis_name(target)}",
        ylabel=f"Predicted {axis_name(target)}",
        title=f"n = {len(labels):,} slides"
        + ("" if r2 is None or np.isnan(r2) else f", $R^2$ = {r2:.3f}"),
    )
    ax.set_aspect("equal")


def bland_altman(
    ax: Axes,
    labels: np.ndarray,
    predicted: np.ndarray,
    target: Target,
    limits: Mapping[str, float],
) -> None:
    """Draw difference against mean with bias and 95% limits of agreement (Bland and Altman 1986).

    Args:
        ax: where to draw.
        labels: shape (N,), in the Target's units.
        predicted: shape (N,).
        target: of both.
        limits: bias, loa_low and loa_high with their intervals, the bands; `evaluate.metrics`.
    """
    middle, difference = (labels + predicted) / 2, predicted - labels
    size, alpha = (16, 0.75) if len(labels) <= FEW else (6, 0.3)
    ax.scatter(middle, difference, s=size, color=BLUE, alpha=alpha, linewidth=0)
    ax.axhline(0, color="#b8b8b8", linewidth=0.8, zorder=0)
    lines = (("bias", "Bias", ORANGE, "-"), ("loa_high", "+1.96 SD", GREY, "--"))
    for name, label, colour, style in (*lines, ("loa_low", "−1.96 SD", GREY, "--")):
        value = limits[name]
        if np.isnan(value):
            continue
        ax.axhline(value, color=colour, linestyle=style, linewidth=1.3)
        low, high = limits[f"{name}_low"], limits[f"{name}_high"]
        if not np.isnan(low):
            ax.axhspan(low, high, color=colour, alpha=0.12, linewidth=0, zorder=0)
        ax.annotate(
            f"{label}\n{value:+.1f}".replace("-", "−"),
            (1.01, value),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=9.5,
            color=colour,
        )
    reach = 1.15 * max(
        np.abs(difference).max(),
        np.nan_to_num(np.abs(limits["loa_high_high"])),
        np.nan_to_num(np.abs(limits["loa_low_low"])),
        1e-9,
    )
    ax.set(
        xlim=(target.low, target.high),
        ylim=(-reach, reach),
        xlabel=f"Mean of label and predicted {axis_name(target)}",
        ylabel=f"Predicted − label{'' if target.kind != 'fraction' else ' (percentage points)'}",
        title=f"n = {len(labels):,} slides",
    )


def settling(ax: Axes, curves: pl.DataFrame, target: Target) -> None:
    """Draw how the mean over Bags settles, of `trainer.settling.settling`, one curve a bag size.

    Points are measured from disjoint Bags, lines expected from the spread of single ones. Bag sizes
    that no Slide is larger than have no curve.
    """
    point = (target.high - target.low) / 100
    sampled = curves.filter(pl.col("n_sampled") > 0).partition_by("bag_size", maintain_order=True)
    for curve, colour in zip(sampled, cycle(CURVES), strict=False):
        count, label = curve["resamples"], f"bags of {curve['bag_size'][0]:,}"
        ax.plot(count, evaluate.Z95 * curve["expected"] / point, color=colour, label=label)
        ax.plot(count, evaluate.Z95 * curve["se"] / point, "o", color=colour, markersize=3.5)
    ax.axhline(1, color=GREY, linestyle="--", linewidth=1.2)
    ax.set(
        xlim=(0, curves["resamples"].to_numpy().max() + 1),
        ylim=(0, None),
        xlabel="Resampled bags per slide",
        ylabel=f"95% of means lie within ± ({point_name(target)})",
    )
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    ax.legend()


def settling_figure(curves: pl.DataFrame, target: Target) -> Figure:
    """The figure of `settling`."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.0, 4.2), layout="constrained")
        settling(figure.subplots(), curves, target)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_STYLE["savefig.dpi"])
    return buffer.getvalue()


def point_name(target: Target) -> str:
    """What a hundredth of a Target's range is called."""
    return "points" if target.high - target.low == 100 else "% of the range"


def axis_name(target: Target) -> str:
    """Name of a Target with its unit."""
    percent = target.kind == "fraction" and (target.low, target.high) == (0, 100)
    return target.name.replace("_", " ") + (" (%)" if percent else "")


def figures(frame: pl.DataFrame, target: Target) -> Iterator[tuple[str, Figure]]:
    """Yield the name and the figure of each plot of a Run's test Predictions.

    Where `frame` has no patient_id, intervals take each Slide for a Patient of its own.
    """
    labels, mean = frame["truth"].to_numpy(), frame["mean"].to_numpy()
    patients = frame["patient_id" if "patient_id" in frame.columns else "slide_id"].to_numpy()
    numbers = evaluate.metrics(labels, mean, patients, target)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.0, 4.9), layout="constrained")
        predicted_vs_truth(figure.subplots(), labels, mean, target, numbers["r2"])
        yield "predicted_vs_truth", figure
        figure = Figure(figsize=(6.0, 4.9), layout="constrained")
        bland_altman(figure.subplots(), labels, mean, target, numbers)
        yield "bland_altman", figure


def save_figures(folder: Path, frame: pl.DataFrame, target: Target) -> None:
    """Write the figures of a Run into its folder as PNG."""
    for name, figure in figures(frame, target):
        (folder / f"{name}.png").write_bytes(png(figure))
