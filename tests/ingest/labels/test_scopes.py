"""What of the marrow a figure is of, by the words of its own clause."""

from __future__ import annotations

import pytest

from ingest.labels.asides import ticked
from ingest.labels.rules import parse
from ingest.labels.scopes import scope_of
from ingest.labels.tokens import sentence_of


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ("cellularity is {}%", ["whole"]),
        ("overall cellularity is {}%", ["overall"]),
        ("cellularity averages {}%", ["overall"]),
        ("some areas {}%", ["part"]),
        ("subcortical marrow is {}% cellular", ["aside"]),
        ("cellularity is {}%, focally {}%", ["whole", "part"]),
        ("cellularity is {}%, on average {}%", ["part", "overall"]),
        ("overall cellularity is {}% ({}% here)", ["overall", "whole"]),
        ("subcortically {}%, elsewhere the marrow is {}% cellular", ["aside", "part"]),
    ],
)
def test_the_clause_of_a_figure_says_what_it_is_of(said: str, scopes: list[str]) -> None:
    for values in ((5, 90), (40, 60), (95, 10)):
        sentence = sentence_of(said.format(*values))
        s = ticked(sentence.classes)
        assert [scope_of(s, at) for at in sentence.figures] == scopes


SIDES = [("left", "right"), ("right", "left"), ("first", "second"), ("longer", "shorter")]


@pytest.mark.parametrize(("one", "other"), SIDES)
def test_what_is_overall_of_one_core_is_not_of_all(one: str, other: str) -> None:
    for x, y in ((10, 60), (40, 70), (90, 30)):
        for said in (
            f"The {one} core has an overall cellularity of {x}% and the {other} one {y}%.",
            f"The {one} core has an overall cellularity of {x}%, the {other} core {y}%.",
        ):
            assert parse(f"Trephine: {said}").value in ((x + y) / 2, None), said
        whole = f"The {one} core is {x}% cellular, the {other} core {y}%; overall cellularity 50%."
        assert parse(f"Trephine: {whole}").value in (50, None), whole
    for end in ("swings from as little as 10% to as much as 60%", "runs from 10% to 60%"):
        assert parse(f"Core: overall cellularity {end} between adjacent spaces.").value in (
            35,
            None,
        )


ASIDES = ["appropriate for age", "blasts 7%", "with 7% blasts", "normal maturation"]


@pytest.mark.parametrize("aside", ASIDES)
@pytest.mark.parametrize("stop", [", ", "; "])
def test_an_aside_between_two_cores_hides_neither(aside: str, stop: str) -> None:
    link = " " if aside.startswith("with") else ", "
    for x, y in ((20, 60), (85, 5)):
        text = f"Core: cellularity right {x}%{link}{aside}{stop}left {y}%."
        assert parse(text).value in ((x + y) / 2, None), text
        text = f"Cores: cellularity site 1, {x}%{link}{aside}{stop}site 2, {y}%."
        assert parse(text).value in ((x + y) / 2, None), text
