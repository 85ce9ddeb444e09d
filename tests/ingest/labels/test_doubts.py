"""A figure that nothing ties: may it be meant, is it free, is it a norm?"""

from __future__ import annotations

import pytest
from builders.sentences import sentence

from ingest.labels.doubts import is_doubted, is_free, may_be


@pytest.mark.parametrize(
    ("text", "meant", "free"),
    [
        ("cellularity is normal, 40%", True, True),
        ("cellularity, 40%", True, True),
        ("40% blasts", False, False),
        ("60% of the total cellularity", False, True),
        ("cellularity of the marrow; 40%", False, True),  # another clause
    ],
)
def test_a_noun_of_its_own_owns_a_figure(text: str, meant: bool, free: bool) -> None:
    found = sentence(text)
    (at,) = found.figures
    assert may_be(found.classes, found.words, at) == meant
    assert is_free(found.classes, at, found.figures[at]) == free


def test_what_is_said_of_another_noun_after_the_cellularity_is_not_its() -> None:
    found = sentence("cellularity 40%, of which 20% is lymphoma")
    first, second = sorted(found.figures)
    assert may_be(found.classes, found.words, first)
    assert not may_be(found.classes, found.words, second)


@pytest.mark.parametrize(
    ("text", "doubted"),
    [
        ("cellularity >70% is increased", True),
        ("above 80%, not assessable", True),
        ("cellularity normal for age (30-50%)", True),
        ("cellularity >70%", False),
        ("cellularity normal for age (40%)", False),
        ("cellularity 40% is increased", False),
    ],
)
def test_a_legend_or_a_wide_norm_is_doubted(text: str, doubted: bool) -> None:
    found = sentence(text)
    (at,) = found.figures
    head = max(0, found.classes.find("C"))
    assert is_doubted(found.words, found.figures[at], found.classes, head, at) == doubted
