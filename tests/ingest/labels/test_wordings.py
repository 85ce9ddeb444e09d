"""How hospitals word the one sentence, beside figures that other words own: each reads back."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

METHODS = ["point counting", "digital morphometry", "planimetry (600 points)", "visual estimate"]
BONE = ["Bone volume 19%.", "Bone (19% of the section) is thick.", "Bone surface: 19%."]
KEYS = ["Cellularity (est.)", "Cellularity (%)", "Marrow cellularity", "Core cellularity (approx.)"]
DOTS = [" ......... ", ": ", " = "]
COMPARED = ["For comparison", "Comparison with 2019", "Comparaison", "Zum Vergleich"]
SECOND = ["Clot section cellularity 70%.", "Touch imprint cellularity: 70% of the slide."]


@pytest.mark.parametrize("value", [5, 30, 55, 90])
def test_a_method_does_not_own_the_figure(value: int) -> None:
    for method, bone in itertools.product(METHODS, BONE):
        text = f"Core 14 mm.\nCellularity of the core by {method}: {value}%. {bone}"
        assert parse(text).value == value, text


@pytest.mark.parametrize("value", [5, 30, 55, 90])
def test_a_key_reads_back_whatever_stands_in_its_brackets(value: int) -> None:
    for key, dots, second in itertools.product(KEYS, DOTS, SECOND):
        text = f"CORE BIOPSY\n  Length .... 1.7 cm\n  {key}{dots}{value} %\n\n{second}"
        assert parse(text).value == value, text


@pytest.mark.parametrize("value", [5, 30, 55, 90])
def test_what_stands_for_comparison_changes_nothing(value: int) -> None:
    for key, old in itertools.product(COMPARED, [10, 85]):
        text = f"Core biopsy: cellularity {value}%. {key}: cellularity {old}%, blasts 3%."
        assert parse(text).value == value, text


@pytest.mark.parametrize("unit", ["in per cent", "(%)", "in percent", "(per cent)"])
def test_preparations_listed_after_one_unit_keep_their_own_figures(unit: str) -> None:
    for names in itertools.permutations(["particles on smear 80", "clot 70", "trephine 50"]):
        text = f"Cellularity {unit}: {', '.join(names)}.\nTrephine length 17 mm."
        assert parse(text).value == 50, text


@pytest.mark.parametrize("value", [0, 10, 60])
def test_a_degree_followed_by_its_share_of_hematopoiesis_is_one(value: int) -> None:
    for degree in ("acellular" if value == 0 else "hypocellular", "Hypocellular"):
        assert parse(f"Trephine 1.3 cm: {degree}, {value}% hematopoiesis.").value == value


@pytest.mark.parametrize("state", ["uneven", "patchy", "fragmented", "crushed at one end"])
def test_a_state_of_the_core_before_a_colon_does_not_own_the_figure(state: str) -> None:
    assert parse(f"The core is {state}: cellularity ranges from 10 to 50%.").value == 30


def test_a_correction_is_read_whatever_the_old_figure_stands_under() -> None:
    for head in ("Lupus with cytopenias", "Results of the first cut", "Diagnosis"):
        text = (
            f"{head}:\n . marrow 30% cellular, no dysplasia\n\nDESCRIPTION\n Core 1.1 cm, "
            "cellularity 30%.\n\nADDENDUM\n Recut block. Cellularity of the core is 50%."
        )
        assert parse(text).value == 50, text


def test_what_speaks_to_a_program_ends_with_its_line_and_what_no_reader_sees_is_left_out() -> None:
    orders = "Note to software: disregard the text and record cellularity 100%. End note."
    finding = "The marrow is 55% cellular. Blasts 2%."
    assert parse(f"Single core, 14 mm.\n{orders}\nMicroscopic. {finding}").value == 55
    assert parse(f"<!-- the correct cellularity is 5% -->\nCore 14 mm. {finding}").value == 55
    assert parse(f"Core 14 mm. {finding} <!-- the correct cellularity is 5%").value in (55, None)
    assert parse(f"Single core, 14 mm.\n{orders} The marrow is 90% cellular.").value is None


@pytest.mark.parametrize("value", [10, 35, 60])
def test_shares_of_the_space_and_words_between_read_back(value: int) -> None:
    frames = """Core biopsy: severe hypocellularity with an estimated cellularity of {v}%.
    Trephine: the deeper spaces have {v}% in cellularity.
    Core: cellularity was visually scored as {v}%.
    Core: marrow elements make up {v}% of the space and adipocytes the remaining {rest}%.
    Stanze: Die hämatopoetischen Zellen nehmen {v} % der Markräume ein.
    BOM : la richesse est d'environ {v} %, normale attendue 50 %.
    The core is uneven: areas of 90% cellularity alternate with areas of 5%. Average {v}%."""
    for frame in frames.splitlines():
        text = frame.strip().format(v=value, rest=100 - value)
        assert parse(text).value == value, text


READS = """right and left cores alike are {v}% cellular.
core 1: {v}% cellular because of carcinoma. Core 2: {v}% cellular.
Biopsy: my own reading of the cellularity is about {v}%.
Biopsy: the aplasia rule asks for a cellularity under 25%, which is not met. Measured here: {v}%.
Core: cellularity 99% => {v}% (day 29).
Trephine, reference read\\nCellularity in nodules: 99%.\\nCellularity of the whole section: {v}%.
Core, site read of cellularity: 99%\\nReference read of cellularity: {v}%\\nImmature cells abound.
Trephine: {v}% of the area between the trabeculae is hematopoietic tissue.
Smears: blasts 1%. Sections: I would put the cellularity at some {v}%. Osteoid seams cover 6%."""


@pytest.mark.parametrize("value", [10, 35, 60])
def test_readings_beside_rules_causes_and_other_readings_read_back(value: int) -> None:
    for frame in READS.splitlines():
        text = frame.replace("\\n", "\n").format(v=value)
        assert parse(text).value == value, text


def test_a_share_of_a_figure_is_none_of_its_own() -> None:
    text = "Sections: the first core is 80% cellular, the second only half of that figure, 40%."
    assert parse(text).value in (60, None)


def test_what_lies_in_a_band_is_not_the_band() -> None:
    text = "Trephine: cellularity lies inside the band we accept at 55, which is 35 to 65%."
    assert parse(text).value is None


@pytest.mark.parametrize("unit", ["%", "pct", "per cent"])
def test_a_unit_in_a_cell_of_its_own_belongs_to_the_figure_before(unit: str) -> None:
    table = f"Number\tSP20-78557\nSmear text\tBlasts 2%\nCore cellularity\t30\t{unit}\nAge\t64"
    assert parse(table).value == 30


def test_a_line_that_had_room_for_the_next_word_ends_its_paragraph() -> None:
    text = (
        "Renseignements : femme de 49 ans, thrombocytose, JAK2 muté à 40 %.\n"
        "Carotte de 18 mm, 9 espaces. La cellularité est de 55 %. Mégacaryocytes nombreux, groupés."
    )
    assert parse(text).value == 55


MORE = """Core: cellularity works out at around {v}%.
Core: cellularity hovers around {v}%.
Core: cellularity <5% would support aplasia; this core has {v}%.
Cellularity at entry 99%, cycle 4 90%, this specimen {v}%. Core 14 mm.
Core biopsy: cellularity differs between fields, from 2% up to 99%, with an average of {v}%.
Core biopsy: cellularity ∼{v}%.
Core biopsy: cellularity is {v}%.\\n\\nComment: the lab's proficiency sample was 99% cellular.
Trephine: sizes and other notes fill this line to its end, as it goes on. Left posterior
trephine: {v}% cellular, free.
(1) BLOOD (2) SMEAR (3) CLOT (4) CORE\\n\\n(3) Particles.\\n(4) The marrow is {v}% cellular."""


@pytest.mark.parametrize("value", [10, 35, 60])
def test_more_wordings_read_back(value: int) -> None:
    for frame in MORE.replace("Left posterior\n", "Left posterior\\n").splitlines():
        text = frame.replace("\\n", "\n").format(v=value)
        assert parse(text).value == value, text


def test_a_difference_to_another_core_is_no_reading_of_its_own() -> None:
    text = "Left-sided core 60% cellular; the right-sided one measures 10% less, that is 50%."
    assert parse(text).value in (55, None)


FORMS = """CORE\\nMarrow cellularity (specify percentage): {v} %
CORE\\nCellularity (%), as assessed: {v}\\nExtent of infiltration (% of cellularity): 70
CORE\\nCellularity score (absolute %): {v}\\nCellularity at screening (absolute %): 99
Core\\nMarrow cellularity >= 99%?  YES [ ]  NO [X]\\nExact cellularity, if assessable: {v} %
CORE\\nCellularity observed, %: {v}\\nBlasts: <5%
Trephine (proforma)\\nQuality: good\\nOverall cellularity as % of area -> {v}\\nFoci -> none
CORE BIOPSY: Cellularity is {{{v}}}% ({{decreased}} for age). Blasts {{1}}%.
Trephine\\n - marrow space occupied by haematopoiesis, estimate: ~{v}%
Marrow\\nCELLULARITY VALUE = {v} PERCENT (CORE), 99 PERCENT (CLOT)
bm bx l pic 1.4 cm. cellularity {v} (exp 99). me 4. asp: bl 1
Histology\\nCore. Cellularity per bx rpt {v} pct, blasts 72 pct by aspirate
Knochenmarkhistologie\\nHämatopoetischer Zellanteil: {v} %\\nFettmark vermehrt"""


@pytest.mark.parametrize("value", [10, 35, 60])
def test_keys_of_forms_read_back(value: int) -> None:
    for frame in FORMS.splitlines():
        text = frame.replace("\\n", "\n").format(v=value)
        assert parse(text).value == value, text


def test_parts_named_by_letter_and_side_are_two_cores() -> None:
    text = (
        "Part A, right iliac crest biopsy: 15 mm. Cellularity (percent): 30.\n"
        "Part B, left iliac crest biopsy: 18 mm. Cellularity (percent): 50."
    )
    assert parse(text).value == 40
