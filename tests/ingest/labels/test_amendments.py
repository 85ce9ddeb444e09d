"""What an addendum puts in the place of a figure: its own, and no other reader's or sample's."""

from __future__ import annotations

from itertools import product

import pytest

from ingest.labels.rules import parse

VALUES = (5, 20, 60, 85)
REPORT = "Bone marrow core biopsy: cellularity 40%."
THEIRS = [
    "ADDENDUM (outside consultation, University Hospital): The marrow is {}% cellular.",
    "ADDENDUM - EXPERT OPINION\nThe trephine has a cellularity of {}%.",
    "ADDENDUM, REFERENCE CENTRE: cellularity {}%.",
]
PERHAPS = [
    "ADDENDUM: Slides went to Dr. Miller for consultation, whose report reads: cellularity {}%.",
    "ADDENDUM: A second biopsy was taken on 12 May; it shows a cellularity of {}%.",
    "ADDENDUM: The repeat trephine of 12 May is {}% cellular.",
    "ADDENDUM: A new core received today is {}% cellular.",
    "NACHTRAG: Eine weitere Stanze zeigt eine Zellularität von {}%.",
]
OURS = [
    "ADDENDUM: On deeper levels the cellularity is {}%.",
    "ADDENDUM: After consultation the cellularity is revised to {}%.",
    "CORRECTED REPORT: cellularity {}%.",
    "ERRATUM: for 40 read {}.",
    "ERRATUM: The cellularity was mistyped. The percentage should read {}.",
    "SUPPLEMENT: The cellularity above is of another patient. The percentage should read {}%.",
]


@pytest.mark.parametrize(("addendum", "v"), [*product(THEIRS, VALUES)])
def test_another_reader_in_an_addendum_replaces_no_figure(addendum: str, v: int) -> None:
    assert parse(f"{REPORT}\n\n{addendum.format(v)}").value == 40


@pytest.mark.parametrize(("addendum", "v"), [*product(PERHAPS, VALUES)])
def test_what_may_be_another_sample_or_reader_is_left_open(addendum: str, v: int) -> None:
    assert parse(f"{REPORT}\n\n{addendum.format(v)}").outcome == "not read"
    assert parse(f"{REPORT}\n\n{addendum.format(40)}").value in (40, None)


@pytest.mark.parametrize(("addendum", "v"), [*product(OURS, VALUES)])
def test_the_reports_own_correction_replaces_the_figure(addendum: str, v: int) -> None:
    assert parse(f"{REPORT}\n\n{addendum.format(v)}").value == v


@pytest.mark.parametrize(
    "aside", ["Block 3 was recut.", "See figure 2.", "Read by 2 pathologists.", "Grade 3 of 4."]
)
def test_a_number_in_an_addendum_is_no_correction(aside: str) -> None:
    assert parse(f"{REPORT}\n\nADDENDUM: {aside}").value in (40, None)
