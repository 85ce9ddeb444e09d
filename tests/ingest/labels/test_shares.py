"""Shares of cells and fat, and figures without a sign."""

from __future__ import annotations

import pytest
from builders.sentences import sentence
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.rules import parse
from ingest.labels.shares import shares_in, stands_alone, unsigned_in

PERCENT = st.integers(5, 95)


def cells_and_fat(text: str) -> list[tuple[float, float | None]]:
    found = sentence(text)
    figures = found.figures
    return [
        (figures[at].low, figures[fat].low if fat >= 0 else None)
        for at, _, fat in shares_in(found.classes, found)
    ]


@given(cells=PERCENT)
def test_a_ratio_gives_the_share_of_the_cells_in_any_order(cells: int) -> None:
    fat = 100 - cells
    for text in (
        f"cell to fat ratio {cells}:{fat}",
        f"a {cells}:{fat} ratio of cells to fat",
        f"fat to cell ratio {fat}:{cells}",
    ):
        assert cells_and_fat(text) == [(cells, fat)], text


@given(cells=PERCENT)
def test_beside_fat_the_other_share_is_the_cells(cells: int) -> None:
    fat = 100 - cells
    for text in (
        f"{cells}% hematopoietic cells, {fat}% fat",
        f"{fat}% fat, leaving {cells}% cells",
    ):
        assert cells_and_fat(text) == [(cells, None)], text
    assert cells_and_fat(f"{fat}% fat") == []
    assert cells_and_fat(f"{cells}% cells. {fat}% fat") == []  # two sentences


@given(value=st.integers(5, 99))
def test_a_figure_without_a_sign_needs_a_key_that_says_percent_or_ends_the_line(value: int) -> None:
    def unsigned(text: str) -> list[float]:
        found = sentence(text)
        keys = {at for at, letter in enumerate(found.classes) if letter == "C"}
        return [found.figures[at].low for at in unsigned_in(found, found.classes, keys)]

    for key in ("cellularity (%): {}", "cellularity: {}", "cellularity | {} | %"):
        assert unsigned(key.format(value)) == [value]
    assert unsigned(f"blasts: {value}") == []
    assert unsigned(f"cellularity: {value} blasts") == []


@pytest.mark.parametrize("grade", [1, 2, 3, 4])
def test_a_grade_is_no_percentage(grade: int) -> None:
    found = sentence(f"cellularity: {grade}")
    assert list(unsigned_in(found, found.classes, {0})) == []


def test_a_sentence_of_a_figure_alone_goes_on_from_the_one_before() -> None:
    for text, alone in (
        ("left: 30%", True),
        ("it is 40% on the left.", True),
        ("30% blasts", False),
    ):
        found = sentence(text)
        (at,) = found.figures
        assert stands_alone(found, found.classes, at) == alone, text


NOUNS = ["lymphoma", "blasts", "plasma cells", "tumor", "myeloma", "erythroid cells", "infiltrate"]
SHARES_OF = [
    "{noun}, % of marrow cellularity",
    "{noun}, percent of cellularity",
    "{noun} (% of total cellularity)",
    "{noun} (% cellularity)",
    "{noun} as percent of marrow cellularity",
    "percentage of the cellularity that is {noun}",
    "percent of cellularity",
    "cellularity made up by {noun}",
    "cellularity occupied by {noun}",
    "share of {noun} in the cellularity",
    "percent involvement of cellularity",
    "involved cellularity",
]


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize("key", SHARES_OF)
def test_a_key_that_takes_a_share_of_the_cellularity_is_not_its(key: str, noun: str) -> None:
    said = key.format(noun=noun)
    for text in (f"{said}: 30", f"{said}: 30%", f"{said.capitalize()} - 30%"):
        assert parse(f"CORE BIOPSY\n15 mm, adequate.\n{text}\n").value is None, text
        both = f"CORE BIOPSY\nCellularity: 60%\n{text}\n"
        assert parse(both).value in (60, None), both


@pytest.mark.parametrize("key", ["percent cellularity", "cellularity, percent", "% cellularity"])
def test_a_key_that_is_the_cellularity_in_percent_is_its(key: str) -> None:
    for text in (f"{key}: 30", f"Marrow {key}: 30", f"{key.capitalize()}: 30%"):
        assert parse(f"CORE BIOPSY\n{text}\n").value == 30, text


@pytest.mark.parametrize(
    "said",
    [
        "lymphoma 70%, residual haematopoiesis {}%, fat {}%",
        "Lymphom 70 %, Resthämatopoese {} %, Fett {} %",
        "carcinoma 70%, remaining hematopoietic cells {}%, fat {}%",
    ],
)
def test_what_is_left_of_the_cells_beside_another_is_not_all_of_them(said: str) -> None:
    for v in (5, 12, 20):
        assert parse(f"Core biopsy: {said.format(v, 30 - v)}.").value is None
    assert parse("Core biopsy: fat 65%, cells 30%, stroma 5%.").value == 30
