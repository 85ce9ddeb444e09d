"""What is said of a Run before its figures, and its page in characters."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.types import Target
from trainer import evaluate, runs, verdict
from trainer.verdict import character_plot

TARGET = Target()


@given(
    st.lists(
        st.tuples(st.integers(0, 20).map(lambda k: k * 5.0), st.floats(-20, 130)),
        min_size=1,
        max_size=80,
    )
)
def test_the_plot_in_characters_counts_every_slide(pairs: list[tuple[float, float]]) -> None:
    labels, mean = (np.array(column) for column in zip(*pairs, strict=True))
    lines = [line.split("|", 1)[1] for line in character_plot(labels, mean, TARGET) if "|" in line]
    assert sum(int(n) for line in lines for n in re.findall(r"\d+", line)) == len(labels)


@given(
    st.floats(-4, 4).map(lambda power: round(10**power, 6)),
    st.integers(0, 99),
)
def test_numbers_of_any_range_are_told_apart(size: float, seed: int) -> None:
    target = Target(name="share", kind="continuous", low=0, high=size)
    labels, mean = np.random.default_rng(seed).uniform(0, size, (2, 30))
    lines = list(character_plot(labels, mean, target))
    up = [line.split("|")[0].strip() for line in lines if "|" in line]
    assert len(set(up)) == len(up)
    across = [float(word) for word in lines[-2].split()]
    assert across == sorted(set(across))
    assert len(across) >= 2
    assert set(across) <= set(map(float, up))
    _, (_, _, form) = runs.scores_of(target)
    assert 0.005 * size == pytest.approx(float(format(0.005 * size, form)), rel=0.3)


@given(st.integers(0, 10_000), st.floats(0.2, 1.2), st.sampled_from([(0, 100), (0, 1), (-3, 7)]))
def test_what_is_never_predicted_is_not_predicted(
    seed: int, shrunk: float, ends: tuple[float, float]
) -> None:
    rng, target = np.random.default_rng(seed), Target(name="t", low=ends[0], high=ends[1])
    size, middle = ends[1] - ends[0], (ends[0] + ends[1]) / 2
    label = rng.uniform(*ends, 60)
    mean = middle + shrunk * (label - middle) + rng.normal(0, size / 50, 60)
    test = pl.DataFrame({"label": label, "mean": mean, "patient_id": range(60)})
    said = verdict.proportional_bias(test, evaluate.measured(test, target), target) or ""
    for word, end in re.findall(r"(?:predicts|or) (above|under) (-?[\d.]+)", said):
        assert (mean <= float(end)).all() if word == "above" else (mean >= float(end)).all()
    for low, high in re.findall(r"interval (-?[\d.]+) to (-?[\d.]+)", said):
        assert not float(low) <= 1 <= float(high.rstrip("."))
