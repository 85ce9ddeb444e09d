"""Figures show the numbers they are of."""

from __future__ import annotations

import math
import re
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.types import Target
from trainer import evaluate, page, plots, runs, svg
from trainer.evaluate import trend

TARGET = Target()


def frame_of(n: int) -> pl.DataFrame:
    rng = np.random.default_rng(n)
    truth = rng.integers(0, 21, n) * 5.0
    return pl.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(n)],
            "patient_id": [f"P{i // 2}" for i in range(n)],
            "label": truth,
            "mean": truth + rng.normal(0, 8, n),
        }
    )


def elements(drawn: str, tag: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(drawn).iter() if one.tag == tag]


@pytest.mark.parametrize("n", [1, 30, 199, 200, 1500])
def test_every_slide_is_drawn_once(n: int) -> None:
    frame = frame_of(n)
    drawn = plots.predicted_vs_label(frame["label"].to_numpy(), frame["mean"].to_numpy(), TARGET)
    dots = elements(drawn, "circle")
    titles = [int(str(one.text).split()[0]) for one in elements(drawn, "title")]
    assert len(dots) + sum(titles) == n
    assert bool(dots) == (n < plots.FEW)


def test_calibration_counts_each_case_of_a_tenth_once() -> None:
    frame = pl.DataFrame(
        {
            "case_id": ["A", "A", "A", "B"],
            "patient_id": ["P", "P", "P", "Q"],
            "label": [1.0, 1.0, 1.0, 0.0],
            "mean": [0.61, 0.63, 0.65, 0.67],
        }
    )
    drawn = plots.calibration(frame, Target(name="mds", kind="binary", low=0, high=1))
    (dot,) = elements(drawn, "circle")
    x, y = svg.Chart((0, 1), (0, 1)).at(0.65, 0.5)
    assert (float(dot.get("cx", 0)), float(dot.get("cy", 0))) == pytest.approx((x, y), abs=0.06)
    words = [one.text for one in elements(drawn, "text")]
    assert "Share of positive cases" in words
    assert "2" in words


steps = st.sampled_from([1.0, 2.0, 2.5, 5.0, 10.0, 20.0])


@given(
    labels=steps.flatmap(
        lambda step: st.lists(
            st.integers(0, int(100 / step)).map(lambda k: k * step), min_size=1, max_size=60
        )
    ),
    width=st.sampled_from([1.0, 2.5, 5.0]),
)
def test_no_label_lies_on_the_edge_of_a_cell(labels: list[float], width: float) -> None:
    values = np.array(labels)
    found = plots.edges(values, TARGET, width, plots.span_of(TARGET, values))
    assert np.abs(values[:, None] - found).min() > 1e-6 * width
    assert found[0] < values.min()
    assert values.max() < found[-1]
    counts, _ = np.histogram(values, found)
    assert counts.sum() == len(values)


def test_the_lines_of_agreement_are_those_of_the_metrics() -> None:
    frame = frame_of(40)
    truth, mean, patients = (frame[c].to_numpy() for c in ("label", "mean", "patient_id"))
    limits = evaluate.metrics(truth, mean, patients, TARGET)
    drawn = plots.bland_altman(frame, TARGET)
    words = [one.text for one in elements(drawn, "text")]
    for name in ("bias", "loa_low", "loa_high"):
        assert f"{limits[name]:+.1f}".replace("-", "−") in words
    dots = elements(drawn, "circle")
    assert len(dots) == 40
    height = {float(one.get("cy", "nan")) for one in dots}
    assert max(height) - min(height) > 50
    assert all(svg.TOP <= y <= svg.HEIGHT - svg.BOTTOM for y in height)  # none is cut off


