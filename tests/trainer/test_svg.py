"""Drawings: text stays text, and what is drawn stays inside."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import svg


def elements(drawn: str, tag: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(drawn).iter() if one.tag == tag]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_text_in_a_drawing_stays_text(text: str) -> None:
    chart = svg.Chart((0, 1), (0, 1))
    chart.text(1, 2, text, "tick")
    chart.rect((0, 1), (0, 1), "c0", said=text)
    drawn = ElementTree.fromstring(chart.svg(text))
    assert drawn.get("aria-label") == svg.minus(text)
    assert [one.text or "" for one in drawn.iter("text")] == [svg.minus(text)]


@pytest.mark.parametrize(
    ("given_", "shown"),
    [("-8.6", "−8.6"), ("(-1 to +2)", "(−1 to +2)"), ("2020-12-07", "2020-12-07"),
     ("dinov2-small", "dinov2-small"), ("60-80", "60-80"), ("e -.5", "e −.5")],
)  # fmt: skip
def test_a_minus_is_a_minus_and_a_hyphen_a_hyphen(given_: str, shown: str) -> None:
    assert svg.minus(given_) == shown


@given(low=st.floats(-1e6, 1e6), size=st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, size: float) -> None:
    found = svg.ticks((low, low + size))
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * size <= value <= low + size + 1e-6 * size for value in found)


@given(st.text("ab ,0", max_size=200), st.integers(0, 400))
def test_the_name_of_an_axis_stays_in_the_figure(name: str, left: int) -> None:
    chart = svg.Chart((0, 1), (0, 1), left=left)
    chart.axes(name, "")
    texts = [one for one in elements(chart.svg(""), "text") if one.get("class") == "name middle"]
    middle, half = float(texts[0].attrib["x"]), svg.LETTER * len(texts[0].text or "") / 2
    assert middle - half >= -0.1
    assert middle + half <= svg.WIDTH + 0.1
