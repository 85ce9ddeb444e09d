"""What a figure is said to be, and of when."""

from __future__ import annotations

import pytest
from builders.sentences import segment, sentence

from ingest.labels.roles import role_of


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
