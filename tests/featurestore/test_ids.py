"""Ids of a table that the store does not have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from featurestore import strangers


@given(
    cases=st.dictionaries(
        st.tuples(st.sampled_from("ABC"), st.integers(1, 99)), st.integers(0, 3), min_size=1
    )
)
def test_an_id_that_is_alike_is_told_and_none_is_invented(
    cases: dict[tuple[str, int], int],
) -> None:
    known = {f"{letter}-{'0' * zeros}{n}": (letter, n) for (letter, n), zeros in cases.items()}
    assert strangers(known, known).text("cases") == ""
    mine = {f"{letter.lower()}-00 {n}": (letter, n) for letter, n in [*cases, ("D", 1)]}
    found = strangers(mine, known)
    assert found.unknown == list(mine)
    assert {one: known[theirs] for one, theirs in found.likely.items()} == {
        one: case for one, case in mine.items() if case in cases
    }


def test_strangers_are_counted_and_named() -> None:
    text = strangers(["007", "8", "x y", "Z"], ["7", "8", "XY", "9"]).text("cases")
    assert "3 of 4 cases are not in the store: '007', 'x y', 'Z'" in text
    assert "2 of them would be, with zeros, case or blanks changed: '007' is likely '7'" in text
    assert strangers(["a"], ["A", "a "]).likely == {}  # two are alike: neither is likely
    many = strangers([str(n) for n in range(12)], []).text("cases")
    assert many.endswith("'9' and 2 more.")
