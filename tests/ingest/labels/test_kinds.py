"""Kinds of statement that hospitals make: a part set aside, a denial, a share of one, a form."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ingest.labels.reports import read_reports
from ingest.labels.rules import parse


def value(text: str, lead: str = "CORE BIOPSY: ") -> float | None:
    return parse(lead + text).value


ASIDES = ["subcortically", "in the subcortical spaces", "in subcapsular marrow"]
DEEP = [
    "in the deep marrow",
    "in deeper areas",
    "elsewhere",
    "in the deeper intertrabecular spaces",
]


@given(low=st.integers(2, 45), high=st.integers(50, 98), aside=st.sampled_from(ASIDES))
@settings(max_examples=40, deadline=None)
def test_beside_a_part_set_aside_the_other_is_the_reading(low: int, high: int, aside: str) -> None:
    for deep, text in itertools.product(
        DEEP,
        (
            "Cellularity varies from {a} {aside} to {b} {deep}.",
            "The cellularity ranges from {a} {aside} to {b} {deep}.",
            "Cellularity is {a} {aside} and {b} {deep}.",
            "Cellularity is {b} {deep}, falling to {a} {aside}.",
            "Cellularity {b}, {aside} {a}.",
            "Cellularity of {b}, with {a} {aside}.",
        ),
    ):
        said = text.format(a=f"{low}%", b=f"{high}%", aside=aside, deep=deep)
        assert value(said) == high, said
    for text in (f"Cellularity {low}% {aside}.", f"Blasts vary from {low}% {aside} to {high}%."):
        assert value(text) is None, text


DENIALS = """Cellularity is not {old} as stated in the {draft} but {new}.
The marrow is {new} cellular and not {old} as given in the {draft}.
The core is not {old} but {new} cellular.
Cellularity is {new}, not {old} as stated in the {draft}.
Cellularity is {new} and not, as in the {draft}, {old}.
Cellularity should read {new} and not {old}.
Correction: cellularity is {new}, not {old}.
Die Zellularität beträgt nicht {old}, sondern {new}.""".splitlines()


@given(old=st.integers(1, 99), new=st.integers(1, 99))
@settings(max_examples=40, deadline=None)
def test_what_is_denied_is_no_finding_and_what_replaces_it_is(old: int, new: int) -> None:
    assume(old != new)
    for denial, draft in itertools.product(DENIALS, ("draft", "preliminary report")):
        text = denial.format(old=f"{old}%", new=f"{new}%", draft=draft)
        assert value(text) == new, text
    assert value(f"Cellularity is not {old}%.") is None


SHORT = """CELL: {f}
Cell {f}
Cell: {f}. Meg: adequate.
cell. {f}, megs ok
Cell'ty: {f}
cellty {f}
cell'y {f}
{f} cell.
{f} cell, three lines
Cellularity est. {f}
hypercell. ({f})
normocell, {f}""".splitlines()


@pytest.mark.parametrize("short", SHORT)
@pytest.mark.parametrize("lead", ["BMBX: ", "TREPHINE BIOPSY\n", "Core biopsy. ", "Bx 12 mm | "])
def test_short_words_for_the_cellularity_are_read(short: str, lead: str) -> None:
    for said, expected in {"40%": 40, "60-70 %": 65, "<10%": 5}.items():
        text = lead + short.format(f=said) + "\nBlasts: 3%\nM:E 3:1"
        assert parse(text).value == expected, text
    for noun in ("Plasma cell", "B cell", "Cell count", "Mast cell", "NK cell", "Cell viability"):
        assert value(f"hypercellular. {noun}: 12%\n12% {noun.lower()}.") is None, noun


OF_ONE = """Cellularity {n}.
Cellularity: {n}
Trephine 15 mm, cellularity {n}, adequate.
Cellularity = {n} (normal 0.3-0.6)
The cellularity is {n}.
Marrow cellularity is estimated at {n}.
Cellularity (fraction of one): {n}
Zellularität: {n}""".splitlines()


@given(share=st.integers(1, 99))
@settings(max_examples=40, deadline=None)
def test_a_share_of_one_under_the_cellularity_is_one_of_a_hundred(share: int) -> None:
    for frame, mark in itertools.product(OF_ONE, ".,"):
        text = frame.format(n=f"{share / 100:.2f}".replace(".", mark))
        assert value(text) == pytest.approx(share), text
    n = f"{share / 100:.2f}"
    assert value(f"Cellularity {n}%.") == pytest.approx(share / 100)
    for text in (
        f"Cellularity normal. M:E ratio {n}.",
        f"Cellularity normal, CD34 {n}.",
        f"Cellularity: see text. Blasts: {n}",
        f"Cellularity in a core of {n} cm: normal.",
        f"Hypercellular core, {n} cm.",
    ):
        assert value(text) is None, text


FRACTIONS = [(a, b) for b in (2, 3, 4, 5, 10) for a in range(1, b)]


@pytest.mark.parametrize(("a", "b"), FRACTIONS)
def test_a_fraction_in_figures_is_a_share_and_a_grade_is_none(a: int, b: int) -> None:
    for text in (
        f"Haemopoietic tissue occupies {a}/{b} of the marrow space.",
        f"About {a}/{b} of the intertrabecular space is haemopoietic.",
        f"Cellularity is approximately {a}/{b}.",
        f"The marrow is {a}/{b} cellular.",
    ):
        assert value(text) == pytest.approx(100 * a / b, abs=0.5), text
    for text in (
        f"Cellularity {a}/{b}.",
        f"Cellularity: grade {a}/{b}",
        f"Hypercellular. Reticulin {a}/{b}. Iron about {a}/{b}.",
        f"Lymphoma replaces {a}/{b} of the marrow space; cellularity is preserved elsewhere.",
    ):
        assert value(text) is None, text


SPACES = ["Marrow spaces", "The marrow space", "The intertrabecular spaces", "The medullary cavity"]
HOLDS = ["contain", "hold", "are composed of", "are occupied by", "consist of", "with"]
CELLS = ["haemopoietic tissue", "hematopoietic cells", "hematopoiesis", "haemopoietic marrow"]
OTHERS = ["blasts", "lymphoid tissue", "fat", "plasma cells", "fibrous tissue", "tumor cells"]


@pytest.mark.parametrize("holds", HOLDS)
def test_what_the_space_holds_of_blood_forming_cells_is_the_cellularity(holds: str) -> None:
    for space, cells in itertools.product(SPACES, CELLS):
        for rest in (".", ", the remainder being fat.", " and 60% fat.", "; no infiltrate."):
            assert value(f"{space} {holds} 40% {cells}{rest}") == 40, (space, cells, rest)
    for space, other in itertools.product(SPACES, OTHERS):
        assert value(f"Cellular core. {space} {holds} 40% {other}.") is None, (space, other)


NAMES = {"core": "bone marrow core biopsy", "clot": "clot section", "smear": "aspirate smear"}
DECLARED = [
    "Specimen A: {a}\nSpecimen B: {b}\n\n",
    "Part A: {a}. Part B: {b}.\n",
    "A. {a}\nB. {b}\n\n",
]
BY_LETTER = (
    """A: {f} cellular. B: {g} cellular.
