"""A void report gives no value, nor a core that cannot be read; what else is void, no change."""

from __future__ import annotations

from itertools import product

import pytest

from ingest.labels.rules import parse

CORE = "Bone marrow core biopsy, 14 mm, adequate. Cellularity 40%. Trilineage maturation."
MARKS = [
    "This report is void.",
    "THIS REPORT IS RETRACTED",
    "REPORT CANCELLED",
    "Status: entered in error",
    "*** VOID ***",
    "This report was issued on the wrong patient and has been withdrawn.",
    "Please disregard this report.",
    "Specimen mix-up: this result is invalid and must not be used.",
    "DO NOT USE - ENTERED IN ERROR",
    "ERRONEOUS REPORT - DO NOT USE",
    "Report status: withdrawn",
    "This case was accessioned in error.",
    "These results belong to another patient and must not be used for clinical care.",
    "Owing to a labelling error the above findings do not pertain to this patient.",
    "The report above was assigned to the wrong patient.",
    "Dieser Befund ist ungültig (Verwechslung des Patienten).",
    "Ce compte rendu est annulé.",
]
OTHERS = [
    "The cytogenetics order was cancelled.",
    "The flow cytometry result is invalid and was withdrawn.",
    "The report on the aspirate of 3 May was retracted.",
    "Iron stain: cancelled.",
    "The previous report is void.",
    "A printed copy of this report is void without a signature.",
    "FISH\nCancelled",
    "Karyotyping was cancelled at the request of the clinician.",
    "This assay is not to be used alone for diagnosis.",
    "Results must not be used for forensic purposes.",
    "This report is invalid unless signed electronically.",
    "This report replaces the preliminary one, which is void.",
    "The requisition was of a different patient and was sent back.",
    "Voided urine was clear.",
    "The blood sample was mislabelled and discarded.",
]


@pytest.mark.parametrize(("mark", "where"), [*product(MARKS, ["above", "below", "behind"])])
def test_a_void_report_has_no_value(mark: str, where: str) -> None:
    text = {"above": f"{mark}\n\n{CORE}", "below": f"{CORE}\n\n{mark}", "behind": f"{CORE} {mark}"}
    if where == "behind" and mark.isupper():
        return  # a mark is a line of its own
    assert parse(text[where]).value is None


@pytest.mark.parametrize(("other", "where"), [*product(OTHERS, ["above", "below"])])
def test_what_else_is_void_changes_nothing(other: str, where: str) -> None:
    assert parse(f"{other}\n\n{CORE}" if where == "above" else f"{CORE}\n\n{other}").value == 40


@pytest.mark.parametrize(
    "mark", ["[DELETED]", "(strike this)", "- cancelled", "; disregard.", ", discarded."]
)
def test_a_figure_with_a_void_mark_is_none(mark: str) -> None:
    assert parse(f"Bone marrow core biopsy: cellularity 40% {mark}").value is None


def test_a_new_figure_behind_the_void_one_holds() -> None:
    text = f"{CORE}\n\nADDENDUM: The above figure is void. The cellularity is 20%."
    assert parse(text).value == 20


UNREAD = [
    "is inadequate",
    "is crushed and cannot be assessed",
    "is not representative",
    "is too small to be relied upon",
    "is non-diagnostic",
    "was excluded",
    "is not taken into account",
]


@pytest.mark.parametrize("said", UNREAD)
def test_a_core_that_cannot_be_read_is_left_out(said: str) -> None:
    sided = f"Bone marrow biopsies. Left: 30% cellular. Right: 80% cellular. The right core {said}."
    assert parse(sided).value == 30
    listed = f"Bone marrow biopsy: two cores, 60% and 10% cellular; the second {said}."
    assert parse(listed).value is None
    both = f"Bone marrow biopsy: two cores, 60% and 10% cellular. The aspirate {said}."
    assert parse(both).value == 35
    third = f"Bone marrow biopsies. Core 1: 60% cellular. Core 2: 10% cellular. Core 3 {said}."
    assert parse(third).value == 35


@pytest.mark.parametrize(
    "text",
    [
        "Bone marrow biopsy: two cores, 40% and 60% cellular, neither representative.",
        "Bone marrow trephine. Core A is 30%, core B 80% cellular. Only core A is representative.",
        "Knochenmark, zwei Stanzen: 60% und 10% zellulär; die zweite ist nicht beurteilbar.",
        "Moelle, deux carottes : 60 % et 10 % de cellularité ; la seconde n'est pas interprétable.",
    ],
)
def test_which_core_cannot_be_read_is_not_guessed(text: str) -> None:
    assert parse(text).outcome == "not read"


def test_a_part_that_is_said_not_to_be_used_has_no_value() -> None:
    for part in ("this part was not used", "that area is disregarded", "it was excluded"):
        text = f"Core biopsy. The outer third is nearly all fat (cellularity 10%); {part}."
        assert parse(text).value is None, part


def test_a_stain_that_cannot_be_read_changes_nothing() -> None:
    text = "Bone marrow biopsies. Left: 30% cellular. Right: 80% cellular. {} not assessable."
    for noun in ("Iron stain", "Fibrosis", "Megakaryocytic dysplasia"):
        assert parse(text.format(noun)).value == 55


@pytest.mark.parametrize(
    "addendum",
    [
        "Addendum: on review, core not evaluable for cellularity.",
        "Addendum: the cellularity refers to the clot, not the core.",
        "Nachtrag: Die Zellularität ist nicht beurteilbar.",
        "Rectificatif : cellularité non évaluable.",
        "Amendment: core non-diagnostic, cellularity cannot be given.",
        "Retracted: sample mix-up.",
    ],
)
@pytest.mark.parametrize("gap", [" ", "\n", "\n\n"])
def test_an_addendum_takes_a_figure_back_in_any_place(addendum: str, gap: str) -> None:
    for v in (5, 40, 90):
        assert parse(f"Core biopsy: cellularity {v}%.{gap}{addendum}").value is None


@pytest.mark.parametrize("short", ["Insufficient", "Inadequate", "Non-diagnostic"])
@pytest.mark.parametrize("of", ["monotypic B cells", "numbers of blasts", "clot", "smears"])
def test_what_is_too_few_of_something_else_takes_no_core_away(short: str, of: str) -> None:
    cores = "Two cores. Left core cellularity 40%, right core 70%."
    assert parse(f"{cores}\n\nFLOW\n{short} {of} (0.2%).").value == 55
    assert parse(f"{cores} {short} marrow in one of them.").value is None
    assert parse(f"{cores} The right core is {short.lower()}.").value == 40


@pytest.mark.parametrize("title", ["Text of 10/02 retained for record", "Original text", "History"])
def test_the_old_text_below_a_withdrawal_gives_nothing(title: str) -> None:
    for said in ("That figure is withdrawn.", "No cellularity can be given."):
        lead = (
            f"AMENDMENT\nBlock A1, on which a cellularity of 75% was reported, is mixed up. {said}"
        )
        old = f'{title}\n"A. Core of 13 mm, 75% cellular, granulocytic hyperplasia."'
        assert parse(f"{lead}\n\nAmended diagnosis\nA. Bone.\n\n{old}").value is None
        new = "\n\nAmended diagnosis\nThe core is 40% cellular."
        assert parse(f"{lead.replace(' No cellularity can be given.', '')}{new}").value in (
            40,
            None,
        )
