"""A sentence as a string of classes: a letter a word, and the figures at their letters."""

from __future__ import annotations

import pytest
from builders.sentences import sentence
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.labels.rules import parse
from ingest.labels.tokens import class_of

WORDS = ["cellularity", "marrow", "the", "is", "blasts", "40%", "30", "fat", ",", "(", ")", "core"]


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("cellularity is 40%", "CvF"),
        ("40% cellular marrow", "FAM"),
        ("hypercellular marrow (80%)", "HM(F)"),
        ("fat 30", "fN"),  # a figure without its sign
        ("[x] 30% [ ] 50%", "XFOF"),
        ("qwertz 40%", "xF"),
        ("", ""),
    ],
)
def test_each_word_has_the_letter_of_its_class(text: str, classes: str) -> None:
    assert sentence(text).classes == classes


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_letters_words_and_figures_stand_at_the_same_places(words: list[str]) -> None:
    found = sentence(" ".join(words))
    assert len(found.classes) == len(found.words)
    assert {at for at, letter in enumerate(found.classes) if letter in "FN"} >= set(found.figures)
    assert all(found.classes[at] == "FN"[not one.signed] for at, one in found.figures.items())


@given(st.from_regex(r"[B-Z][a-z]{1,4}-[1-9][0-9]?", fullmatch=True), st.integers(1, 99))
def test_a_name_with_a_number_owns_the_figure_behind_it(name: str, v: int) -> None:
    assume(class_of(name.partition("-")[0].lower()) == "x")
    for said in (f"{name} (= {v} %)", f"{name} {v}%", f"{name}: {v}%"):
        assert parse(f"Trephine: cellularity increased due to {said}.").value is None
    assert parse(f"Trephine: cellularity {v}%, {name} negative.").value == v
