"""A letter or a number of a specimen, declared anywhere, says what a figure is of."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

LABELS = [("(A)", "(B)"), ("(1)", "(2)"), ("Slide 1:", "Slide 2:"), ("Part A:", "Part B:")]
LABELS += [("[A]", "[B]"), ("Slide 1 -", "Slide 2 -")]
LABELS += [("Specimen 1:", "Specimen 2:"), ("Sample A:", "Sample B:")]
CORES = ["core", "core biopsy", "trephine", "trephine biopsy"]
OTHERS = ["clot", "clot section", "aspirate", "aspirate smear"]
FINDINGS = """Cellularity {f}.
Hypercellular, {f}.
The cellularity is {f}.
Marrow with {f} cellularity.
{f} cellular.""".splitlines()
NOTHING = ["Insufficient.", "Blood only.", "Crushed."]


def _declarations(one: str, a: str, other: str, b: str) -> list[str]:
    told = [f"{a} {one}. {b} {other}.", f"Specimens: {a} {one}, {b} {other}."]
    if a[0] in "([":
        told += [f"{one} {a}; {other} {b}.", f"Iliac crest, {one} {a}; {other} {b}."]
    return [said[0].upper() + said[1:] for said in told]


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("join", [" ", "\n", "\n\n"])
def test_a_labelled_finding_is_of_the_specimen_declared(labels: tuple[str, str], join: str) -> None:
    a, b = labels
    for one, other in itertools.product(CORES, OTHERS):
        for n, said in enumerate(_declarations(one, a, other, b)):
            finding = FINDINGS[n % len(FINDINGS)]
            core, clot = finding.format(f="40%"), finding.format(f="80%")
            assert parse(f"{said}{join}{b} {clot}").value is None, said
            assert parse(f"{said}{join}{a} {NOTHING[n % 3]}{join}{b} {clot}").value is None, said
            assert parse(f"{said}{join}{a} {core}{join}{b} {clot}").value in (40, None), said
            third = a.replace("A", "C").replace("1", "3")
            assert parse(f"{said}{join}{third} {clot}").value is None, said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Trephine (A); aspirate (B). (A) shows 40% cellularity. (B) hypercellular, 80%.", 40),
        ("Slide 1: core. Slide 2: clot. Slide 1: cellularity 40%. Slide 2: cellularity 70%.", 40),
        ("Part 1: trephine. Part 2: clot.\n1. Normocellular, 40%.\n2. Hypercellular, 80%.", 40),
        ("Trephine (A); aspirate (B). Hypercellular (B), 80%.", None),
        ("Slide 1: core. Slide 2: clot. Cellularity on slide 2 is 70%.", None),
        ("Core biopsy (A), clot (B):\n 1) Normocellular marrow (40%)\n 2) Plasma cells 4%", 40),
        ("Core biopsy. (1) Cellularity 40%. (2) Blasts 3%.", 40),
    ],
)
def test_labels_are_resolved_and_a_plain_list_is_none(text: str, value: float | None) -> None:
    assert parse(text).value == value


@pytest.mark.parametrize(("one", "other"), [("B", "D"), ("A", "C"), ("1", "3")])
@pytest.mark.parametrize("stop", [".", ":", ")"])
def test_cores_that_have_letters_give_their_mean(one: str, other: str, stop: str) -> None:
    given = f"SPECIMENS\n  {one}. Core biopsy\n  {other}. Core biopsy\n\nMICROSCOPIC\n"
    for a, b in ((85, 75), (20, 40), (60, 60)):
        said = f"  {one}{stop} Cellularity {a}%. Nests of cells.\n  {other}{stop} Cellularity {b}%."
        assert parse(given + said).value in ((a + b) / 2, None), said
    assert parse(f"{given}  B. Cellularity 85%.\n  D. Cellularity 75%.").value in (80, None)


@pytest.mark.parametrize("core", ["Cylindre", "Biopsie", "Carotte"])
def test_two_cores_in_french_give_their_mean(core: str) -> None:
    said = f"{core} droit : cellularité 30 %. {core} gauche : cellularité 40 %. Blastes 5 %."
    assert parse(f"DESCRIPTION\n{said}").value == 35


BLOCKS = ("A1", "B2", "C3", "D")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_with_a_letter_is_of_the_sample_that_is_named(block: str) -> None:
    for v, said in itertools.product(
        (10, 60), ("Block {} (core): cellularity {}%", "CORE BIOPSY\nBlock {}: cellularity {}%")
    ):
        assert parse(said.format(block, v)).value == v, said
    for clot in ("Cell block {}", "Block {} (clot)", "Clot, block {}", "Clot section\nBlock {}"):
        assert parse(f"CORE BIOPSY\n{clot.format(block)}: cellularity 40%").value is None, clot


@pytest.mark.parametrize("letters", ["AB", "DC"])
def test_a_block_is_of_the_specimen_whose_letter_it_has(letters: str) -> None:
    core, clot = letters
    lead = f"Specimens: {core}. Core biopsy. {clot}. Clot.\n\n"
    for n in (1, 2):
        assert parse(f"{lead}Block {clot}{n}: cellularity 90%.").value is None
        both = f"{lead}Block {core}{n}: cellularity 40%. Block {clot}{n}: cellularity 90%."
        assert parse(both).value == 40


@pytest.mark.parametrize(("one", "other"), [*itertools.combinations(BLOCKS[:3], 2)])
def test_an_overall_figure_of_blocks_is_the_cores(one: str, other: str) -> None:
    lead = "Core biopsy. "
    for said in (
        f"Overall cellularity across {one} and {other}: 50%",
        f"Mean cellularity of {one} and {other} is 50%.",
        f"Overall cellularity ({one}, {other}): 50%",
        f"Block {one}: cellularity 40%\nBlock {other}: cellularity 60%\nOverall cellularity: 50%",
    ):
        assert parse(lead + said).value == 50, said
    assert parse(f"{lead}Cyclin {one} 40% of cellularity.").value is None


# each core by its letter, with a figure each: lines, clauses, a list behind the key
BY_LETTER = """Core biopsies. {a}: {x}% cellular. {b}: {y}% cellular.
Core biopsies ({a}, {b})¶{a}: cellularity {x}%¶{b}: cellularity {y}%
Core biopsies¶{a}) {x}% cellular¶{b}) {y}% cellular
Core biopsies: {a} {x}% cellular, {b} {y}% cellular.
Core biopsies¶Cellularity {a}: {x}%¶Cellularity {b}: {y}%
Cellularity: {a} {x}%, {b} {y}%.
Two cores. Cellularity is {x}% in {a} and {y}% in {b}.
Core biopsies ({a} = {x}% cell. / {b} = {y}% cell.)"""


@pytest.mark.parametrize("frame", BY_LETTER.splitlines())
@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("A1", "A2"), ("A1", "B1"), ("B", "C")])
def test_each_core_has_its_letter_and_what_is_declared_holds(frame: str, a: str, b: str) -> None:
    for x, y in itertools.permutations((5, 20, 45, 60, 90), 2):
        text = frame.replace("¶", "\n").format(a=a, b=b, x=x, y=y)
        assert parse(f"{text}\nBlasts 2%.").value == (x + y) / 2, text
        for core, other, value in ((a, b, x), (b, a, y)):
            declared = f"\n{core}: core biopsy; {other}: clot section."
            assert parse(f"{text}{declared}").value in (value, None), text + declared
        if "Core biopsies" in text:
            assert parse(text.replace("Core biopsies", "Clot sections")).value is None
    # an article is no letter, and readers are no cores
    assert parse("Core biopsy: a 40% cellular marrow, a 60% involved one.").value in (40, None)
    assert parse("Core biopsy. Reader A: 30% cellular. Reader B: 50% cellular.").value is None


LISTED = """{a} {one}{lost}, {b} {other}.
Specimens: {a} {one}{lost}; {b} {other}.
Received: {a} {one}{lost} and {b} {other}.
Blocks
{a} {one}{lost}
{b} {other}""".replace("\n{", "¶{").splitlines()
OF_A_LETTER = """{} is {}% cellular.
{} has a cellularity of {}%.
{}: cellularity {}%.
{} = {}% cellular.
{}. Cellularity {}%.""".splitlines()


@pytest.mark.parametrize("frame", LISTED)
@pytest.mark.parametrize(("a", "b"), [("A", "B"), ("B", "A"), ("A1", "A2"), ("C2", "B1")])
@pytest.mark.parametrize("lost", ["", " (lost in processing)", " (not received)"])
def test_letters_of_a_list_need_no_mark(frame: str, a: str, b: str, lost: str) -> None:
    for n, (one, other) in enumerate(itertools.product(CORES, OTHERS)):
        said = frame.format(a=a, b=b, one=one, other=other, lost=lost).replace("¶", "\n")
        finding = OF_A_LETTER[n % len(OF_A_LETTER)]
        core, clot = finding.format(a, 40), finding.format(b, 80)
        assert parse(f"{said}\n{clot}").value is None, said
        assert parse(f"{said}\n{a}: -\n{clot}").value is None, said
        assert parse(f"{said}\n{a} consists of cortical bone. {clot}").value is None, said
        if not lost:
            assert parse(f"{said}\n{core}").value == 40, said + core
            assert parse(f"{said}\n{core} {clot}").value in (40, None), said + core
            both = f"{b} shows 80% cellularity; {a} shows 40% cellularity."
            assert parse(f"{said}\n{both}").value in (40, None), both


@pytest.mark.parametrize("rest", ["a clot and a smear", "B cells", "a section of a vertebra"])
def test_an_article_and_cells_are_no_letters(rest: str) -> None:
    for core in CORES:
        assert parse(f"Received: a {core}, 12 mm; {rest}. Marrow cellularity 40%.").value == 40
    assert parse(f"Core biopsy: 40% cellular, {rest} in 5% of the cells.").value in (40, None)


@pytest.mark.parametrize("clot", ["Aspiratgerinnsel", "Markkoagel", "Aspirationsclot"])
def test_a_german_word_that_ends_in_clot_is_one(clot: str) -> None:
    for v in (10, 45, 90):
        both = f"{clot}: Zellgehalt 30 %. Stanze: Zellgehalt {v} %."
        assert parse(both).value == v
        assert parse(f"A: {clot}, B: Stanzzylinder.\nA: Zellgehalt {v} %.").value is None
        assert parse(f"{clot}: Zellgehalt {v} %. Stanze: kein Mark.").value is None
