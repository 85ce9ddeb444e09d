"""A figure belongs to the nearest noun of its clause: laws over nouns, prepositions and verbs."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels import grammar
from ingest.labels.figures import Figure
from ingest.labels.rules import parse
from ingest.labels.tokens import Sentence

NOUNS = """blasts|the infiltrate|an outreach laboratory|the younger colleague|CD34|reticulin
a quorum of hematologists|the resection""".replace("\n", "|").split("|")
AWAY = ["by", "after", "despite", "via", "on"]
VERBS = ["is", "was estimated at", "measures", "is assessed as", "lies at", "appears to be"]
MODIFIERS = ["fibrotic", "decalcified", "well sampled", "edematous", "badly torn", "pristine"]


def value(text: str) -> float | None:
    return parse(f"CORE BIOPSY: {text}").value


@pytest.mark.parametrize("verb", VERBS)
def test_the_subject_counts_again_at_the_verb_behind_a_preposition(verb: str) -> None:
    for noun, away in itertools.product(NOUNS, AWAY):
        assert value(f"The cellularity {away} {noun} {verb} 40%.") in (40, None), (away, noun)
    for noun, of in itertools.product(NOUNS, ("of", "within", "in")):
        assert value(f"The cellularity {of} {noun} {verb} 40%.") is None, (of, noun)
    for away in AWAY:
        assert value(f"The cellularity {away} morphometry {verb} 40%.") == 40, away
        assert value(f"The cellularity, {away} our atlas, {verb} 40%.") == 40, away


def test_what_describes_a_site_owns_nothing() -> None:
    for modifier, site in itertools.product(MODIFIERS, ("marrow", "core", "biopsy", "section")):
        for text in (
            f"The {modifier} {site} is 40% cellular.",
            f"Cellularity of the {modifier} {site}: 40%.",
            f"Sections show {modifier} {site} with a cellularity of 40%.",
        ):
            assert value(text) == 40, text
        assert value(f"Hypercellular {site}, 40% {modifier}.") is None


def test_a_clause_goes_on_from_its_subject_and_from_none_before_it() -> None:
    for verb in ("averages", "is", "appears to be"):
        assert value(f"The cellularity is hard to judge but {verb} 40%.") == 40
        assert value(f"The cellularity is normal and CD34 {verb} 40%.") is None
        assert value(f"Cellularity is normal; blasts {verb} 40%.") is None
    assert value("The cellularity was assessed on three levels. It is estimated at 40%.") == 40
    assert value("Blasts were counted on three levels. It is estimated at 40%.") is None


@pytest.mark.parametrize("figure", ["40%", "30-50%", "~40%"])
def test_a_figure_of_the_rest_is_no_cellularity(figure: str) -> None:
    assert value("Inadequate (95% cortical bone, 5% cellular marrow).") is None
    assert value(f"Blasts are a part of an otherwise {figure} cellular marrow.") in (40, None)
    assert value(f"A core with {figure} cellular nests.") is None
    assert value(f"The nests are {figure} cellular.") is None
    assert value(f"20% blasts in a {figure} cellular marrow.") == 40


ASIDES = ["where {seen}", "as {seen}", "when {seen}", "in the areas {seen}"]
ASIDES += ["where {seen} on three levels"]
SEEN = ["seen", "assessable", "preserved", "judged", "measured"]


def test_a_clause_on_how_or_where_it_was_seen_owns_nothing() -> None:
    for aside, seen in itertools.product(ASIDES, SEEN):
        said = aside.format(seen=seen)
        for text in (
            f"The cellularity, {said}, is 40%.",
            f"The cellularity {said} is 40%.",
            f"Cellularity, {said}, 40%.",
        ):
            assert value(text) in (40, None), text
    for seen in SEEN:
        assert value(f"The cellularity where {seen} is 40%.") == 40
        assert value(f"Cellularity, where {seen}, 40%.") == 40
        assert value(f"Blasts, where {seen}, 40%. The core is cellular.") is None


def test_a_chain_of_verbs_and_the_whole_of_the_marrow_are_no_owner() -> None:
    for chain in (
        "is best regarded as",
        "was thought to be",
        "can be estimated at",
        "is felt to be",
    ):
        assert value(f"The cellularity {chain} 40%.") == 40, chain
        assert value(f"CD34 {chain} 40%; the core is cellular.") is None, chain
    wholes = ["the sampled marrow", "assessable (undamaged) marrow", "the total marrow area"]
    for whole in wholes:
        assert value(f"Haemopoiesis occupies 40% of {whole}.") in (40, None), whole
        assert value(f"Cellularity: 40% of {whole}.") == 40, whole
        assert value(f"Blasts: 40% of {whole}. Hypercellular.") is None, whole
        assert value(f"Cellularity 70%, lymphoma in 40% of {whole}.") == 70, whole
    assert value("Cellularité évaluée à 40 % de la surface médullaire.") == 40


def test_an_average_behind_areas_is_the_whole_and_one_behind_a_noun_is_the_noun_s() -> None:
    areas = "Some areas 80% cellular, some areas of 0%"
    for mark in ("; average 40%.", ". Average 40%.", "; mean 40%.", "; overall 40%."):
        assert value(areas + mark) in (40, None), mark
        assert value(f"Hypercellular, CD34 varies{mark}") is None, mark
        assert value(f"Areas of 80% and 20% cellularity{mark}") == 40, mark


@pytest.mark.parametrize("head", ["Original", "Original diagnosis", "Original report"])
def test_the_original_beside_an_addendum_is_this_report(head: str) -> None:
    report = f"{head}: Core biopsy, 40% cellular."
    for addendum, expected in {
        "Addendum: FISH shows 20% of nuclei with del(5q).": 40,
        "Addendum: the cellularity is revised to 60%.": 60,
        "Addendum: the cellularity of 40% is withdrawn.": None,
    }.items():
        assert parse(f"{addendum}\n\n{report}").value == expected, addendum
        assert parse(f"{report}\n\n{addendum}").value == expected, addendum
    assert parse("Original biopsy: 80% cellular.\n\nCore biopsy: 40% cellular.").value == 40


@pytest.mark.parametrize(
    "text",
    [
        "Core: ce11u1arity 40%.",
        "CORE\nCellular-\nity is estimated at\n40%",
        "Cellularity of core (choose one):\n( ) <10%\n(X) 30-50%\n( ) >50%\nFibrosis: (X) none",
        "Stanze: Zellularität 40 % gegenüber 80 % im Jahr 2019.",
        "Core: ceIIuIarity 4O percent.",
        "Core: overall cellu-\nlarity 40%.",
        "Core: hyper-\ncellular marrow (%40).",
        "THE CORE\nCELLULARITY IS\nESTIMATED AT 40%.",
        "Trephine, 22 mm. Good. Cellularity 40%.",
        "PELVIC CREST PUNCH BIOPSY (good): cellularity 40%.",
        "Core: 2:3 ratio of cells to fat.",
        "Core: cell content 40%.",
        "<r><Core><Cellularity>40%</Cellularity></Core><Clot><Cellularity>9%</Cellularity></Clot></r>",
        "Core A | Cellularity 30% | x\nCore B | Cellularity 50% | x",
        "Three cores. The first shows 20% cellularity, the second 40%, and the third 60%.",
        "Core: varies from 10% to 90%, averaging 40% cellularity.",
        "ADDENDUM 2: cellularity 40%.\nADDENDUM 1: cellularity 70%.\nCore: cellularity 90%.",
        "Core: cellularity 70%.\nCorrection: instead of 70% it is to be 40%.",
        "Core: cellularity 70%.\nAddendum: the cellularity is 40% rather than 70%.",
    ],
)
def test_scans_layouts_lists_and_corrections_are_read_as_meant(text: str) -> None:
    assert parse(text).value == 40


ADJECTIVES = ["uneven", "capricious", "erratic", "assessable", "hard to judge"]


@pytest.mark.parametrize("adjective", ADJECTIVES)
def test_a_quality_said_of_the_cellularity_owns_no_figure(adjective: str) -> None:
    for rest in (", averaging 40% over the core.", " but averages 40%.", ", on average 40%."):
        assert value(f"Cellularity is {adjective}{rest}") == 40, rest
        assert value(f"The core is cellular. CD34 is {adjective}{rest}") is None, rest
    assert value(f"The evaluable portion of the core is {adjective}: 40% cellular.") == 40
    assert value("The core is cellular and shows fibrosis, 40%.") is None
    assert value("The core is short, which limits the estimate, but it is 40% cellular.") == 40
    assert value("The core is hypocellular relative to age with a cellularity of 40%.") == 40


CLASSES = ["x", "F", "N", "L", "M", "B", "R", "G", "v", "p", "d", "o", "y", "e", "E", "u", "q"]


@given(letters=st.lists(st.sampled_from([*CLASSES, *",;:./()|jw"]), max_size=14))
def test_a_sentence_that_is_not_scanned_has_no_tie(letters: list[str]) -> None:
    s = "".join(letters)
    figure = Figure(start=0, end=1, low=40, high=40, qualifier=None, signed=True, parts=(40.0,))
    figures = {at: figure for at, letter in enumerate(s) if letter in "FN"}
    sentence = Sentence(s, ["of" if letter in "pd" else "so" for letter in s], figures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grammar, "sentence_of", lambda _: sentence)
        as_read = grammar.tied.__wrapped__(s)
        patch.setattr(grammar, "_MAY_TIE", re.compile(""))
        assert grammar.tied.__wrapped__(s) == as_read, s


LEFT_OUT = """Allowing for {what}, it is {f}% cellular.
Allowing for {what} at the leading end, cellularity is {f}%.
Excluding {what}, the core is {f}% cellular.
Disregarding {what}, it is {f}% cellular.
Ignoring the {what} near the cortex, the cellularity is {f}%.""".splitlines()


@pytest.mark.parametrize("frame", LEFT_OUT)
@pytest.mark.parametrize("what", ["some crush", "hemorrhage", "fat", "artefact", "the crushed tip"])
def test_what_is_left_out_first_leaves_the_rest(frame: str, what: str) -> None:
    for f in (0, 15, 40, 95):
        assert parse(f"Core biopsy: {frame.format(what=what, f=f)}").value == f
    assert parse("Core biopsy: Subcortical marrow, it is 10% cellular.").value is None


@pytest.mark.parametrize("found", ["ours comes to", "ours is", "measured here:", "here", "ours:"])
@pytest.mark.parametrize(
    "norm",
    [
        "The expected cellularity is 60%",
        "Cellularity predicted by the 100-minus-age rule 24% (accepted band 15-35%)",
        "Criteria ask for a cellularity under 25%",
    ],
)
def test_what_is_found_here_stands_beside_the_norm(norm: str, found: str) -> None:
    for f in (5, 40, 90):
        assert parse(f"Core biopsy: {norm}; {found} {f}%.").value in (f, None)
        assert parse(f"Core biopsy: {norm}; {found} {f}% blasts.").value is None
    assert parse(f"Core biopsy: The expected cellularity is 60%; {found} 30%.").value == 30


@pytest.mark.parametrize("by", ["The count", "The program", "Point counting", "My colleague"])
@pytest.mark.parametrize("gave", ["gave", "returned", "arrived at", "yields"])
def test_a_figure_named_as_the_cellularity_is_it(by: str, gave: str) -> None:
    for f in (10, 75):
        said = f"Core biopsy: {by} {gave} {f}% as the cellularity"
        assert parse(f"{said} of the core.").value == f
        assert parse(f"{said}.").value == f
        assert parse(f"{said} of the infiltrate.").value is None
        assert parse(f"Core biopsy: Blasts take {f}% cellularity of the tumor.").value is None


FULL = """Marrow spaces are packed with cells ({f}% of the intertrabecular area), mostly immature.
The spaces are filled with cells (about {f}% of the area).
Cells pack the spaces ({f}% of the marrow area).
Cells take up {f}% of the marrow compartment.
Where it can be judged, cells fill {f}% of the marrow space.
Red marrow occupies {f}% of the space.
On the core the active marrow occupies about {f}% of the space, the rest being fat.
Its cellular component is about {f}% of the medullary space.
The marrow proves to be some {f}% cells, give or take.
There is {f}% viable hematopoietic cellularity.
Zellhaltige Anteile machen {f} % des Markraums aus und bestehen aus Lymphozyten.
La cellularité variant autour de {f} % selon les territoires.""".splitlines()


@pytest.mark.parametrize("frame", FULL)
def test_cells_that_fill_the_space_are_the_cellularity_and_blasts_are_not(frame: str) -> None:
    for f in (10, 45, 90):
        assert parse(f"Core biopsy: {frame.format(f=f)}").value == f
        for cells in ("Blasts", "Leukemic cells", "Plasma cells"):
            of_them = frame.format(f=f).replace("Cells", cells).replace("ith cells", f"ith {cells}")
            if cells in of_them:
                assert (
                    parse(f"Core biopsy: {of_them.replace(' cells f', ' lymphocytes f')}").value
                    is None
                )


REST = """once the superficial portion is set aside
if the crushed tip is excluded
with the cortex left out
after the subcortical zone was excluded"""


@pytest.mark.parametrize("rest", REST.splitlines())
@pytest.mark.parametrize("said", ["We read the cellularity as {}%", "Cellularity is {}%"])
def test_a_figure_without_its_margin_is_of_the_whole(said: str, rest: str) -> None:
    for f in (15, 60):
        assert parse(f"Core biopsy: {said.format(f)} {rest}.").value == f
        assert parse(f"Core biopsy: The lymphoma is {f}% {rest}.").value is None


@pytest.mark.parametrize(
    "by", ["by both pathologists", "at the double-headed microscope", "of the panel"]
)
def test_a_consensus_counts_however_it_was_reached(by: str) -> None:
    for f in ("40-45", "30"):
        said = f"Reader A: 50%\nReader B: 35%\nConsensus {by}: reported cellularity {f}%"
        assert parse(f"Bone marrow trephine\n{said}").value == (42.5 if "-" in f else 30)
        assert parse(f"Clot section\n{said}").value is None


DIRECT = """This core is running roughly {f} percent cellular, so a touch more than anticipated.
Normally populated marrow spaces ({f}% cellular) with preserved topography.
{f}% of the intertrabecular area is cellular marrow.
By inspection the intertrabecular area ({f}%) is cellular marrow.
Hematopoietic cells fill {f}% of 16 mm of good marrow.
Haemopoiesis takes about {f}% of the space outside bone.
Es sind nur noch {f} % der Markfläche blutbildend.""".splitlines()


@pytest.mark.parametrize("frame", DIRECT)
def test_the_plain_predicates_of_a_marrow_are_read(frame: str) -> None:
    for f in (5, 25, 60, 95):
        assert parse(f"Trephine biopsy: {frame.format(f=f)}").value == f
        other = frame.format(f=f).replace("ematopoietic cells", "airy cells")
        other = other.replace("Haemopoiesis", "Lymphoma").replace("blutbildend", "fibrosiert")
        other = other.replace("cellular marrow", "fibrotic").replace("cellular", "fibrotic")
        assert parse(f"Trephine biopsy: {other}").value is None, other


@pytest.mark.parametrize("usual", ["normally", "usually", "typically", "generally"])
def test_a_norm_is_still_one(usual: str) -> None:
    for said in ("the marrow is {} 40% cellular", "cellularity is {} 40%", "cellularity, {} 40%"):
        assert parse(f"Trephine biopsy: At this age {said.format(usual)}.").value is None
