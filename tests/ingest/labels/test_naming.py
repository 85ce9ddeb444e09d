"""What the names of rows and columns say of their cells, over generated tables."""

from __future__ import annotations

import itertools

import pytest
from builders.report_tables import table
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.naming import is_of_another, names_core, sums_up
from ingest.labels.rules import parse

MARKS = st.sampled_from(["|", "\t", " "])
CORES = st.sampled_from(
    [("Core A", "Core B"), ("Left", "Right"), ("Core 1", "Core 2"), ("Left core", "Right core")]
)
WHOLES = st.sampled_from(
    ["Weighted mean", "Overall", "Agreed", "Final", "Reported", "Mean", "Average", "Result"]
)
KEYS = st.sampled_from(["Cellularity", "Marrow cellularity", "Cellularity (%)"])
# what stands in the column of the cellularity, as words
WORDS = st.sampled_from(["increased", "hypercellular", "normal", "reduced for age"])
NOUNS = [
    "Age (years)",
    "Age",
    "Patient age",
    "Length",
    "Length mm",
    "Core length, mm",
    "Blasts %",
    "Megakaryocytes per mm2",
    "Megakaryocytes / mm2",
    "Lymphoid nodules",
    "Plasma cells",
    "Platelets",
]


@given(MARKS, CORES, WHOLES, KEYS, st.booleans(), st.sampled_from(["Length", "Blasts"]))
def test_what_sums_up_the_cores_holds_in_its_column_or_row(
    mark: str, cores: tuple[str, str], whole: str, key: str, rows: bool, other: str
) -> None:
    for low, high in ((20, 50), (35, 80)):
        mean = (2 * low + high) // 3
        figures = [f"{low}%", f"{high}%", f"{mean}%"]
        if rows:
            names = [*cores, whole]
            lines = [["Site", key], *map(list, zip(names, figures, strict=True))]
        else:
            lines = [["Item", *cores, whole], [other, "8", "9", "-"], [key, *figures]]
        text = f"Bone marrow biopsy\n{table(lines, mark)}\n"
        assert parse(text).value == mean, text
        lines = [line[:-1] for line in lines] if not rows else lines[:-1]
        text = f"Bone marrow biopsy\n{table(lines, mark)}\n"
        assert parse(text).value == (low + high) / 2, text


@given(MARKS, CORES, KEYS, st.sampled_from(["Clot", "Previous", "Expected", "Aspirate"]))
def test_a_column_of_something_else_is_no_mean(
    mark: str, cores: tuple[str, str], key: str, other: str
) -> None:
    lines = [["Item", *cores, other], [key, "20%", "60%", "30%"], ["Blasts", "1%", "2%", "1%"]]
    text = f"Bone marrow biopsy\n{table(lines, mark)}\n"
    assert parse(text).value == 40, text


@pytest.mark.parametrize("noun", NOUNS)
@given(MARKS, st.sampled_from(["Reader", "Observer", "Core", "Core biopsy", "Finding", "Site"]),
       st.sampled_from(["1", "Result", "Level 1", "Left"]), WORDS,
       st.sampled_from(["Cellularity", "Cellularity for age", "Core cellularity"]),
       st.sampled_from([18, 30, 72]), st.booleans())  # fmt: skip
def test_a_row_with_a_noun_of_its_own_is_never_the_cellularity(
    noun: str, mark: str, of: str, row: str, words: str, key: str, value: int, signed: bool
) -> None:
    cell = f"{value}%" if signed else str(value)
    rows = [[of, key, "Iron"], [row, words, "2"], [noun, cell, ""]]
    text = f"Core biopsy\n{table(rows, mark)}\n"
    assert parse(text).value is None, text


@given(MARKS, st.sampled_from(["Reader", "Observer"]), st.sampled_from(["Age", "Length mm"]))
def test_the_names_of_readers_are_no_nouns(mark: str, of: str, noun: str) -> None:
    for first, second in itertools.permutations(("Mehta", "Kowalski", "Dr. Brandt", "2"), 2):
        rows = [[of, "Core cellularity"], [first, "40%"], [second, "40%"], [noun, "62"]]
        text = f"Core biopsy\n{table(rows, mark)}\n"
        assert parse(text).value in (40, None), text
    rows = [[of, "Core cellularity"], ["Mehta", "40%"], ["Kowalski", "40%"], [noun, "62"]]
    assert parse(f"Core biopsy\n{table(rows, mark)}\n").value == 40


def test_names_are_known_by_their_words() -> None:
    assert all(map(names_core, ("core a", "left", "b", "(2)", "trephine, right")))
    assert not any(map(names_core, ("overall core", "clot", "mean", "reported")))
    assert sums_up("agreed", "40%", ["30%", "45-50%"])
    assert not sums_up("agreed", "60%", ["30%", "45-50%"])
    assert not sums_up("difference", "40%", ["30%", "50%"])
    assert is_of_another("age (years)", "60", "core", [])
    assert not is_of_another("biopsy, 14 mm", "60%", "core", [])
    assert not is_of_another("20-40 years", "60%", "age group", [])


@given(MARKS, st.sampled_from(["Core", "Trephine", "Biopsy"]), st.permutations(NOUNS[4:]))
def test_no_row_of_a_table_of_nouns_below_the_core_is_the_cellularity(
    mark: str, of: str, nouns: list[str]
) -> None:
    rows = [[of, "Cellularity"], *([noun, f"{20 + n}%"] for n, noun in enumerate(nouns[:2]))]
    text = f"Core biopsy\n{table(rows, mark)}\n"
    assert parse(text).value is None, text
