"""From one figure to another: the later one holds, and what it is compared with never does."""

from __future__ import annotations

from itertools import permutations

import pytest

from ingest.labels.rules import parse

PAIRS = [*permutations((10, 30, 60, 90), 2)]
EN = "Bone marrow core biopsy: "
CHANGED = [
    EN + "cellularity {verb} from {a}% to {b}%.",
    EN + "cellularity {verb} {a}% to {b}%.",
    EN + "the cellularity, {a}% a year ago, {verb} to {b}%.",
    EN + "from a cellularity of {a}% at diagnosis the marrow {verb} to {b}%.",
    EN + "cellularity of {b}%, up from {a}%.",
    EN + "cellularity is up from {a}% to {b}%.",
]
VERBS = {True: ["rose", "went up", "has risen", "climbed"], False: ["fell", "dropped", "went down"]}
GERMAN = [
    "Knochenmarkstanze: Die Zellularität ist von {a}% auf {b}% {verb}.",
    "Knochenmarkstanze: Zellularität von {a}% auf {b}%.",
]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_of_a_change_the_later_figure_holds(a: int, b: int) -> None:
    for text in CHANGED:
        for verb in VERBS[a < b]:
            assert parse(text.format(a=a, b=b, verb=verb)).value in (b, None), (text, verb)
    for text in GERMAN:
        said = text.format(a=a, b=b, verb="gestiegen" if a < b else "gesunken")
        assert parse(said).value in (b, None), said


@pytest.mark.parametrize(("a", "b"), [(20, 30), (60, 70)])
def test_a_state_with_a_range_is_no_change(a: int, b: int) -> None:
    for state in ("reduced", "increased", "decreased"):
        assert parse(f"{EN}cellularity {state}, {a}% to {b}%.").value == (a + b) / 2


@pytest.mark.parametrize("v", [10, 40, 90])
def test_what_a_cellularity_is_compared_with_is_not_its_value(v: int) -> None:
    for text in (
        "cellularity is higher than in B20-33, where it was {}%.",
        "cellularity is 10 percentage points lower than in S19-4, when it was {}%.",
        "compared with S18-2 (cellularity {}%) there is no change.",
        "cellularity exceeds {}%, the norm.",
        "cellularity is above {}%, the expected value for age.",
    ):
        assert parse(EN + text.format(v)).value is None, text


def test_a_number_of_thousands_is_no_share() -> None:
    for n in range(1, 10):
        for mark in ",.":
            assert parse(f"{EN}cellularity {n}{mark}000%.").outcome == "not read"


@pytest.mark.parametrize("v", [10, 40, 90])
def test_what_is_excluded_in_brackets_has_its_own_figure(v: int) -> None:
    for what in ("lymphoid aggregates", "subcortical spaces"):
        said = f"Cellularity {v}% (excluding the {what}, which occupy 20%)."
        assert parse(f"{EN}{said}").value == v
