"""A report is cut into sentences and cells that know their material."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from ingest.labels.figures import fold
from ingest.labels.rules import parse
from ingest.labels.segments import segments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CORE BIOPSY\nIt is cellular.\n\nNONSENSE\nIt is cellular.", ["core", "unknown"]),
        ("Core: it is cellular. Clot: it is cellular.", ["core", "clot"]),
        ("Core: good.\nBlasts: 3%\nCellularity: 40%", ["core"]),
        ("A. Bone marrow, aspirate;\nB. Bone marrow, core\n\nB. It is cellular.", ["core"]),
        ("A. Bone marrow, aspirate;\nB. Bone marrow, core\n\nC. It is cellular.", ["unknown"]),
        (
            "BMA: 8% cellular || BMBx: 4% cellular || Zx: 2% cellular",
            ["aspirate", "core", "unknown"],
        ),
        ("Site | Cellularity\nR PIC | 40%", ["general"]),
        ("Core\tCellularity\t70\t%", ["core"]),
    ],
)
def test_nothing_is_inherited_over_a_heading_that_is_not_known(
    text: str, expected: list[str]
) -> None:
    found = [it for it in segments(text, fold(text)) if "cellul" in it.text]
    assert [it.material for it in found] == expected


def test_a_sentence_knows_its_place() -> None:
    text = "CORE: Good.  The marrow is\ncellular, approx. 40%. Blasts few."
    (found,) = [it for it in segments(text, fold(text)) if "cellul" in it.text]
    assert text[found.start : found.end].strip() == "The marrow is\ncellular, approx. 40%."


MARKS = """{}|[{}]|<< {} >>|--- {} ---|*** {} ***|== {} ==|**{}**|_{}_|# {}|II. {}|3.2 {}|3.2. {}
B. {}|B) {}|(B) {}|- {}|{}:|• {}:|> {}|+ {}|{} --|{}:-|2: {}|2/3 {}|§2 {}|Section 2 {}
{} (200 cells)|{} findings"""
OTHERS = """Aspirate smears|Clot section|Touch preparation|Cell block|Flow cytometry
Clinical history|Previous biopsy (2019)|Lymph node biopsy|Knochenmarkausstrich|Myélogramme"""
CORES = "Core biopsy|Trephine|Mikroskopischer Befund|Bone marrow histology|BM biopsy"
FINDINGS = [
    "Cellularity is 35%. Blasts 2%.",
    "Cellularity: 35%\nBlasts: 2%",
    "Hypercellular (35%).",
]


def names(text: str) -> list[str]:
    return text.replace("\n", "|").split("|")


@pytest.mark.parametrize("mark", names(MARKS))
@pytest.mark.parametrize("case", [str, str.upper])
def test_a_heading_is_one_however_it_is_marked(mark: str, case: Callable[[str], str]) -> None:
    for finding in FINDINGS:
        for heading in names(OTHERS):
            above = case(mark.format(heading))
            text = f"BONE MARROW CORE BIOPSY\nHypercellular.\n\n{above}\n{finding}\n\nFISH\nNone."
            assert parse(text).value is None, text
        for heading in names(CORES):
            above = case(mark.format(heading))
            text = f"Core biopsy, smears.\n\nASPIRATE SMEARS\nBlasts 2%.\n\n{above}\n{finding}"
            assert parse(text).value == 35, text


JOINS = [
    "{}: {}",
    "{} - {}",
    "{}. {}",
    "{}\t{}",
    "| {} | {} |",
    "{} (B): {}",
    "**{}:** {}",
    "1. {}: {}",
]
INLINE = """Aspirate smears|Clot section|Touch preparation|Previous biopsy (2019)|Particles
Lymph node biopsy"""


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("said", [*FINDINGS[:1], "Cellularity 35%", "35% cellular"])
def test_what_a_line_begins_with_is_what_it_is_on(join: str, said: str) -> None:
    for other in names(INLINE):
        text = f"CORE BIOPSY: Hypercellular.\n{join.format(other, said)}\nIron: present."
        assert parse(text).value is None, text
    for core in names(CORES)[:2]:
        text = f"Core, smears.\nAspirate: Blasts 2%.\n{join.format(core, said)}\nFlow: B cells 1%."
        assert parse(text).value == 35, text


@pytest.mark.parametrize("mark", ["*", "-", "•", "+"])
def test_each_item_of_a_list_is_its_own(mark: str) -> None:
    items = [
        "length 20 mm",
        "estimated cellularity {}%",
        "small clusters of blasts",
        "reticulin MF-1",
    ]
    for v, n in itertools.product((5, 40, 90), range(4)):
        turned = [*items[n:], *items[:n]]
        text = "Biopsy:\n" + "\n".join(f"   {mark} {item.format(v)}" for item in turned)
        assert parse(text).value == v, text
