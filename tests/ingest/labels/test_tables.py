"""Rows of a table: the cells on the cellularity, with the names of their row and column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.rules import parse
from ingest.labels.tables import Columns, cells_in

WORD = st.text("abcdeé1%", min_size=1, max_size=8)


def rows(*lines: str) -> list[list[tuple[str, str]] | None]:
    columns, found = Columns(), []
    for line in lines:
        taken = columns.take(line, "|", below="x", above="", listing=False)
        said = taken and [(one.names, one.text.strip()) for one in taken]
        found.append(taken if taken is None else said or [])
    return found


@given(st.lists(WORD, min_size=1, max_size=6), st.sampled_from("|\t,;"))
def test_cells_are_found_at_their_places(words: list[str], mark: str) -> None:
    line = mark.join(words)
    found = cells_in(line, mark)
    assert [text for _, text in found] == words
    assert all(line[at : at + len(text)] == text for at, text in found)


def test_a_row_goes_by_the_name_of_its_column_or_its_own() -> None:
    head, *below = rows("site | cellularity", "r pic | 40%", "l pic | 60%")
    assert head == []
    assert below == [[("r pic | cellularity : ", "40%")], [("l pic | cellularity : ", "60%")]]
    _, (cell, *none) = rows("item | value | unit", "cellularity | 40 | %")
    assert cell[1] == "40 %"
    assert none == []


def test_a_row_on_something_else_gives_no_cell() -> None:
    assert rows("item | value", "blasts | 3%")[1] is None


def test_other_columns_name_norms_and_earlier_times() -> None:
    _, found = rows("item | current | previous | normal", "cellularity | 40% | 70% | 30-50%")
    assert found is not None
    assert [names for names, _ in found] == [
        "cellularity (current) : ",
        "cellularity (previous) : ",
        "cellularity (expected) : ",
    ]


LEFT = {
    "|": "Cellularity | {} | 30-60%",
    "tab": "Cellularity\t{}\t30-60%",
    ";": "Cellularity;{};30-60%",
}
HEADS = {
    "|": "Test | Result | Reference",
    "tab": "Test\tResult\tReference",
    ";": "Test;Result;Reference",
}


@pytest.mark.parametrize("mark", LEFT)
def test_an_empty_cell_stays_empty(mark: str) -> None:
    for value, want in (("", None), ("-", None), ("45%", 45)):
        row = LEFT[mark].format(value)
        assert parse(f"Core biopsy\n{HEADS[mark]}\n{row}\n").value == want, row
    sep = {"|": " | ", "tab": "\t", ";": ";"}[mark]
    for cells, want in ((("", "60%"), None), (("40%", "60%"), 40), (("40%", ""), 40)):
        head, row = sep.join(("", "Core", "Clot")), sep.join(("Cellularity", *cells))
        assert parse(f"Bone marrow\n{head}\n{row}\n").value == want, row


def test_an_aligned_table_keeps_its_columns() -> None:
    head = "              Trephine   Clot     Normal"
    for cells, want in (
        ("              40%        60%      30-50%", 40),
        ("                         60%      30-50%", None),
        ("              40%                 30-50%", 40),
        ("                                  30-50%", None),
    ):
        row = "Cellularity" + cells[len("Cellularity") :]
        assert parse(f"Bone marrow\n{head}\n{row}\n").value == want, row
