"""Where sentences end: abbreviations do not end one, and none is too long to be read at once."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.stops import LONGEST, stops_of

SENTENCES = ("The core is 12 mm long.", "Cellularity is 40%.", "No lymphoma is seen!", "Why?")


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=12))
def test_each_sentence_is_cut_behind_its_mark(said: list[str]) -> None:
    paragraph = " ".join(said)
    begins = [0, *stops_of(paragraph)]
    found = [paragraph[a:b].strip() for a, b in pairwise(begins)]
    assert [one for one in found if one] == said


@pytest.mark.parametrize("short", ["approx.", "ca.", "vs.", "resp.", "est."])
def test_an_abbreviation_ends_no_sentence(short: str) -> None:
    paragraph = f"The cellularity is {short} 40% of the space."
    assert stops_of(paragraph) == [len(paragraph)]


@given(st.integers(1, 4 * LONGEST))
def test_no_piece_is_longer_than_is_read_at_once(length: int) -> None:
    begins = [0, *stops_of("a" * length)]
    assert begins[-1] == length
    assert max(b - a for a, b in pairwise(begins)) <= LONGEST
