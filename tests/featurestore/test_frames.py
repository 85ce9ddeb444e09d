"""Rows as a person sees them: in the width of a terminal, and safe in a spreadsheet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.frames import Rows, listed, rendered, table

TEXTS_PLAIN = st.characters(min_codepoint=33, max_codepoint=126)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
CELLS: dict[str, Callable[[int], Any]] = {
    "text": lambda n: st.lists(st.none() | TEXTS, min_size=n, max_size=n),
    "number": lambda n: st.lists(st.none() | st.floats(), min_size=n, max_size=n),
}


@settings(max_examples=25, deadline=None)
@given(data=st.data(), width=st.integers(20, 200))
def test_a_table_is_never_wider_than_the_terminal(data: st.DataObject, width: int) -> None:
    n = data.draw(st.integers(0, 4))
    kinds = data.draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=12))
    frame = pl.DataFrame(
        {
            f"{kind}_{i}": pl.Series(
                data.draw(CELLS[kind](n)), dtype=pl.String if kind == "text" else pl.Float64
            )
            for i, kind in enumerate(kinds)
        }
    )
    text, notes = table(frame, width)
    ascii_lines = [
        line
        for line in text.splitlines()
        if all(ord(c) < 0x300 or c in "│┌┐└┘─═╞╡…·" for c in line)
    ]
    assert all(len(line) <= width for line in ascii_lines)
    assert notes[0].startswith(f"{n} row")
    for name in frame.columns:
        assert name in text or any(name in note for note in notes) or width < 40, name


def test_no_cell_of_a_csv_runs_in_a_spreadsheet() -> None:
    frame = pl.DataFrame({"id": ["=1+1", "@x", "-2", "a=b"], "n": [-1, 0, 1, 2]})
    lines = str(rendered(Rows(frame), "csv")[0]).splitlines()
    assert lines == ["id,n", "'=1+1,-1", "'@x,0", "'-2,1", "a=b,2"]


@given(
    names=st.lists(st.text("abc_", min_size=1, max_size=9), min_size=1, max_size=9, unique=True),
    values=st.lists(st.text(TEXTS_PLAIN, max_size=300), min_size=9, max_size=9),
    width=st.integers(20, 120),
)
def test_a_single_row_is_shown_whole_within_the_terminal(
    names: list[str], values: list[str], width: int
) -> None:
    frame = pl.DataFrame({name: [value] for name, value in zip(names, values, strict=False)})
    most = max(map(len, names)) + 2
    lines = listed(frame, width).splitlines()
    assert all(len(line) <= width for line in lines)
    found: dict[str, str] = {}
    for line in lines:
        name = line[:most].strip() or next(reversed(found))  # what goes on has no name
        found[name] = found.get(name, "") + line[most:]
    assert found == {name: frame[name][0] for name in names}
    text = table(pl.DataFrame({f"column_{i}": [i] for i in range(30)}), 80)[0]
    assert text.splitlines()[7].split() == ["column_7", "7"]


def test_a_long_table_shows_both_ends_on_a_terminal_alone() -> None:
    frame = pl.DataFrame({"i": range(100)})
    text, notes = table(frame, 80)
    assert (len(text.splitlines()), notes) == (45, ["100 rows, 40 shown"])
    assert len(table(frame)[0].splitlines()) == 104
