"""Counts of bytes and seconds, and how far work is, written for a person."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.words import duration, grouped, pace, progress, size


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress("slides") as show:
        show(1, 8, "")
        show(4, 8, "31 tiles, 1 failed")
        show(8, 8, "62 tiles, 1 failed")
    said = terminal.getvalue()
    assert "8/8" in said
    assert "slides/s" in said
    assert "62 tiles, 1 failed" in said


@pytest.mark.parametrize(
    ("done", "seconds", "said"),
    [
        (25, 2, "12.5 slides/s"),
        (1, 1, "1 slides/s"),
        (2, 7, "3.5 s/slide"),
        (2, 250, "2 min 5 s/slide"),
        (0, 3, ""),
    ],
)
def test_a_pace_is_in_what_reads_better(done: int, seconds: float, said: str) -> None:
    assert pace(done, seconds, "slides") == said


def test_where_nobody_looks_a_line_a_minute_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr("featurestore.words.TELL_EVERY_S", 0.0)
    with progress("slides") as show:
        show(4, 8, "31 tiles")
    assert sys.stderr.getvalue() == "4 of 8 slides, 31 tiles, 0 s left\n"  # type: ignore[attr-defined]


def test_what_is_quick_says_nothing_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("slides") as show:
        for done in range(100):
            show(done, 100, "quick")
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
