"""What a comparison, an exclusion, a verdict or one core of two says holds in its own clause."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

VALUES = (10, 35, 60, 85)
SIDES = (("left", "right"), ("right", "left"))


def value_of(text: str) -> float | None:
    return parse(text).value


@pytest.mark.parametrize(
    "frame",
    [
        "Trephine: the marrow is less cellular than before, at {v}%.",
        "Trephine: the core is more cellular than described: we estimate {v}%.",
        "Trephine: I think the biopsy is less cellular than that, on the order of {v}%.",
        "CORE BIOPSY: The trephine by contrast shows a cellularity of {v}%.",
        "Trephine: away from the cortex the overall cellularity is estimated at {v}%.",
        "Trephine: excluding the outer third, the cellularity is {v}%.",
        "Trephine: I would put the cellularity at {v}% which is therefore where it should be.",
        "Trephine: the cellularity this time, judged by two of us, was {v}%.",
        "Core biopsy: there is regional variation in cellularity and the estimate is {v}%.",
        "Core biopsy: cellularity is judged on the deeper spaces; there it averages {v}%.",
        "Core biopsy: Cellularity (if possible, give percentage): {v}",
        "A 14 mm core with focal hemorrhage demonstrates a cellularity of {v}%.",
        "Trephine within normal limits for this seventy year old woman, cellularity {v}%.",
        "In comparison with the diagnostic marrow, which was 95% cellular, the current biopsy is"
        " {v}% cellular.",
        "Knochenmarkstanze: Der Zellgehalt ist mit {v} % bezogen auf das Alter leicht gesteigert.",
        "Biopsie médullaire. La moelle est riche, avec {v} % de cellules hématopoïétiques.",
        "Anamnese: unklare Thrombopenie\n\nDas Trepanat zeigt einen Zellgehalt von {v} %.",
        "Core biopsy\nCellularity: {v}%          Expected for age: 45%",
    ],
)
def test_the_finding_is_read_beside_what_its_sentence_adds(frame: str) -> None:
    for v in VALUES:
        assert value_of(frame.format(v=v)) == v, frame


@pytest.mark.parametrize(
    "frame",
    [
        "Trephine: less cellular than the prior biopsy, which measured {v}%; no estimate is given.",
        "Residents were asked to guess the cellularity, and their guesses went from 5% to {v}%.",
        "According to the accompanying report, the marrow was considered {v}% cellular.",
        "Core biopsy: apart from a focus {v}% cellular, the core is lost.",
        "Core biopsy: the normal cellularity for age is {v}%.",
    ],
)
def test_what_is_of_another_time_or_person_is_no_finding(frame: str) -> None:
    for v in VALUES:
        assert value_of(frame.format(v=v)) is None, frame


def test_a_figure_for_one_core_as_a_whole_leaves_the_other_core_its_own() -> None:
    for (one, other), a, b in itertools.product(SIDES, VALUES, VALUES):
        text = (
            f"Bilateral biopsies. The {one} core shows a cellularity of {a}%. The {other} core is"
            f" partly replaced by tumor; as a whole this core is {b}% cellular."
        )
        assert value_of(text) == (a + b) / 2, text


def test_most_of_the_marrow_is_a_part_of_it() -> None:
    for a, b in itertools.product(VALUES, VALUES):
        text = f"CORE: Most of the biopsy is {a}% cellular. Taken together about {b}%."
        assert value_of(text) in (b, None), text
