"""Frames of sentences and layouts that tie a figure, and the same frames with another noun."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ingest.labels.rules import parse

LEADS = {
    "en": "Bone marrow core biopsy:\n{}\nMegakaryocytes are normal in number.\n",
    "de": "Knochenmarkstanze:\n{}\nDie Megakaryozyten und das Eisen sind regelrecht.\n",
    "fr": "Biopsie ostéo-médullaire :\n{}\nLes mégacaryocytes et la réticuline sont normaux.\n",
}
FRAMES = r"""en|The cellularity, allowing for the subcortical site of some tissue, is about {v}%.
en|Cellularity is within the expected range for age, estimated at {v}%.
en|Cellularity is below the expected range for age, at {v}%.
en|CELLULARITY ESTIMATE, CORE: {v}%
en|Sections of the core show fragments of bone with marrow of {v}% cellularity.
en|Cellularity hard to judge given crush artefact; best guess {v}%.
en|Cellularity: hard to be sure owing to crush; in the better preserved half {v}%.
en|It's aplastic, basically - we're calling it {v}% cellular.
en|Subcortical marrow (97% cellular, not typical), and under it marrow which is {v}% cellular.
en|Bilateral trephines, R) {v}% L) {v}% cellular.
en|Hypercellular {v}%.
en|TREPHINE Cellular {v} % (age 71), streaming effect.
en|[4] Age-matched upper limit         97%\n[5] Cellularity                     {v}%
en|Cellularity {v}%. Note that cellularity over 60% with panmyelosis would favor PV.
en|Overall cellularity (average of both): {v}%*\n*weighted for the length of marrow.
en|The cellularity including leukemic cells is {v}%.
en|Bilateral cores, {v}% (R) and {v}% (L) cellular.
de|Die Stanze zeigt ein zu {v} % zellhaltiges Mark.
de|Das Knochenmark ist mit {v} % für das Alter hypozellulär.
de|Altersentsprechend zelluläres Knochenmark ({v} %).
de|Hypozelluläres Mark mit einer Zellularität um {v} %.
de|Die Zellularität ist von 97 % auf {v} % gesunken.
fr|Densité cellulaire {v} % pour l'âge.
fr|Les lacunes médullaires sont comblées à {v} % par l'hématopoïèse.
en|Although uneven, taken over the whole core the cellularity comes to {v}%.
en|Adipocytes take up {rest}% of the space, hematopoietic cells the remaining {v}%.
en|The marrow is replaced by sheets of blasts and is {v}% cellular.
en|The core is a bit less cellular than expected, at {v}%.
en|Hypocellular to normocellular for a 79-year-old, {v}% in my estimation.
en|Hypercellular; my estimate {v}%.
en|Cellularity is difficult to assess because of fragmentation but is of the order of {v}%.
en|Cellularity is {v}% when the subcortical marrow is left out.
en|The marrow seems hypocellular at {v}% given that 60% would be expected.
en|Overall % cellularity (nearest 5): {v}
en|Cellularity {v}%, with aggregates of mast cells, in all occupying 10% of the marrow.
en|The infiltrate is patchy, and with these levels the cellularity is {v}%.
en|12. Age-expected cellularity, % .... 70\n13. Observed cellularity, % .... {v}
en|The diagnostic core (BM-12-00391) was 97% cellular.\nCellularity is {v}%.
en|In the previous marrow the cellularity was 30%. In the present biopsy it has risen to {v}%.
en|Fatty spaces (under 10% cellular) are not considered representative. Cellularity is {v}%.
en|I make it {v}% cellular this time; the day 30 one was 15%.
en|We consider the marrow to be less cellular than stated, namely {v}%.
en|Cellular marrow which now occupies some {v} per cent of the available space, the rest fat.
en|Core: 10 mm, cell. {v}%, oedema.
en|Cellularity: {v} % marrow cells, {rest} % fat cells.
en|Core came out of decal an hour ago: it looks regenerative, I would call it {v}% cellular.
de|Mittlerer Zellgehalt des Marks {v} %, altersentsprechend wären 30-40 %.
fr|La cellularité est évaluée à {v} % (au diagnostic : 97 %).
en|Marrow is, with regard to age, of adequate cellularity, cca {v} % (lower limit 98 %).
en|The marrow shows a cellularity that oscillates between {v} and {v} per cent.
en|The fat to cell ratio of the marrow is {rest}:{v}.
en|1. Cellularity / Ląsteliškumas: {v} %
de|Geschätzte Zellularität {v} %.
de|Bei einer Zellularität von {v} % altersentsprechendes Mark.
de|Zellularität hochgradig reduziert, {v} % (altersentsprechend wären 70-80 %).
de|Mit {v} % ist die Zellularität für das Alter normal.
de|Zellularität im Durchschnitt {v} %.
de|Zellularität {v} % bei einem Erwartungswert von 50 %.
de|Altersentsprechend wäre eine Zellularität von 97 %, vorliegend {v} %.
de|Markraumfüllung ca. {v} %, davon etwa 85 % durch ein Infiltrat bedingt.
de|Vorbefund B19.2203: Markzellularität 97 %.\nJetzt Zellularität {v} %.
de|Gegenüber der Vorbiopsie (Nr. K 3318/17, Zellularität 97 %) jetzt Zellularität {v} %.
fr|La cellularité a diminué à {v} %.
fr|La cellularité n'est plus que de {v} %.
fr|Le taux de cellularité est de {v} %.
fr|Par rapport à la biopsie précédente (97 %), la cellularité est de {v} %.""".splitlines()


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_of_the_cellularity_gives_its_figure(frame: str) -> None:
    tongue, _, said = frame.replace("\\n", "\n").partition("|")
    for v in (10, 25, 40, 65, 90):
        text = LEADS[tongue].format(said.format(v=v, rest=100 - v))
        assert parse(text).value == v, text


NOUNS = ("plasma cells", "tumor", "lymphoid cells", "blasts", "fibrosis", "storage cells")
OWNED = """Adipocytes take up 60% of the space, {noun} the remaining 40%.
Fat 60%, {noun} 40%.
{noun} 40%, fat 60%.
Hypercellular; my estimate of {noun} 40%.
Hypercellular; {noun} 40%.
Cellularity is difficult to assess because of {noun} of 40%.
The marrow is replaced by {noun} (95%).
When the subcortical marrow is left out, {noun} 40%.
The core shows less {noun} than expected, at 40%.
Cellularity to the nearest 5%: not done. {noun} 40%.
Compared with the prior biopsy, where the cellularity was 40%, more {noun}.
Given that 60% would be expected, the marrow is hypocellular with {noun}.
Cellularity hard to judge given crush artefact; {noun} 40%.
Cellularity hard to judge; best guess of {noun} 40%.
The cellularity is normal, including {noun} of 40%.
The marrow with {noun} of 40% is cellular.
Cellularity is within the expected range for age, {noun} estimated at 40%.
The expected cellularity for age, estimated at 40%, is not met with {noun}.
Cellularity um 40 % vermindert, {noun}.
In the subcortical marrow, allowing for {noun}, the cellularity is 40%.""".splitlines()


def test_another_noun_in_the_same_frame_owns_the_figure() -> None:
    for frame, noun in itertools.product(OWNED, NOUNS):
        text = LEADS["en"].format(frame.format(noun=noun))
        assert parse(text).value is None, text


@given(
    value=st.integers(0, 100),
    mark=st.sampled_from([": ", ",", ";", "\t", "|", "="]),
    name=st.sampled_from(["core_cellularity_pct", "BX_CELL_PCT", "biopsy_cellularity_percent"]),
    upper=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_an_export_by_the_names_of_fields_is_read(
    value: int, mark: str, name: str, upper: bool
) -> None:
    rows = [("aspirate_cellularity_pct", 77), ("expected_cellularity_pct", 33), (name, value)]
    rows += [("core_length_mm", 17), ("asp_blasts_pct", 12), ("clot_cellularity_pct", 66)]
    for order in (rows, rows[::-1]):
        lines = [f"{key.upper() if upper else key}{mark}{said}" for key, said in order]
        assert parse("\n".join(lines)).value == value, lines


@given(then=st.integers(5, 95), before=st.integers(5, 95), now=st.integers(5, 95))
@settings(max_examples=60, deadline=None)
def test_the_column_of_this_biopsy_is_the_reading(then: int, before: int, now: int) -> None:
    assume(len({then, before, now}) == 3)
    rows = [("", "Mar-2016", "Oct-2018", "This biopsy (Jun-2021)"), ("Hct %", 47, 44, 36)]
    rows += [("Cellularity %", then, before, now), ("CD34 %", 1, 1, 4)]
    for mark, title in itertools.product(("\t", " | "), ("", "SERIAL SUMMARY\tRoad Clinic\n")):
        if mark == "\t" or not title:
            text = title + "\n".join(mark.join(map(str, row)) for row in rows)
            assert parse(f"{text}\n\nTrephine biopsy, 15 mm.").value == now, text


@given(local=st.integers(5, 95), central=st.integers(5, 95))
@settings(max_examples=40, deadline=None)
def test_the_reading_of_the_panel_is_the_one_that_counts(local: int, central: int) -> None:
    for names, said in (
        ("Local pathologist | Central reviewer", f"{local}% | {central}%"),
        ("Panel consensus | Site", f"{central}% | {local}%"),
    ):
        text = f"Core biopsy\n\n| {names}\nCellularity | {said}\nReticulin | MF-0 | MF-1"
        assert parse(text).value == central, text


@given(right=st.integers(5, 95), left=st.integers(5, 95))
@settings(max_examples=40, deadline=None)
def test_a_side_stands_above_the_keys_of_its_samples(right: int, left: int) -> None:
    text = "\n".join(
        f"{side}\n  Aspirate: few blasts.\n  Biopsy: 12 mm. {value}% cellular. No tumor."
        for side, value in (("RIGHT", right), ("LEFT", left))
    )
    assert parse(f"Bilateral biopsies.\n\n{text}").value == (right + left) / 2


@given(old=st.integers(5, 95), new=st.integers(5, 95))
@settings(max_examples=40, deadline=None)
def test_a_correction_names_the_old_figure_first(old: int, new: int) -> None:
    assume(old != new)
    report = f"CORE BIOPSY\n{old}% cellular, with 30% blasts.\n\n"
    for said in (
        f"The cellularity above was transcribed as {old}%. The correct value is {new}%.",
        f"Hypercellular marrow ({new}% cellular) with dysplasia and 7% blasts.",
        f"The infiltrate is patchy, and with these the cellularity is amended to {new}%.",
    ):
        assert parse(f"{report}ADDENDUM - CORRECTION: {said}").value == new, said


@pytest.mark.parametrize("mark", ["- ", "* ", "• "])
def test_a_finding_of_a_list_is_no_heading_of_the_next(mark: str) -> None:
    findings = ["PLASMA CELL NEOPLASM; see comment", "80% CELLULAR MARROW", "NO AMYLOID"]
    for order in itertools.permutations(findings):
        text = "\n".join(mark + finding for finding in order)
        assert parse(f"Bone marrow core biopsy, clot and aspirate\n\n{text}").value == 80, text


def test_a_dictation_speaks_its_marks() -> None:
    said = (
        "microscopic colon this is an adequate trephine comma the marrow is hypercellular with an "
        "overall cellularity of sixty percent open bracket expected thirty percent close bracket "
        "full stop blasts are eight percent full stop new paragraph the aspirate showed seven "
        "percent blasts full stop new paragraph conclusion colon dysplasia full stop"
    )
    assert parse(said).value == 60


def test_a_fraction_ends_where_the_next_begins() -> None:
    for frame in ("Between a half and two thirds of the marrow space is cellular.",):
        assert parse(LEADS["en"].format(frame)).value == pytest.approx(58.33, abs=0.5)


def test_a_specimen_s_reference_is_the_observation_s_material() -> None:
    def observation(specimen: str, name: str, value: float) -> dict[str, object]:
        quantity = {"value": value, "unit": "%"}
        where = {"reference": f"#{specimen}"}
        return {"specimen": where, "code": {"text": name}, "valueQuantity": quantity}

    specimens = [
        {"resourceType": "Specimen", "id": "s1", "type": {"text": "Bone marrow core biopsy"}},
        {"resourceType": "Specimen", "id": "s2", "type": {"text": "Bone marrow aspirate smear"}},
    ]
    core, other = ("s1", "Marrow cellularity", 35), ("s2", "Marrow cellularity", 80)
    for order in ((core, other), (other, core)):
        contained = [*specimens, *(observation(*one) for one in order)]
        assert parse(json.dumps({"contained": contained})).value == 35


@pytest.mark.parametrize("sign", ["(per cent)", "percent", "%"])
def test_the_sign_of_ticked_ranges_may_stand_once(sign: str) -> None:
    ranges = ["<5", "5-20", "21-40", "41-60", "61-80", "81-100"]
    for n, key in itertools.product(range(1, 5), ("Cellularity ", "Cellularity (core) . ")):
        boxes = "  ".join(f"[{'x' if k == n else ' '}] {said}" for k, said in enumerate(ranges))
        low, high = map(int, ranges[n].split("-"))
        said = f"TREPHINE\n [x] received   length 12 mm\n {key}{boxes} {sign}\n Iron [x] normal"
        assert parse(said).value == (low + high) / 2, said


@pytest.mark.parametrize("aside", ["2 days later; Dr. H. B.", "6 days later; reason: levels"])
def test_an_addendum_takes_a_figure_back_or_the_earlier_one_only(aside: str) -> None:
    report = f"CORE\nFew areas. 20% cellular.\n\nADDENDUM ({aside}): "
    gone = "The marrow cellularity cannot be assessed. The figure of 20% is withdrawn."
    new = "On deeper levels cellularity is 70%, and the earlier figure should be disregarded."
    assert parse(report + gone).value is None
    assert parse(report + new).value == 70


def test_cores_of_one_side_are_counted_by_their_numbers() -> None:
    sides = ("right, 12 mm", "right, 9 mm", "left, 15 mm")
    for values in itertools.permutations((20, 30, 40)):
        lines = (
            f"Core {n} ({side}): cellularity {value}%; few megakaryocytes."
            for n, (side, value) in enumerate(zip(sides, values, strict=True), 1)
        )
        assert parse("Trephine x 3\n\n" + "\n".join(lines)).value == 30


def test_brackets_that_begin_with_a_time_hold_what_was_then() -> None:
    for then in ("[baseline 85 %; post induction 50 %]", "(previous 85 %, day 28 10 %)"):
        text = f"TREPHINE BX\n 1. Specimen     1 core, 14 mm\n 2. Cellularity  35 %   {then}"
        assert parse(text).value == 35, text


@given(values=st.permutations([20, 45, 70]))
@settings(max_examples=6, deadline=None)
def test_the_adjudicated_column_counts_and_those_of_readers_do_not(values: list[int]) -> None:
    a, b, agreed = values
    head = "                          Reader A     Reader B     Adjudicated"
    rows = f"Cellularity (%)           {a}           {b}           {agreed}"
    assert (
        parse(f"Core biopsy\n\n{head}\n{rows}\nMF grade (0-3)            2   2   2").value == agreed
    )


@pytest.mark.parametrize(
    "place", ["Clinical Center, Department of Pathology", "Clinical Institute"]
)
def test_an_institute_above_all_is_no_history(place: str) -> None:
    said = "Hemopoietic cells occupy around 10 % of the intertrabecular area."
    assert parse(f"{place}\n\nBiopsy of the bone marrow, 15 mm.\n{said}").value == 10


@pytest.mark.parametrize(
    "place", ["Outside hospital report", "Referring institute", "Prior center"]
)
def test_a_report_of_another_institute_is_no_finding(place: str) -> None:
    said = "The marrow is 80% cellular with 9% blasts."
    assert parse(f"{place}\n\n{said}").value is None


def test_the_sign_of_rtf_is_one_of_per_cent() -> None:
    said = r"{\rtf1\ansi CORE BIOPSY\par Micro: Normocellular marrow, cellularity 35\%-45\% at 63.}"
    assert parse(said).value == 40


def test_a_side_before_a_colon_is_the_core_s() -> None:
    lines = "Specimen A. Right iliac crest: cylinder 15 mm. Cellularity {}%. Three series.\n"
    lines += "Specimen B. Left iliac crest: cylinder 18 mm. Cellularity {}%. Three series."
    for right, left in itertools.permutations((20, 60, 90), 2):
        assert parse(lines.format(right, left)).value == (right + left) / 2


def test_an_unknown_word_before_the_cellularity_owns_its_figure() -> None:
    for noun, key in itertools.product(("Tumor", "Asp", "Stromal"), ("cellularity (%)", "cell %")):
        assert parse(LEADS["en"].format(f"{noun} {key}: 40")).value is None, (noun, key)
    lost = "The cellularity that remains in 40% of the sample is fat."
    assert parse(LEADS["en"].format(lost)).value is None


OTHER_SHARES = """Core: 15% more cellular than expected for age.
Core: marrow is 20% less cellular than last time.
Trephine: 20% below normal cellularity.
BOM : cellularité diminuée de 30 %.
Core: cellularity assessed on 60% of the section.
Core: cellularity assessable in only 20% of the section.
KM-Stanze: Zellularität nur an 30 % der Stanze beurteilbar.
BOM : cellularité évaluable sur 30 % du fragment.""".splitlines()


@pytest.mark.parametrize("said", OTHER_SHARES)
def test_a_difference_or_a_share_of_the_section_is_no_cellularity(said: str) -> None:
    assert parse(said).value is None


@pytest.mark.parametrize("status", [*"DWXIR", "entered-in-error", "cancelled"])
def test_a_result_that_stands_no_more_gives_nothing_and_hides_nothing(status: str) -> None:
    if len(status) == 1:
        row = "OBX|{}|NM|CELL^Cellularity core||{}|%|||||{}"
        old, new = row.format(1, 65, status), row.format(2, 40, "F")
        assert parse(f"MSH|^~\\&|A|B|C|D|2020||ORU^R01|1|P|2.5\r{old}").value is None
        assert parse(f"MSH|^~\\&|A|B|C|D|2020||ORU^R01|1|P|2.5\r{old}\r{new}").value == 40
        return
    quantity = {"code": {"text": "Core cellularity"}, "valueQuantity": {"value": 65, "unit": "%"}}
    old, new = {"status": status, **quantity}, {"status": "final", **quantity}
    new["valueQuantity"] = {"value": 40, "unit": "%"}
    assert parse(json.dumps(old)).value is None
    assert parse(json.dumps([old, new])).value == 40


@pytest.mark.parametrize("noun", ["tumor", "tumour", "blast", "nodule", "fat", "control"])
def test_a_field_of_another_noun_is_none_of_the_cellularity(noun: str) -> None:
    rows = [f"{noun}_cellularity_pct;60", "core_length_mm;12", "asp_blasts_pct;3", "hb_g_dl;9"]
    assert parse("\n".join(rows)).value is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Current", "Reference"), 20),
        (("Biopsy", "Aspirate"), 20),
        (("Now", "Before therapy"), 20),
        (("Right", "Left"), 55),
        (("Pathologist 1", "Pathologist 2"), None),
        (("Reader 1", "Reader 2"), None),
    ],
)
def test_cells_that_name_the_cellularity_themselves_go_by_their_columns(
    names: tuple[str, str], expected: float | None
) -> None:
    for order in (0, 1), (1, 0):
        head = " | ".join(names[n] for n in order)
        row = " | ".join(f"Cellularity {(20, 90)[n]}%" for n in order)
        for rule in ("", "|---|---|\n"):
            text = f"Core biopsy\n\n| {head} |\n{rule}| {row} |\n"
            assert parse(text).value == expected, text


@pytest.mark.parametrize(
    "text",
    [
        "[" * 900 + "]" * 900,
        "a_" * 300_000,
        "\n".join(["core_note_txt;" + "x" * 200_000] * 9),
        "\n".join(["core_note_txt;a\0b"] * 9),
    ],
)
def test_what_is_no_export_does_no_harm(text: str) -> None:
    assert parse(text).value is None
