"""Every figure of a text is found in its place, whatever its format."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.labels.figures import find_figures, fold
from ingest.labels.rules import parse

KNOWN: list[tuple[str, list[tuple[float, float, str | None]]]] = [
    ("4O%", [(40, 40, None)]),
    ("l0-2O%", [(10, 20, None)]),
    ("C e l l u l a r i t y   2 0 %", [(20, 20, None)]),
    ("35$", [(35, 35, None)]),
    ("4050%", [(40, 50, None)]),
    ("not more than 10%", [(0, 10, "<")]),
    ("not less than 10%", [(10, 100, ">")]),
    ("at least 90%", [(90, 100, ">")]),
    ("85% or more", [(85, 100, ">")]),
    ("between 30% and 50%", [(30, 50, None)]),
    ("20% up to 80%", [(20, 80, None)]),
    ("25 +/- 5%", [(20, 30, "~")]),
    ("70 -80 %", [(70, 80, None)]),
    ("40-\n50%", [(40, 50, None)]),
    ("80% -> 45%", [(80, 80, None), (45, 45, None)]),
    ("fifty-five per cent", [(55, 55, None)]),
    ("one hundred percent", [(100, 100, None)]),
    ("three quarters", [(75, 75, None)]),
    ("7,5 %", [(7.5, 7.5, None)]),
    ("in the region of 70%", [(70, 70, "~")]),
]


@pytest.mark.parametrize(("text", "expected"), KNOWN)
def test_a_figure_is_read_with_its_interval(
    text: str, expected: list[tuple[float, float, str | None]]
) -> None:
    found = find_figures(fold(text))
    assert [(it.low, it.high, it.qualifier) for it in found] == expected


ONES = """one two three four five six seven eight nine
ein zwei drei vier fünf sechs sieben acht neun
un deux trois quatre cinq six sept huit neuf""".splitlines()
TENS = """twenty thirty forty fifty sixty eighty
zwanzig dreißig vierzig fünfzig sechzig achtzig
vingt trente quarante cinquante soixante quatre-vingt""".splitlines()


def test_every_number_in_words_of_each_language_reads_back() -> None:
    for lower, upper, join in zip(ONES, TENS, ["{1}-{0}", "{0}und{1}", "{1}-{0}"], strict=True):
        ones, tens = lower.split(), upper.split()
        for (one, small), (ten, large) in itertools.product(
            enumerate(ones, 1), zip((20, 30, 40, 50, 60, 80), tens, strict=True)
        ):
            for sign in (" percent", " Prozent", " pour cent", " %"):
                text = f"in words {join.format(small, large)} to {large}{sign}"
                (found,) = find_figures(fold(text))
                assert (found.low, found.high) == (ten, ten + one), text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("soixante et onze pour cent", 71),
        ("quatre-vingt-dix-sept pour cent", 97),
        ("siebzehn Prozent", 17),
        ("ein Drittel der Markräume", 33.333),
        ("deux tiers des espaces", 66.667),
        ("die Hälfte", 50),
    ],
)
def test_numbers_and_parts_in_german_and_french(text: str, value: float) -> None:
    (found,) = find_figures(fold(text))
    assert found.signed
    assert found.low == found.high == pytest.approx(value)


def test_codes_and_figures_over_100_are_none() -> None:
    assert not find_figures(fold("CD34, 130%, twenty cells, 1234 events, the third reader"))


@given(text=st.text(max_size=60) | st.text(alphabet="0123456789%-., oOlI<>~", max_size=40))
@settings(max_examples=300, deadline=None)
def test_folding_keeps_every_place_and_figures_lie_in_the_text(text: str) -> None:
    folded = fold(text)
    assert len(folded) == len(text)
    end = 0
    for figure in find_figures(folded):
        assert 0 <= figure.start < figure.end <= len(text)
        assert figure.start >= end - 32  # a bound word may reach back
        assert 0 <= figure.low <= figure.value <= figure.high <= 100
        end = figure.end


# each way to write 40, and 40 to 50, percent
ONE = """{a}%|{a} %|%{a}|% {a}|{a},0 %|{a}.0%|{a} percent|{a} per cent|{a} per-cent|{a} pct|{a} p.c.
({a})%|[{a}]%|{a}/100|{a} of 100|{a} out of 100|about {a}%|approx. {a}%|appr. {a}%|±{a}%|+/- {a} %
~{a}%|~ {a} %|ca. {a}%|{a} o/o""".replace("\n", "|")
TWO = """{a}-{b}%|{a} - {b} %|{a}% - {b}%|{a}~{b}%|{a} ~ {b} %|{a}%~{b}%|{a}∼{b}%|{a}–{b}%|{a}…{b} %
{a} to {b}%|{a} to about {b}%|{a} to approximately {b}%|{a}-to-{b}%|{a} thru {b}%|%{a}-{b}
% {a} - {b}|%{a}-%{b}|between {a} and {b}%|{a}% up to {b}%|{a}-{b} p.c.""".replace("\n", "|")
SAID = [
    "Core biopsy:\nLength 15 mm.\nCellularity: {}\nMegakaryocytes: normal",
    "Core biopsy: The marrow cellularity is {}. Megakaryocytes are normal.",
    "CORE BIOPSY\nCellularity            {}\nMegakaryocytes         normal",
]


@pytest.mark.parametrize("said", SAID)
def test_a_percentage_reads_back_however_it_is_written(said: str) -> None:
    for a in (5, 12, 40, 85):
        for form in ONE.split("|"):
            assert parse(said.format(form.format(a=a))).value == a, form
        for form in TWO.split("|"):
            text = said.format(form.format(a=a, b=a + 10))
            assert parse(text).value == a + 5, text


@pytest.mark.parametrize("said", ["Blasts {} of the cells.", "M:E {}.", "Grade {}."])
def test_no_form_of_a_number_takes_it_from_its_noun(said: str) -> None:
    for form in [*ONE.split("|"), *TWO.split("|")]:
        text = "Core biopsy: Normocellular marrow. " + said.format(form.format(a=20, b=30))
        assert parse(text).value is None, text


def test_a_number_with_its_word_in_brackets_is_one_figure() -> None:
    for word, value in (("ten", 10), ("sixty", 60), ("fünf", 5), ("quarante", 40)):
        for gap in ("", " "):
            (figure,) = find_figures(fold(f"cellularity {value}{gap}({word}) %, low"))
            assert (figure.low, figure.high, figure.signed) == (value, value, True)
    assert not find_figures(fold("cellularity 10 (see text) %, low"))[0].signed


def test_a_sign_below_its_number_is_its_own() -> None:
    for value in (5, 45, 100):
        below = f"Core biopsy\nCellularity:\n{value}\n%\nBlasts:\n3\n%\n"
        assert parse(below).value == value
        assert parse(below.replace("Cellularity", "Lymphocytes")).value is None
