"""What a line beside a table says of its cells, over generated tables."""

from __future__ import annotations

import itertools

import pytest
from builders.report_tables import table
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.captions import captioned, named_days
from ingest.labels.rules import parse

MARKS = st.sampled_from(["|", "\t", " "])
PRESENT = ["Present specimen: {}.", "This biopsy is of {}", "Current core: {}"]
OF_ALL = ["Figures are cellularity.", "All values give the marrow cellularity (%)"]


@given(MARKS, st.sampled_from(PRESENT), st.sampled_from(["Cellularity", "Cell.", "Cellularity, %"]))
def test_the_day_that_is_said_to_be_the_present_holds(mark: str, line: str, key: str) -> None:
    days = ["Day 7", "Day 14", "Day 28"]
    for n, gone in itertools.product(range(3), (False, True)):
        cells = [f"{value}%" for value in (90, 5, 40)]
        want = None if gone else (90, 5, 40)[n]
        cells[n] = "pending" if gone else cells[n]
        rows = [["", *days], [key, *cells], ["Blasts", "0%", "1%", "2%"]]
        text = f"Trephine biopsies\n{table(rows, mark)}\n{line.format(days[n].lower())}\n"
        assert parse(text).value == want, text
        assert parse(f"Trephine biopsies\n{table(rows, mark)}\n").value is None, text


@given(MARKS, st.sampled_from(PRESENT), st.sampled_from(["Cellularity", "Cellularity (%)"]))
def test_the_row_of_the_present_day_holds_and_no_other(mark: str, line: str, key: str) -> None:
    for n, value in itertools.product(range(3), ("15%", "pending", "-")):
        cells = ["90%", "5%", "60%"]
        cells[n] = value
        rows = [[f"Day {7 * k}", cell, "2%"] for k, cell in enumerate(cells)]
        said = table([["Time", key, "Blasts"], *rows], mark)
        text = f"Trephine biopsies\n{said}\n{line.format(f'day {7 * n}')}\n"
        assert parse(text).value == (15 if value == "15%" else None), text


@given(MARKS, st.sampled_from(["Day", "Week", "Month"]), st.sampled_from(["this", "current"]))
def test_the_days_of_a_row_name_its_columns(mark: str, unit: str, now: str) -> None:
    for value in ("90%", "5%", ""):
        days = [unit, "0", "14", f"28 ({now} specimen)"]
        rows = [days, ["Core cellularity", "70%", "10%", value], ["Blasts", "1%", "2%", "3%"]]
        want = int(value[:-1]) if value else None
        assert parse(f"{table(rows, mark)}\n").value == want, rows


@given(MARKS, st.sampled_from(OF_ALL), st.booleans())
def test_a_table_below_a_title_or_above_one_is_of_cellularities(
    mark: str, line: str, above: bool
) -> None:
    for left, right in ((30, 50), (5, 85)):
        rows = [
            ["Side", "Core", "Clot"],
            ["Left", f"{left}%", "20%"],
            ["Right", f"{right}%", "20%"],
        ]
        said = table(rows, mark)
        text = f"Cellularity (%)\n{said}\n" if above else f"{said}\n{line}\n"
        assert parse(text).value == (left + right) / 2, text
        other = text.replace("ellularity", "lasts")
        assert parse(other).value is None, other
        assert parse(text.replace("Core", "Smear")).value is None, text


@pytest.mark.parametrize("text", ["Day 28: 40% cellular.", "This biopsy is of day 28.", ""])
def test_a_text_without_a_table_stays_as_it_is(text: str) -> None:
    assert captioned(text) == text


def test_days_are_numbers_below_a_unit_of_time() -> None:
    assert named_days(["day", "0", "14"]) == ["day", "day 0", "day 14"]
    assert not named_days(["age", "0", "14"])
    assert not named_days(["day", "40%", "60%"])