def test_the_proportional_bias_is_the_line_of_differences_on_means() -> None:
    frame = frame_of(60)
    truth, patients = frame["label"].to_numpy(), frame["patient_id"].to_numpy()
    shrunk = 50 + 0.5 * (truth - 50) + np.random.default_rng(0).normal(0, 2, len(truth))
    found = trend(truth, shrunk, patients)
    slope, intercept = np.polyfit((truth + shrunk) / 2, shrunk - truth, 1)
    assert found["slope"] == pytest.approx(slope)
    assert found["intercept"] == pytest.approx(intercept)
    assert found["slope_low"] <= found["slope"] <= found["slope_high"]
    assert math.isnan(trend(np.array([5.0]), np.array([5.0]), np.array(["P"]))["slope"])


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=40),
    st.sampled_from(["fraction", "binary"]),
)
def test_any_slides_have_figures_and_two_are_files_of_a_run(
    pairs: list[tuple[bool, float]], kind: Any
) -> None:
    truth, mean = np.array(pairs, float).T
    names = [f"P{i}" for i in range(len(pairs))]
    frame = pl.DataFrame({"patient_id": names, "case_id": names, "label": truth, "mean": mean})
    target = Target(name="mds", kind=kind, low=0, high=1)
    drawn = plots.figures(frame, target)
    assert len(drawn) == 3
    for one in drawn:
        assert ElementTree.fromstring(one["svg"]).get("aria-label")
        assert "nan" not in one["svg"]
    with tempfile.TemporaryDirectory() as folder:
        plots.save_figures(Path(folder), frame, target)
        files = {
            file.stem: ElementTree.fromstring(file.read_text()) for file in Path(folder).iterdir()
        }
    assert set(files) == {one["name"] for one in drawn[:2]}
    assert {root.tag for root in files.values()} == {"{http://www.w3.org/2000/svg}svg"}


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=2, max_size=40).filter(
        lambda pairs: len({label for label, _ in pairs}) == 2
    )
)
def test_the_area_under_the_roc_curve_is_the_one_that_is_told(
    pairs: list[tuple[bool, int]],
) -> None:
    truth, mean = np.array(pairs, float).T / [[1], [9]]
    target = Target(name="mds", kind="binary", low=0, high=1)
    drawn = ElementTree.fromstring(plots.roc(truth, [("", mean)], target))
    (path,) = [p.get("d", "") for p in drawn.iter("path") if p.get("class") == "line l0"]
    x, y = np.array([p.split() for p in path.removeprefix("M").split("L")], float).T
    x, y = (x - x[0]) / (x[-1] - x[0]), (y - y[0]) / (y[-1] - y[0])
    told = evaluate.metrics(truth, mean, np.arange(len(mean)), target)["auc"]
    assert np.trapezoid(y, x) == pytest.approx(told, abs=2e-3)


@pytest.mark.parametrize(
    ("target", "axis", "point", "digits"),
    [
        (Target(), "cellularity (%)", "points", 1),
        (Target(name="fat_um", kind="continuous", low=0, high=300), "fat um", "% of the range", 1),
        (Target(name="mds", kind="binary", low=0, high=1), "mds", "% of the range", 2),
    ],
)
def test_numbers_have_the_targets_unit(target: Target, axis: str, point: str, digits: int) -> None:
    assert runs.digits(target) == digits
    assert plots.axis_name(target) == axis
    assert plots.point_name(target) == point


@given(st.integers(1, 6), st.integers(0, 999), st.booleans())
def test_all_that_bland_and_altman_draw_lies_between_the_axes(
    n: int, seed: int, one_patient: bool
) -> None:
    rng = np.random.default_rng(seed)
    truth, mean = rng.uniform(0, 100, (2, n))
    patients = np.array(["P" if one_patient else f"P{i}" for i in range(n)])
    frame = pl.DataFrame({"label": truth, "mean": mean, "patient_id": patients})
    drawn = plots.bland_altman(frame, TARGET)
    places = [float(y) for one in re.findall(r'class="line[^>]*d="([^"]*)"', drawn)
              for y in re.findall(r"[ML]\S+ (\S+?)(?=[ML]|$)", one)]  # fmt: skip
    assert places
    for rect in elements(drawn, "rect"):
        top = float(rect.attrib["y"])
        places += [top, top + float(rect.attrib["height"])]
    assert min(places) >= svg.TOP
    assert max(places) <= svg.HEIGHT - svg.BOTTOM


@given(st.integers(0, 150), st.integers(6, 60), st.integers(0, 99))
def test_pictures_are_as_many_as_are_said(n: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(n)],
            "error": rng.normal(0, 9, n),
            "group": rng.choice(["worst", "typical", "best", ""], n),
        },
        schema={"slide_id": pl.String, "error": pl.Float64, "group": pl.String},
    )
    found = page.pictured(frame, most)
    assert found.height == min(n, most)
    assert found["slide_id"].n_unique() == found.height
    assert page.pictured(frame, None).height == n
