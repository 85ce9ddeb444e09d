"""What a key adds owns no figure: scales, scores, asides."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.figures import find_figures
from ingest.labels.rules import parse
from ingest.labels.tokens import encode

VALUES = (5, 35, 90)


@pytest.mark.parametrize("score", ["3/5", "9/10", "2"])
def test_the_share_behind_a_score_is_the_figure(score: str) -> None:
    for v, said in itertools.product(VALUES, ("({}%)", "(= {} %)")):
        share = said.format(v)
        assert parse(f"Core biopsy\nCellularity: {score} {share}\nBlasts: 1").value == v
        assert parse(f"Core biopsy\nBlasts: {score} {share}").value is None
        assert parse(f"Core biopsy. Cellularity increased due to Ki-67 ({v}%).").value is None


def test_what_a_figure_consists_of_has_its_own() -> None:
    for part, v in itertools.product(("lymphoma", "blasts", "plasma cells"), VALUES):
        text = f"Core biopsy: cellularity 60%, of which {part} is {v}%."
        assert parse(text).value == 60, text


def test_a_scale_in_a_key_is_a_sign() -> None:
    text = "cellularity (0-100%): 45"
    assert encode(text, find_figures(text)).classes == "C(q):N"


def test_a_spread_between_the_mean_and_its_figure_is_an_aside() -> None:
    for mean, low, high in ((25, 5, 75), (40, 10, 80), (70, 20, 90)):
        for spread in (
            f"which varies (range {low}-{high}%)",
            f"which is uneven (from {low} to {high}%)",
            f"patchy as it is ({low}-{high}%)",
            f"with variation from {low} to {high}%",
        ):
            said = f"The average cellularity of this core, {spread}, is {mean}%."
            assert parse(f"Core biopsy. {said}").value == mean, said
        assert parse(f"Core. Average cellularity (range {low}-{high}%) is {mean}%.").value == mean