Cellularity: A: {f}; B: {g}
Cellularity: A {f}, B {g}
Cellularity A: {f}. Cellularity B: {g}.
Cellularity:
A: {f}
B: {g}
A. Cellularity {f}. B. Cellularity {g}.
Part A microscopic: Cellularity {f}.
Part B microscopic: Cellularity {g}.""".replace("\nA: {f}\nB", "\\nA: {f}\\nB")
    .replace(".\nPart B", ".\\nPart B")
    .replace("Cellularity:\n", "Cellularity:\\n")
)


@pytest.mark.parametrize("said", BY_LETTER.splitlines())
@pytest.mark.parametrize("declared", DECLARED)
def test_a_figure_behind_the_letter_of_a_specimen_is_of_that_specimen(
    said: str, declared: str
) -> None:
    for other in ("clot", "smear"):
        for order, expected in ({"a": "core", "b": other}, 30), ({"a": other, "b": "core"}, 70):
            names = {letter: NAMES[kind] for letter, kind in order.items()}
            text = declared.format(**names) + said.replace("\\n", "\n").format(f="30%", g="70%")
            assert parse(text).value in (expected, None), text
    names = {"a": "bone marrow, left, core biopsy", "b": "bone marrow, right, core biopsy"}
    text = declared.format(**names) + said.replace("\\n", "\n").format(f="30%", g="70%")
    assert parse(text).value in (50, None), text


KEYS = ["Cellularity (0-100%)", "Cellularity (%)", "Cellularity (in %)", "Cellularity [%]"]
KEYS += ["Estimated cellularity (0 - 100 %)", "% cellularity", "Cellularity, percent (0-100)"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("join", ["\n", ":\n", ":\n  ", ": ", " = ", ": ___{}___"])
def test_a_form_s_scale_is_no_value_and_the_next_line_is(key: str, join: str) -> None:
    for said, expected in {"45": 45, "30-40": 35, "60 %": 60}.items():
        filled = join.format(said) if "{}" in join else join + said
        text = f"TREPHINE BIOPSY\n{key}{filled}\nBlasts (0-100%):\n3\nReticulin (0-3):\n1"
        assert parse(text).value == expected, text
    if "_" not in join:
        text = f"TREPHINE BIOPSY\n{key}{join}____\nBlasts (0-100%):\n3"
        assert parse(text).value is None, text


READERS = ["Reader 1", "Reader 2", "Baseline (week 0)", "Age-adjusted range", "Expected"]


@pytest.mark.parametrize("agreed", ["Adjudicated", "Consensus", "Overall", "Final"])
@pytest.mark.parametrize("head", ["CELLULARITY", "SECTION B - CELLULARITY", "Cellularity:"])
def test_rows_below_the_word_go_by_their_names(agreed: str, head: str) -> None:
    rows = [*READERS, agreed]
    for shift in range(len(rows)):
        order = rows[shift:] + rows[:shift]
        lines = "\n".join(f"  {row:20}{40 if row == agreed else 80} %" for row in order)
        text = f"TREPHINE BIOPSY\n\n{head}\n{lines}\n\nBLASTS\n  Reader 1            4 %"
        assert parse(text).value in (40, None), text
    assert parse(f"TREPHINE\n\n{head}\n  Reader 1   80 %\n  {agreed:15} 40 %").value == 40


TITLES = ["COMPREHENSIVE MARROW SUMMARY", "Bone marrow worksheet, final", "Pathology Lakeside"]


@pytest.mark.parametrize("title", TITLES)
def test_a_title_above_all_says_nothing_of_the_material(title: str) -> None:
    assert parse(f"{title}\nCore 12 mm. Cellularity 40%. Blasts 3%.").value == 40
    assert parse(f"{title}\n\nClot section\nCellularity 40%.\nCore: fragmented.").value is None
    table = "Parameter      Result     Reference\n{}\nCellularity    40 %       50-60 %"
    for rule in ("-" * 40, "=" * 40, "---   ---   ---"):
        assert parse(f"{title}\nCore biopsy.\n\n{table.format(rule)}").value == 40


def test_a_key_inside_a_wrapped_sentence_is_no_heading() -> None:
    text = "Core biopsy: good. Iron of\nsmear: absent.\n\nThe biopsy is 12 mm. It is 40% cellular."
    assert parse(text).value == 40
    text = "ASPIRATE\nThe smear is good. It is 40% cellular.\n\nThe core is 9 mm long. Blasts 3%."
    assert parse(text).value is None


WORDS = {"de": "Knochenmarkstanze für Frau Bär: Die Zellularität beträgt 40 %, gemäß Präparat."}
WORDS |= {
    "fr": "Biopsie ostéo-médullaire : la cellularité est évaluée à 40 %. Très bon prélèvement."
}
WORDS |= {"en": "Core biopsy: cellularity 40%, the patient’s first, “normal” for Dr. Müller."}


@pytest.mark.parametrize("tongue", WORDS)
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "mac_roman", "utf-16"])
def test_reports_in_any_usual_encoding_are_the_same(
    tongue: str, encoding: str, tmp_path: Path
) -> None:
    (tmp_path / "C1.txt").write_bytes(WORDS[tongue].encode(encoding))
    [report] = read_reports(tmp_path).reports
    assert report.text == WORDS[tongue]
    assert parse(report.text).value == 40


@pytest.mark.parametrize("state", ["adequate", "of good quality", "16 mm long", "fragmented"])
def test_a_paragraph_on_a_side_gives_its_figures_to_that_side(state: str) -> None:
    for sides, noun in itertools.product(
        (("right", "left"), ("left", "right")), ("core", "biopsy")
    ):
        text = "\n\n".join(
            f"The {side} {noun} is {state}. The marrow spaces are {figure} cellular."
            for side, figure in zip(sides, ("30%", "50%"), strict=True)
        )
        assert parse(f"BONE MARROW, BIOPSY:\n\n{text}").value == 40, text
    clot = "The clot is good. The particles are 80% cellular."
    assert parse(f"Core 9 mm.\n\n{clot}\n\nThe core is {state}. It is 40% cellular.").value == 40


@pytest.mark.parametrize("degree", ["severe", "marked", "mild"])
def test_a_degree_of_the_cellularity_is_no_criterion_and_one_of_a_disease_is(degree: str) -> None:
    assert value(f"{degree} hypocellularity with an estimated cellularity of 40%.") == 40
    assert value(f"Low power: {degree} hypercellularity, cellularity raised at 90%.") == 90
    assert value("Severe disease has a cellularity below 25%.") is None


def test_what_is_excluded_is_set_aside_and_a_share_beside_a_tumor_is_not_the_whole() -> None:
    for aside in ("the subcortical marrow", "subcortical areas", "subcapsular spaces"):
        assert value(f"Excluding {aside}, it is a 40% cellular marrow.") == 40, aside
        assert value(f"Cellularity excluding {aside} is 40%.") == 40, aside
        assert value(f"Excluding {aside} (10%), cellularity is 40%.") == 40, aside
        assert value(f"Cellularity of {aside} is 40%.") is None, aside
    for tumor in ("lymphoma", "carcinoma", "blasts"):
        text = f"Marrow spaces contain 20% haemopoietic tissue and 60% {tumor}."
        assert value(text) is None, text


@pytest.mark.parametrize("noun", ["haemorrhage", "cortical bone", "crush artefact", "fat"])
def test_a_reason_is_no_finding_and_an_age_in_a_norm_hides_none(noun: str) -> None:
    text = f"No percentage cellularity is given because 70% of the sample is {noun}."
    assert value(text) is None
    assert value(f"Because of {noun} the cellularity is estimated at 40%.") in (40, None)
    for age in (20, 50, 71):
        norm = f"Expected cellularity at {age} is 55%."
        assert value(f"Cellularity is 40%; {noun} is scanty. {norm}") == 40
        assert value(f"Hypercellular. {norm}") is None
