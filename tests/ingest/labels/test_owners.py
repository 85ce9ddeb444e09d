"""A figure by the cellularity that has another owner: a share, a part of the core, its make-up."""

from __future__ import annotations

from itertools import product

import pytest

from ingest.labels.rules import parse

VALUES = (10, 30, 60, 90)
STATES = [
    "Cellularity: increased, {}",
    "Cellularity: patchy; {}",
    "Cellularity: not evaluable ({})",
    "The cellularity is decreased and {}",
    "The marrow cellularity cannot be given since {}",
    "Cellularity is variable: {}",
    "Cellularity increased\n{}",
]
PARTS = [
    "{v}% of the core is involved by lymphoma",
    "{v}% of the marrow is fat",
    "{v}% of the biopsy consists of cortex",
    "about {v}% of the section shows crush artifact",
    "only {v}% of the core is evaluable",
    "{v}% of the core is hypercellular",
    "{v}% of the marrow being fat",
    "{v}% of the specimen was lost",
    "{v}% of the space is occupied by plasma cells",
]
TONGUES = [
    "Stanze: Zellularität erhöht, {v} % des Zylinders sind von Lymphom infiltriert.",
    "Stanze: Zellularität vermindert, {v} % der Markräume sind verfettet.",
    "Stanze: Zellularität: gesteigert, dabei etwa {v} % des Markraums durch Plasmazellen ersetzt.",
    "BOM : cellularité augmentée, {v} % de la moelle est occupée par des plasmocytes.",
    "BOM : cellularité diminuée, avec environ {v} % de tissu adipeux.",
]


@pytest.mark.parametrize(("state", "part"), [*product(STATES, PARTS)])
def test_a_part_of_the_core_with_a_predicate_is_no_cellularity(state: str, part: str) -> None:
    for v in VALUES:
        text = f"Bone marrow core biopsy.\n{state.format(part.format(v=v))}.\nBlasts: 2%"
        assert parse(text).value is None, text


@pytest.mark.parametrize("text", TONGUES)
def test_nor_in_german_and_french(text: str) -> None:
    for v in VALUES:
        assert parse(text.format(v=v)).value is None


@pytest.mark.parametrize(
    "end", [".", " in the deep half.", ", the rest fat.", " by point counting.", "; iron is low."]
)
def test_a_share_of_the_space_without_a_predicate_is_the_cellularity(end: str) -> None:
    for v, what in product(VALUES, ("marrow space", "core", "medullary area")):
        text = f"Bone marrow core biopsy. The cellularity is {v}% of the {what}{end}"
        assert parse(text).value == v, text


OF_IT = [
    "Proportion of cellularity: {v}%",
    "{noun} fraction of marrow cellularity: {v}%",
    "{noun} (share of cellularity): {v}%",
    "{noun} as fraction of the total cellularity: {v}%",
    "{noun}/total cellularity: {v}%",
    "{noun} per total cellularity: {v}%",
    "{noun} in relation to overall cellularity {v}%",
    "{noun}, with respect to the cellularity, {v}%",
    "{noun}, estimated from the overall cellularity, {v}%",
    "{noun}-Infiltrat, Anteil an der Gesamtzellularität {v} %",
    "{noun}anteil an der Zellularität: {v} %",
    "{noun}, bezogen auf die Gesamtzellularität {v} %",
    "{noun}, part de la cellularité totale : {v} %",
    "Overall cellularity due to {noun}: {v}%",
    "{noun} involvement, {v}% cellularity involved",
    "Cellularity: {v}% involved by {noun}",
]


@pytest.mark.parametrize(("said", "noun"), [*product(OF_IT, ("Plasma cells", "Lymphoma", "CLL"))])
def test_a_share_of_the_cellularity_is_not_it(said: str, noun: str) -> None:
    for v in VALUES:
        text = f"Bone marrow core biopsy\n{said.format(noun=noun, v=v)}\nMarrow hypercellular."
        assert parse(text).value is None, text


MADE_OF = [
    "The cellularity is predominantly ({v}%) erythroid.",
    "The cellularity is mostly, about {v}%, lymphoid.",
    "The cellularity is made up primarily ({v}%) of blasts.",
    "Cellularity is dominated by ({v}%) granulopoiesis.",
    "The cellularity is almost exclusively ({v}%) blasts.",
    "Zellularität überwiegend ({v} %) durch Blasten bedingt.",
]


@pytest.mark.parametrize("said", MADE_OF)
def test_what_the_cells_are_is_no_cellularity(said: str) -> None:
    for v in VALUES:
        assert parse(f"Core biopsy. {said.format(v=v)}").value is None
    assert parse("Core biopsy. The cellularity is moderately (40%) reduced.").value == 40


EACH = [
    "Both cores are {v}% cellular; one has 20% and the other 40% {noun}.",
    "Both trephines are {v}% cellular; the right has 10%, the left 30% {noun}.",
    "The two cores are equally cellular at {v}%; the first contains 10% and the second 40% {noun}.",
    "Core. Cellularity {v}%; at present {noun} are 5%.",
    "Core: marrow {v}% cellular; at present {noun} are <5%.",
]


@pytest.mark.parametrize(("said", "noun"), [*product(EACH, ("plasma cells", "blasts", "fibrosis"))])
def test_what_each_core_holds_of_something_else_spoils_no_value(said: str, noun: str) -> None:
    for v in (5, 30, 45, 90):
        assert parse(said.format(v=v, noun=noun)).value == v, said


NONE = ["n/a", "not assessable", "-", "?", "no marrow", "see comment", "unable to assess"]


@pytest.mark.parametrize(("none", "other"), [*product(NONE, ("clot", "aspirate", "particles"))])
def test_a_pair_with_no_figure_of_the_core_gives_none(none: str, other: str) -> None:
    for v in VALUES:
        assert parse(f"Cellularity (core/{other}): {none} / {v}%").value is None
        assert parse(f"Cellularity (core/{other}): {v}% / {none}").value in (v, None)
    assert parse(f"Cellularity of core and {other}: not assessable and 40%").value is None


@pytest.mark.parametrize("name", ["Zylinder", "Cylinder", "Core", "Biopsie", "Carotte"])
def test_cores_with_roman_numbers_are_cores(name: str) -> None:
    text = "{n} I: cellularity {a}%. {n} II: cellularity {b}%."
    for a, b in product((10, 60), (30, 80)):
        assert parse(text.format(n=name, a=a, b=b)).value in ((a + b) / 2, None)


@pytest.mark.parametrize(
    "end",
    [
        "elsewhere no estimate is possible",
        "no overall figure",
        "overall cellularity cannot be determined",
        "overall cellularity not given",
    ],
)
def test_one_spot_alone_has_no_overall_figure(end: str) -> None:
    for v in VALUES:
        assert parse(f"Core: one focus of {v}% cellularity; {end}.").value is None
