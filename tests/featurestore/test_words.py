"""Counts of bytes and seconds, written for a person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.words import duration, grouped, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7_620, "2 h 7 min")],
)
def test_a_duration_has_at_most_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(n=st.integers(0, 10**15))
def test_a_size_is_within_a_twentieth_of_its_unit(n: int) -> None:
    number, unit = size(n).split()
    factor = {"bytes": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert abs(float(number) * factor - n) <= 0.0501 * factor


def test_a_name_with_a_newline_is_told_on_one_line() -> None:
    assert list(grouped("failed", {"a\nb": "is\r\nbad"})) == ["failed: a b: is bad"]
