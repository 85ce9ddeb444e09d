"""Sections that stand side by side are read as if each stood alone."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.abreast import unfolded
from ingest.labels.rules import parse

HEADS = [
    ("CORE BIOPSY", "ASPIRATE SMEAR"),
    ("Trephine:", "Clot section:"),
    ("Aspirate", "Bone marrow biopsy"),
    ("STANZE", "AUSSTRICH"),
]
PROPERTIES = ["Length", "Cellularity", "Granulopoiesis", "Megakaryocytes", "Blasts", "Iron"]
VALUES = {"Length": "1.2 cm", "Granulopoiesis": "reduced", "Megakaryocytes": "normal"}


def _column(order: list[str], share: int) -> list[str]:
    values = {"Cellularity": f"{share} %", "Blasts": "2 %", "Iron": "2+"} | VALUES
    return [f"{name:<16}{values[name]}" for name in order]


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("wide", [30, 37, 44])
def test_the_cellularity_of_the_core_s_column_is_read(heads: tuple[str, str], wide: int) -> None:
    lines = zip(_column(PROPERTIES, 30), _column([*PROPERTIES[1:], PROPERTIES[0]], 80), strict=True)
    rows = [f"{left:<{wide}}{right}" for left, right in lines]
    text = "\n".join(["Report 7", "", f"{heads[0]:<{wide}}{heads[1]}", *rows, "", "Normal."])
    core = 30 if heads[0] != "Aspirate" else 80
    assert parse(text).value == core, text


def test_prose_in_two_columns_is_read_by_columns() -> None:
    left = ["The core is 12 mm long and holds", "marrow of 40% cellularity. Blasts", "are few."]
    right = ["Particles of 80% cellularity with", "normal maturation are seen in this", "clot."]
    rows = [f"{one:<40}{other}" for one, other in zip(left, right, strict=True)]
    assert parse("\n".join([f"{'TREPHINE:':<40}CLOT SECTION:", *rows])).value == 40


@pytest.mark.parametrize(
    "text",
    [
        "                CORE      ASPIRATE\nCellularity     30%       80%\nBlasts     2%    3%",
        "CORE      ASPIRATE\n30%       80%\n2%        3%",
        "Core biopsy and aspirate smear\nCellularity 30%. Blasts 2%.",
        "SPECIMEN      CORE\nCellularity   40%\nBlasts        1%",
    ],
)
def test_a_table_and_plain_lines_come_back_as_they_are(text: str) -> None:
    assert unfolded(text) == text


def test_every_word_is_kept_once() -> None:
    for heads, n in itertools.product(HEADS, (2, 3, 6)):
        rows = [f"{f'name{k}  {k} %':<40}other{k}  {k} %" for k in range(n)]
        text = "\n".join([f"{heads[0]:<40}{heads[1]}", *rows, "", "The end of it all."])
        assert sorted(unfolded(text).split()) == sorted(text.split())
        assert unfolded(unfolded(text)) == unfolded(text)


def test_sections_of_fields_stand_side_by_side() -> None:
    for (first, second), core, other in itertools.product(HEADS, (15, 60), (40, 90)):
        left, right = [core, other] if first in ("CORE BIOPSY", "STANZE") else [other, core]
        if first == "Trephine:":
            left, right = core, other
        rows = [
            ("Length: 15 mm", "Quality: good"),
            (f"Cellularity: {left}%", f"Cellularity: {right}%"),
        ]
        rows += [("Fibrosis: none", "Blasts: 3%")]
        text = "\n".join(f"{a:<35}{b}" for a, b in [(first, second), *rows])
        assert parse(text).value == core, text
