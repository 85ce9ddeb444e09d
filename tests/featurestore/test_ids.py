"""Ids of a table that the store does not have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import strangers
from featurestore.errors import ConfigError
from featurestore.ids import meant, one_of


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
    assert "2 of them would be, but for case, blanks, zeros or a word: '007' is likely '7'" in text
    assert strangers(["a"], ["A", "a "]).likely == {}  # two are alike: neither is likely
    many = strangers([str(n) for n in range(12)], []).text("cases")
    assert many.endswith("'9' and 2 more.")


ids = st.text(alphabet="ab-", min_size=1, max_size=4)


@given(known=st.dictionaries(ids, ids, min_size=1, max_size=6), word=ids | st.just(""))
def test_a_word_means_an_id_else_a_name_else_the_beginning_of_one_alone(
    known: dict[str, str], word: str
) -> None:
    begins = [k for k, v in known.items() if word and (k.startswith(word) or v.startswith(word))]
    named = [one for one, name in known.items() if name == word]
    expected = [word] if word in known else named or begins
    assert [one[0] for one in meant(word, known.items())] == expected
    if len(expected) == 1:
        assert one_of(word, known, "encoder") == expected[0]
        return
    said = "beginning of several" if expected else "none of those here: "
    with pytest.raises(ConfigError, match=said) as told:
        one_of(word, known, "encoder")
    assert all(one in str(told.value) for one in expected)


@pytest.mark.parametrize("word", [7, None, ["a"]])
def test_what_is_no_text_is_no_name(word: object) -> None:
    with pytest.raises(ConfigError, match="a name must be a text"):
        meant(word, [("a",)])  # type: ignore[arg-type]
