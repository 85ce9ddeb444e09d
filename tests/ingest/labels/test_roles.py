"""What a figure is said to be, and of when."""

from __future__ import annotations

import pytest
from builders.sentences import segment, sentence
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.roles import role_of
from ingest.labels.rules import parse


def roles(text: str) -> list[tuple[str, str, bool]]:
    of = segment(text)
    found = sentence(of.text)
    return [role_of(found.classes, at, found, of) for at in sorted(found.figures)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Cellularity 40%.", [("finding", "")]),
        ("Cellularity 40% (expected 50-60%).", [("finding", ""), ("norm", "")]),
        ("Cellularity is normal for age 30-50%.", [("norm", "")]),
        ("Severe disease requires a cellularity under 25%.", [("criterion", "")]),
        ("The previous biopsy was 70% cellular.", [("finding", "b")]),
        ("The outside cellularity was 70%.", [("finding", "r")]),
        ("In your block we read a cellularity of 40%.", [("finding", "")]),
        ("Now 50% cellular.", [("finding", "n")]),
        ("Cellularity 70% (was 95%).", [("finding", ""), ("finding", "b")]),
    ],
)
def test_a_figure_is_a_finding_of_its_time_a_norm_or_a_criterion(
    text: str, expected: list[tuple[str, str]]
) -> None:
    assert [(role, mark) for role, mark, _ in roles(text)] == expected


def test_a_word_of_correction_amends_what_follows_it() -> None:
    assert [amends for *_, amends in roles("The cellularity is corrected to 60%.")] == [True]
    assert [amends for *_, amends in roles("The cellularity is estimated at 60%.")] == [False]


FIGURES = st.integers(4, 19).map(lambda n: 5 * n)
BESIDE = {
    "By the {} Camitta criteria severe disease needs a cellularity below {v}%.": (
        "modified", "revised", "corrected", "usual",
    ),
    "{} nennt eine Zellularität von {v} %.": ("Ihr Befund", "Ihr Bericht", "Ihr Schreiben"),
    "Marrow in {}, our 01/BM/077: {v}% cellular.": ("2001", "1998", "2019"),
    "The {} reported cellularity ({v}%) is withdrawn.": ("previously", "originally", "initially"),
}  # fmt: skip


@given(FIGURES, st.sampled_from([(f, word) for f, words in BESIDE.items() for word in words]))
def test_a_rule_a_letter_a_year_and_what_is_withdrawn_give_no_value(
    v: int, said: tuple[str, str]
) -> None:
    assert parse(f"Trephine biopsy, 14 mm. {said[0].format(said[1], v=v)}").value is None


@given(FIGURES, FIGURES, FIGURES, st.sampled_from(["yrs", "years", "yr"]))
def test_an_overall_three_cores_and_a_norm_in_fractions(a: int, b: int, c: int, unit: str) -> None:
    cores = f"Cellularity of the trephines. Core A: {a}%. Core B: {b}%. Core C: {c}%."
    assert parse(cores).value == pytest.approx((a + b + c) / 3, abs=0.01)
    both = f"Right biopsy: {a}% cellular. Left biopsy: {b}% cellular. "
    assert parse(f"{both}Allowing for depth, overall about {c}%, within limits.").value == c
    core = "Core: hematopoietic tissue fills 3/5 of the medullary cavities, normal at"
    assert parse(f"{core} {c} {unit} being less than half.").value == 60
    share = "Trephine: hematopoietic cells make up between one-third and one-half of the marrow."
    assert parse(share).value == pytest.approx(41.67, abs=0.01)
