"""Lists below "Cellularity", and fields side by side in a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.lists import entry_of, fields_in, is_of_the_list
from ingest.labels.rules import parse


@given(st.integers(0, 100), st.sampled_from([": ", " ... ", " = "]))
def test_an_entry_is_found_at_its_place(value: int, mark: str) -> None:
    for sample in ("core", "right core", "clot section", "smear"):
        line = f"  {sample}{mark.replace(' ... ', ' .... ')}{value} %"
        entry = entry_of(line, "%", "cellularity (%)")
        assert entry is not None
        assert line[entry.at :].startswith(entry.text)
        assert entry.text == f"{value} %"
        assert sample in entry.names
        assert is_of_the_list(line)


@pytest.mark.parametrize("key", ["blasts", "plasma cells", "cd34", "megakaryocytes"])
def test_another_noun_is_no_entry(key: str) -> None:
    for unit, above in (("%", "cellularity (%)"), ("", "cellularity  reduced [x]"), ("", "")):
        assert entry_of(f"  {key}: 40 %", unit, above) is None
    assert not is_of_the_list(f"  {key}: 40 %")


def test_fields_side_by_side_are_parted_and_a_sample_behind_the_value_is_not() -> None:
    assert [one[0] for one in fields_in("Length: 9 mm   Quality: good")] == [
        "Length: 9 mm",
        "Quality: good",
    ]
    assert fields_in("cellularity: 60%   specimen: clot") == []
    assert fields_in("One field: alone") == []


@pytest.mark.parametrize("key", ["Estimated overall percentage", "Percentage", "Overall percent"])
def test_the_percentage_below_a_ticked_box_is_that_of_the_cellularity(key: str) -> None:
    box = "Cellularity   reduced [x]  normal [ ]  increased [ ]"
    for value in (5, 25, 90):
        assert parse(f"Trephine\n{box}\n   {key}: {value}\nBlasts: 4%").value == value
        other = f"Trephine\n{box}\n   Blasts, percentage: {value}"
        assert parse(other).value is None
