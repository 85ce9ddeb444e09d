"""Words beside a noun or a figure: asides are left out, and a state behind a figure ties it."""

from __future__ import annotations

import pytest

from ingest.labels.nearby import state_of, without_asides
from ingest.labels.rules import parse


@pytest.mark.parametrize("state", ["hypocellular", "mildly hypercellular", "normocellular"])
def test_a_figure_before_the_state_of_the_core_is_its_cellularity(state: str) -> None:
    for v in (10, 40, 95):
        assert parse(f"Trephine: {v}%, {state} for age.").value == v
        assert parse(f"Trephine: blasts {v}%, {state} for age.").value is None


def test_only_an_aside_between_commas_is_left_out() -> None:
    words = ["cellularity", ",", "on", "count", ",", "", "."]
    assert without_asides("C,px,F.", words) == "CqqqqF."
    assert without_asides("C,px,F.", [*words[:2], "of", *words[3:]]) == "C,px,F."
    assert not state_of("xF,H.", ["blasts", "", ",", "hypocellular", "."], "x", 1)
