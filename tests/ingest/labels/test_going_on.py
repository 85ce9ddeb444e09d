"""Whose the figure is of a sentence that goes on from one on cellularity."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from ingest.labels.prompt import is_supported
from ingest.labels.rules import parse, understand

# what is set aside: of another time, another reader, another material, or a norm
ASIDE = """Expected cellularity is 40%.
Normal cellularity for a 60 year old is 40%.
The expected cellularity for a patient of this age is 30-40%.
Prior cellularity 40%.
Prior biopsy: cellularity 40%.
Cellularity was 40% in 2018.
Outside report: cellularity 40%.
The aspirate cellularity is 40%.
Aspirate: cellularity 40%.
Clot section cellularity is 40%.
Erwartete Zellularität 40%.
Prior cellularity 40%. Megakaryocytes are increased.""".splitlines()
CORES = """The core {v} {f} {noun}.
The core is hypercellular with {f} {noun}.
The core is now normocellular, {f} {noun}.
This core is hypocellular and {v} approximately {f} {noun}.
The trephine {v} {f} {noun} by immunohistochemistry.
Trephine: hypocellular with {f} {noun}.
Current biopsy: hypercellular with {f} {noun}.
Our core {v} about {f} {noun} today.
It is hypercellular with {f} {noun}.
It {v} {f} {noun}.
It {v} {noun} ({f}).
The core {v} {noun} at {f}.
The core {v} {noun}: {f}.
The core biopsy, in which {f} {noun} are seen, is intact.
The core {v} {f} of {noun}.
In the core {f} are {noun}.
On the left the core {v} {f} {noun}.
The core {v} {f}, mostly {noun}.
The core {v} {f} ({noun}).
Stanze hyperzellulär mit {f} {noun}.
Stanze: {f} {noun}.
La biopsie est riche avec {f} {noun}.""".splitlines()
NOUNS = """blasts|plasma cells|ring sideroblasts|mast cells|lymphocytes|fat|necrosis|cortical bone
bone|trabecular bone|involvement by CLL|involvement|fibrosis|CD34-positive blasts|hemorrhage|Blasten
Plasmazellen|plasmocytes|metastatic carcinoma|CD138 staining|crush artifact|erythroid precursors
fat cells|tumor|adipocytes""".replace("\n", "|").split("|")
VERBS = ["shows", "contains", "has", "consists of", "is"]
FIGURES = ["12%", "70-80%", "less than 5%", "95 %"]


@pytest.mark.parametrize("first", ASIDE)
def test_a_noun_owns_its_figure_in_a_sentence_that_goes_on(first: str) -> None:
    for n, (core, noun) in enumerate(itertools.product(CORES, NOUNS)):
        said = core.format(v=VERBS[n % len(VERBS)], f=FIGURES[n % len(FIGURES)], noun=noun)
        text = f"{first} {said}"
        assert parse(text).value is None, text


@pytest.mark.parametrize("first", ["Cellularity is 45%.", "The core cellularity is 45%."])
def test_nor_does_it_stand_in_the_way_of_the_finding(first: str) -> None:
    for n, (core, noun) in enumerate(itertools.product(CORES, NOUNS)):
        said = core.format(v=VERBS[n % len(VERBS)], f=FIGURES[n % len(FIGURES)], noun=noun)
        assert parse(f"{first} {said}").value in (45, None), said
    assert parse(f"{first} The core shows 12% blasts.").value == 45


RELATIVE = """20% above normal
20% below the expected
20% more than before
20% over baseline
50% of normal
50% of the expected value
20 % au-dessus de la normale""".splitlines()


@pytest.mark.parametrize("said", RELATIVE)
def test_a_figure_relative_to_another_is_no_finding(said: str) -> None:
    for frame in ("Cellularity is {}.", "Cellularity up, {}.", "The core has a cellularity {}."):
        assert parse(frame.format(said)).value is None, frame
    assert parse("Cellularity reduced to half, 50% of normal.").value is None
    assert parse("Cellularity 40%, above normal for age.").value == 40


@pytest.mark.parametrize("noun", ["fat", "the fat", "blasts", "an infiltrate", "fibrosis"])
def test_a_relative_clause_is_of_the_noun_before_it(noun: str) -> None:
    for verb in ("is", "is reduced to", "occupies", "amounts to"):
        text = f"The cellularity is increased at the expense of {noun}, which {verb} 10%."
        assert parse(text).value is None, text
    assert parse("The cellularity, which is increased, is 70%.").value == 70
    assert parse("The cellularity of the marrow, which is 70%, is increased.").value == 70


@pytest.mark.parametrize("first", ASIDE)
def test_a_model_s_claim_of_such_a_figure_is_not_supported(first: str) -> None:
    for core, noun in itertools.product(CORES, NOUNS):
        said = core.format(v="shows", f="77%", noun=noun)
        it = understand(f"{first} {said}")
        claimed = replace(parse("Cellularity 77%."), evidence=said)
        assert not is_supported(it, claimed), it.text


@pytest.mark.parametrize("other", ["the infiltrate", "lymphoma", "tumour cells", "fibres"])
@pytest.mark.parametrize("verb", ["occupy", "occupying", "fill", "together occupy", "make up"])
def test_blood_forming_cells_and_what_lies_among_them_fill_the_space_together(
    other: str, verb: str
) -> None:
    for cells in ("haematopoietic cells", "hematopoiesis"):
        said = f"{cells} and {other} {verb} 70% of the marrow spaces"
        assert parse(f"Trephine: {said}.").value in (70, None)
        assert parse(f"Trephine: {said} and fat the remaining 30%.").value in (70, None)
        assert parse(f"Trephine: {cells} and {other} 70%.").value is None
    whole = "haematopoietic cells and the infiltrate occupy 70% of the marrow spaces."
    assert parse(f"Trephine: {whole}").value == 70


@pytest.mark.parametrize("also", ["", " for age", " marrow"])
def test_a_figure_of_its_own_behind_a_semicolon_goes_on_from_an_adjective(also: str) -> None:
    assert parse(f"Core: good. Moderately hypercellular{also}; 70%. Few blasts.").value == 70
    for noun in ("blasts", "of cells are blasts", "plasma cells", "involvement"):
        assert parse(f"Core: good. Hypercellular{also}; 70% {noun}.").value is None


@pytest.mark.parametrize("own", ["We estimate {f}%.", "We read {f}%.", "I find {f}%."])
def test_a_reader_s_own_figure_goes_on_from_a_sentence_on_the_cellularity_alone(own: str) -> None:
    ruled = "At her age one expects 60-80%; a severe disease is defined by under 25%."
    for f in (20, 40, 90):
        said = own.format(f=f)
        for before in ("Cellularity of the core.", f"Cellularity. {ruled}"):
            assert parse(f"TREPHINE\n{before} {said}").value == f, before
            assert parse(f"TREPHINE\n{before} Lymphoma is seen. {said}").value in (f, None)
        assert parse(f"TREPHINE\nBlasts are many. {said}").value is None
        assert parse(f"TREPHINE\nCellularity is low. Blasts are seen. {said}").value is None


@pytest.mark.parametrize(
    "taken_back", ["No, make that", "Sorry,", "Or rather:", "Rather", "Pardon,", "No,"]
)
def test_what_is_taken_back_at_once_leaves_no_value(taken_back: str) -> None:
    for first, then in ((25, 20), (60, 90), (5, 15)):
        said = f"Core biopsy: cellularity is {first}%. {taken_back} {then}%."
        assert parse(said).value in (then, None), said
        assert parse(said.replace(f"{then}%.", f"{first}%.")).value in (first, None)
    for then in ("Blasts 20%.", "Fat 75%.", "No blasts, 20% lymphocytes.", "Or 20% plasma cells."):
        assert parse(f"Core biopsy: cellularity is 25%. {then}").value == 25, then
