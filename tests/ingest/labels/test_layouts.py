# ruff: noqa: E501
"""Titles, numbered lengths, boxes, spoken corrections, ratios and scans, over generated inputs."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

VALUES = (5, 35, 60, 95)
FINDINGS = ["Cellularity is {v}%.", "The marrow is {v}% cellular.", "CELLULARITY.: {v}%", "Hypercellular ({v}%)."]  # fmt: skip
TITLES = """PLASMA CELL MYELOMA - RELAPSE|LYMPHOMA STAGING PROTOCOL|DAY 28 MARROW|Remission marrow, adult
ACUTE LEUKEMIA STUDY VISIT 3|Centre of hematology""".replace("\n", "|").split("|")


def test_a_title_above_all_says_nothing_of_a_finding_under_its_own_heading() -> None:
    for title, finding, v in itertools.product(TITLES, FINDINGS, VALUES):
        text = f"{title}\n\nAge 61.\n\nCore biopsy: {finding.format(v=v)}\n\nBlasts 3%."
        assert parse(text).value == v, text


def test_a_length_at_the_begin_of_a_line_is_the_number_of_no_specimen() -> None:
    for size, finding, v in itertools.product(("12 mm", "8 mm, two pieces", "15 mm long"), FINDINGS, VALUES):  # fmt: skip
        text = f"1. Clinical\nAnemia.\n2. Aspirate\nBlasts 3%.\n3. Trephine\n{size}. {finding.format(v=v)}"
        assert parse(text).value == v, text


@pytest.mark.parametrize("who", ["attending", "second signatory", "main unit"])
def test_who_signed_a_part_of_the_report_does_not_change_what_it_is_on(who: str) -> None:
    for word, v in itertools.product(("Final", "Diagnosis", "Microscopic description"), VALUES):
        text = f"CORE BIOPSY REPORT\n\n{word} ({who}): cellularity {v}%.\n\nBlasts 3%."
        assert parse(text).value == v, text
        for other in ("aspirate", "clot", "previous biopsy", "outside report"):
            text = f"CORE BIOPSY REPORT\n\n{word} ({other}): cellularity {v}%."
            assert parse(text).value is None, text


TURNS = ["no, {new}", "no wait, {new}", "no, strike that, {new}", "scratch that, I had the other tray, {new} for this core"]  # fmt: skip


@pytest.mark.parametrize("turn", TURNS)
def test_of_a_figure_that_is_taken_back_in_speech_the_last_one_holds(turn: str) -> None:
    for old, new in itertools.permutations(VALUES, 2):
        said = turn.format(new=f"{new} percent")
        text = f"Core biopsy. Cellularity is {old} percent, {said}. Blasts 3 percent."
        assert parse(text).value == new, text
        owned = f"Core biopsy. Cellularity is {old} percent, no fibrosis, blasts {new} percent."
        assert parse(owned).value == old, owned


def test_a_ratio_to_fat_is_one_however_it_is_joined() -> None:
    for (a, b), join in itertools.product(((35, 65), (80, 20)), (":", " : ", "/", " to ", "-")):
        for names in ("Haemopoiesis to fat is {}", "Cell to fat ratio {}", "Cells/fat: {}"):
            text = f"Core biopsy: {names.format(f'{a}{join}{b}')}."
            assert parse(text).value == a, text
        assert parse(f"Core biopsy: fat to cell ratio {b}{join}{a}.").value == a
        both = (a + b) / 2
        assert parse(f"Core biopsy: much fat, cellularity {a} to {b}%.").value == both


def test_letters_scanned_for_figures_are_read_as_meant() -> None:
    for seen, v in {"4S%": 45, "S0%": 50, "3S-4S%": 40, "2O%": 20, "lO-2O %": 15}.items():
        assert parse(f"Core biopsy: cellularity: {seen}. Blasts 3%.").value == v, seen


def test_a_number_in_words_is_one_over_two_lines() -> None:
    for tens, ones in itertools.product(("twenty", "fifty", "ninety"), ("two", "five")):
        v = {"twenty": 20, "fifty": 50, "ninety": 90}[tens] + {"two": 2, "five": 5}[ones]
        text = f"Biopsy: The core is 1.4 cm long and is estimated to be {tens}-\n{ones} percent cellular."
        assert parse(text).value == v, text


def test_a_rule_on_a_bound_is_no_finding() -> None:
    for bound, verb in itertools.product(("below", "under", "over", "above"), ("is usually seen", "would be typical", "is generally expected", "may suggest another cause")):  # fmt: skip
        rule = f"Note: Cellularity {bound} 20% at this time {verb} after therapy."
        assert parse(f"Core biopsy: hypocellular.\n\n{rule}").value is None, rule
        assert parse(f"Core biopsy: 60% cellular.\n\n{rule}").value == 60, rule


def test_a_specimen_declared_of_another_time_or_place_is_none_of_the_present_core() -> None:
    for old, v in itertools.product(("two outside slides, marrow core", "core biopsy of last May", "referral core, left"), VALUES):  # fmt: skip
        text = f"A: marrow core, today\nB: marrow clot, today\nC: {old}\n\nMICROSCOPIC\nC. Core 8 mm, cellularity 77%.\nA. Core: cellularity {v}%."
        assert parse(text).value == v, text


def test_boxes_of_a_form_with_dots_are_read() -> None:
    for mark, n in itertools.product("xX", range(3)):
        bands = ["<10 %", "10-29 %", "30-49 %"]
        boxes = "   ".join(f"({mark if n == k else ' '}) {band}" for k, band in enumerate(bands))
        text = f"TREPHINE WORKSHEET\n1. Core length ....... (X) 10 mm   ( ) 15 mm\n2. Cellularity ....... {boxes}\n3. For age ....... (X) as expected"
        assert parse(text).value == (5, 19.5, 39.5)[n], text


def test_attributes_of_a_tag_name_what_its_value_is() -> None:
    for v in VALUES:
        rows = "".join(f'<r specimen="{s}" analyte="cellularity" value="{x}" unit="%"/>' for s, x in (("clot", 77), ("core", v)))  # fmt: skip
        assert parse(f'<?xml version="1.0"?><report><results>{rows}</results></report>').value == v


SERIES = {
    "aligned": "Visit      Date        Cellularity  Reticulin\nBaseline   2021-01-04  {a} %         MF-2\nWeek 24    2021-07-01  {b} %         MF-1\nCurrent    2022-01-03  {v} %         MF-1",
    "two lines": "Date                 Core       Blasts   CD34\n                     cellul.%   asp.%    IHC%\n03 Oct 2024 (today)     {v}        1       1\n02 Jul 2024             {b}        1      <1",
    "bars": "| Timepoint | Core cellularity | Blasts |\n|---|---|---|\n| Diagnosis | {a}% | 60% |\n| Day 14 | {b}% | 0% |\n| Today (day 28) | {v}% | 1% |",
    "columns": "                     Previous      Present\nCore cellularity     {a}%           {v}%\nBlasts               12%           2%",
    "norm": "CORE BIOPSY\n              Result   Units   Normal\nCELLULARITY   {v}       %       30-70\nBLASTS        2        %       0-5",
    "short": "Date                 Core cell%   Blasts%\n2024-10-03 (today)   {v}           1\n2024-07-02           {b}           1",
    "keys": "Previous: core {a}% cellular.\nCurrent: core {v}% cellular.",
}  # fmt: skip


@pytest.mark.parametrize("name", SERIES)
def test_of_a_series_the_present_one_counts(name: str) -> None:
    for a, b, v in itertools.permutations((15, 35, 60, 95), 3):
        text = SERIES[name].format(a=a, b=b, v=v)
        assert parse(text).value == v, text


AGAIN = """CORE: 40% cellular.~ADDENDUM: The cellularity given above is a typing error for {v}%.
CORE: 40% cellular.~Erratum: for "40%" read "{v}%".
Core biopsy: you had estimated the cellularity at 40%; to my eye it is {v}%.
Core biopsy: some fields are 10% and others 90% cellular; overall {v}%.
Core biopsy: reduced cellularity; {v}%.
Core biopsy: at {v}% cellularity the marrow is normal for age.
Core biopsy: at {v}% the marrow is normocellular.
Stanze: Das Knochenmark ist mit etwa {v} % hypozellulär.
Beckenkammtrepanat: Markräume zu {v} % von Hämatopoese ausgefüllt.
BOM : les espaces médullaires sont occupés à {v} % par l'hématopoïèse.
Core biopsy, dictated: cellularity I'd say {v} percent.
Core biopsy: Overal cellularity {v}%.
Core biopsy~C e l l u l a r i t y   {v} %. No granuloma is seen.
CORE~CELLULARITY~  {v} %  *  PATIENT~  60-80 %  REFERENCE
Core biopsy form~cellularity_pct={v}~blast_pct=2
Core biopsy~  cell. (%)          {v}~  M:E                3
CORE: 40% cellular.~Addendum: please read {v}% instead of 40% for the core cellularity.
RIGHT~Cellularity {v}%~~LEFT~Cellularity {v}%~~Both are core biopsies.
Core biopsy 1: {v}%; core biopsy 2: {v}% cellular.""".splitlines()


@pytest.mark.parametrize("frame", AGAIN)
def test_the_figure_that_is_meant_is_read(frame: str) -> None:
    for v in VALUES:
        text = frame.format(v=v).replace("~", "\n")
        assert parse(text).value == v, text


NONE = """Core biopsy: at 40%, cellularity of the tumor is high.
Core biopsy: The marrow is with 40% hypercellular areas.
Core biopsy: hypercellular. Tumour: 40% cellular.
CORE: 40% cellular.~~Addendum: specimen mix-up. The figures above belong to another patient.
Core biopsy: cellularity 38%; visual 60%.
Core biopsy: hypercellular.~~Date         B cell %   T cell %~2024-10-03   40           20
Core biopsy 1: 20%; core biopsy 2: 60% marrow, 30% cellular blasts.""".splitlines()


@pytest.mark.parametrize("text", NONE)
def test_where_two_figures_may_be_meant_there_is_none(text: str) -> None:
    assert parse(text.replace("~", "\n")).value is None


STRUCTURED = r"""
<?xml version="1.0"?><Report><Specimen type="Clot"><Finding code="CELLULARITY">77%</Finding></Specimen><Specimen type="Trephine"><Finding code="CELLULARITY">{v}%</Finding></Specimen></Report>
<report><trephine cellularity="{v}" unit="%" reticulin="1"/><aspirate blasts="3"/></report>
<doc><item key="BLASTS">3 %</item><item key="CELLULARITY OF CORE">{v} %</item></doc>
{{"findings":[{{"site":"clot","analyte":"cellularity","value":77,"unit":"%"}},{{"site":"core","analyte":"cellularity","value":{v},"unit":"%"}}]}}
[{{"q":"Specimen","a":"core biopsy"}},{{"q":"Cellularity (%)","a":"{v}"}},{{"q":"Blasts (%)","a":"2"}}]
{{"report":{{"core":{{"cellularity":{{"min":{v},"max":{v},"unit":"%"}}}}}}}}
{{"result":[{{"code":{{"text":"Bone marrow core cellularity"}},"valueString":"{v}%"}},{{"code":{{"text":"Blasts"}},"valueString":"3%"}}]}}
Core biopsy~Cellularity: 0-4% [ ]   {v}% [x]   96-100% [ ]
Core biopsy~Cellularity: [{v}] %~Blasts: [2] %
Trephine: Cellularity {v} % Ref: 30-40 %
24-17 / 60M / ASP BLAST 3% / CORE 15MM CELL {v}%, MEGS DYSPL / CLOT CELL 77% / FISH NEG
Dear Dr. X, the core you kindly sent is {v}% cellular.
Core biopsy: haemopoiesis about {v}% of marrow area.
Test|Result|Flag|Range~Core cellularity, %|{v}|H|30-40~Blasts, %|2||0-5
""".strip().splitlines()  # fmt: skip


@pytest.mark.parametrize("frame", STRUCTURED)
def test_structures_read_back(frame: str) -> None:
    for v in VALUES:
        text = frame.format(v=v).replace("~", "\n")
        assert parse(text).value == v, text


@pytest.mark.parametrize("key", ["CORE CELLULARITY", "Biopsy cellularity", "Cellularity of core"])
@pytest.mark.parametrize("told", ["(tick one)", "(choose one)", "(check one)"])
def test_boxes_below_a_key_that_tells_how_to_fill_them(key: str, told: str) -> None:
    bands = ["0-20", "21-40", "41-60", "61-80", "81-100"]
    for n, band in enumerate(bands):
        boxes = "   ".join(f"({'x' if i == n else ' '}) {one}%" for i, one in enumerate(bands))
        low, high = map(int, band.split("-"))
        said = parse(f"{key}  {told}\n   {boxes}\nFOR AGE   (x) normo   ( ) hyper")
        assert said.value == (low + high) / 2, band


VISITS = [("2019-03-01", 80), ("2019-04-01", 10), ("2019-06-15", 40)]
DATED = {
    "rows": "Date        Cellularity   Blasts\n{rows}",
    "bars": "| Date | Cellularity | Blasts |\n|---|---|---|\n{rows}",
}


@pytest.mark.parametrize("own", [0, 1, 2, None])
@pytest.mark.parametrize("layout", DATED)
@pytest.mark.parametrize(
    "said", ["Collected: {}", "Date of procedure: {}", "Biopsy taken on {}", "Date received {}"]
)
def test_of_dated_visits_the_one_of_the_reports_own_day_counts(
    said: str, layout: str, own: int | None
) -> None:
    row = "{}  {}%           45%" if layout == "rows" else "| {} | {}% | 45% |"
    table = DATED[layout].format(rows="\n".join(row.format(*visit) for visit in VISITS))
    day = "2020-01-01" if own is None else VISITS[own][0]
    text = f"Bone marrow core biopsy\n{said.format(day)}\n\nTrephine biopsies to date\n\n{table}\n"
    assert parse(text).value == (None if own is None else VISITS[own][1])


@pytest.mark.parametrize("unit", ["(%)", "in percent", ", %"])
@pytest.mark.parametrize("lead", ["  ", "- ", ""])
def test_samples_below_a_key_with_the_unit_are_its_values(unit: str, lead: str) -> None:
    below = [("Core, right", 40), ("Core, left ", 50), ("Clot       ", 35)]
    rows = "\n".join(f"{lead}{name}: {v}" for name, v in below)
    others = "\n".join(f"{lead}{name}: {v}" for name, v in [("Age", 61), ("Blasts", 7)])
    infiltrate = rows.replace("40", "20").replace("50", "30")
    text = f"STAGING MARROW\n\nCELLULARITY {unit}\n{rows}\nINFILTRATE {unit}\n{infiltrate}\n"
    assert parse(text).value == 45
    assert parse(f"CORE BIOPSY\n\nCELLULARITY {unit}\n{others}\n").value is None


@pytest.mark.parametrize(
    "said", ['trephine "{}% cellular, sheets of blasts"', 'a "core, {}% cellular"']
)
def test_what_is_cited_of_another_report_gives_way(said: str) -> None:
    told = f"Local report states: AML, {said.format(60)}.\n\nTrephine: a cellularity of 90%.\n"
    assert parse(told).value == 90
    assert parse('CORE BIOPSY\n\nThe marrow is "90%" cellular.').value == 90


@pytest.mark.parametrize("name", ["Cell content, haematopoiesis / fat", "Haemopoiesis/fat", "Cells : fat", "Fat : cells", "Fat / cells"])  # fmt: skip
def test_a_row_or_key_that_names_cells_and_fat_is_their_ratio(name: str) -> None:
    for v, sign in itertools.product((30, 60, 85), (" : ", ":", " / ", "/")):
        pair = (100 - v, v) if name.startswith("Fat") else (v, 100 - v)
        told = sign.join(map(str, pair))
        text = f"Core biopsy report\n\n| Item | Entry |\n|---|---|\n| Length | 21 mm |\n| {name} | {told} |\n| M : E | 3 : 1 |"  # fmt: skip
        assert parse(text).value == v, text
        text = f"Core biopsy: 14 mm, well fixed.\n{name} = {told}\nG : E = 3 : 1"
        assert parse(text).value == v, text
        other = text.replace(name, "Granulopoiesis : erythropoiesis")
        assert parse(other).value is None, other


@pytest.mark.parametrize(
    "draft", ["INTERIM DRAFT -- NOT FOR CLINICAL USE", "Working draft", "VERBAL PRELIMINARY"]
)
def test_a_draft_by_any_name_ends_where_the_final_report_begins(draft: str) -> None:
    for a, b in itertools.permutations(VALUES, 2):
        text = f"{draft}\n  core: looks ~{a}% cellular\n\nFINAL REPORT, signed 2021-10-06\nCore biopsy: 1.7 cm, {b}% cellular."
        assert parse(text).value == b, text
        assert parse(f"{draft}\n  core: looks ~{a}% cellular").value is None


def test_keys_that_are_sides_stay_in_their_section_in_french_too() -> None:
    for a, b in itertools.permutations(VALUES, 2):
        text = f"BOM (crête iliaque D : 12 mm ; G : 15 mm)\n - à droite : cellularité {a} %, trois lignées.\n - à gauche : cellularité {b} %, nodules.\n\nMyélogramme : blastes 1 %."
        assert parse(text).value == (a + b) / 2, text


def test_the_first_row_below_a_head_is_no_second_head_where_it_holds_lengths() -> None:
    for old, new in itertools.permutations(VALUES, 2):
        rows = (("", "March (0331)", "THIS (1120)"), (" Core length", "9 mm", "16 mm"), (" Cellularity", f"{old}%", f"{new}%"))  # fmt: skip
        text = "Core biopsy\n\n" + "\n".join(f"{a:<25}{b:<21}{c}" for a, b, c in rows)
        assert parse(text).value == new, text


def test_a_second_line_of_names_stands_below_the_names_that_it_goes_on_from() -> None:
    for (now, old), blank in itertools.product(itertools.permutations(VALUES, 2), ("30-60 %", "-")):
        rows = (("", "This specimen", "6 mo ago", "Reference"), ("", "(B19-3341)", "(B18-9870)", ""), ("Cellularity, core", f"{now} %", f"{old} %", blank))  # fmt: skip
        text = "Core biopsy\n\n" + "\n".join(
            f"{a:<25}{b:<18}{c:<15}{d}".rstrip() for a, b, c, d in rows
        )
        assert parse(text).value == now, text


def test_a_limit_in_its_own_column_is_no_second_figure_of_the_row() -> None:
    for v, (low, high) in itertools.product(
        VALUES, (("RefLow", "RefHigh"), ("Range", "Limits"), ("Ref low", "Ref high"))
    ):
        head = f"Accession|Section|Field|Value|Units|Flag|{low}|{high}"
        rows = f"M-1|ASP|cellularity|{100 - v}|%|||\nM-1|BX|cellularity|{v}|%|H|30|50\nM-1|BX|reticulin|2|grade|H|0|1"
        assert parse(f"{head}\n{rows}").value == v, (head, rows)


@pytest.mark.parametrize("mark", ["B.", "2.", "(B)", "b)", "II."])
def test_the_mark_of_a_row_is_no_heading(mark: str) -> None:
    for v in VALUES:
        text = f" A.  SMEARS  -  ADEQUATE\n {mark}  CELLULARITY EST.  {v} PER CENT   (JAMSHIDI BIOPSY)\n       IRON  ABSENT"
        assert parse(text).value == v, text


def test_a_heading_before_words_goes_as_far_as_its_colon() -> None:
    for v, size in itertools.product(VALUES, ("2.0 CM", "1.4 X 0.2 CM")):
        text = f"CLOT: FIBRIN.\n\nCORE, {size}: MARROW WITH A CELLULARITY OF LESS THAN {v}%. DEBRIS.\n\nBLASTS 2%."
        found = parse(text)
        assert (found.low, found.high) == (0, v), text


def test_samples_behind_two_dashes_are_a_list() -> None:
    for clot, core in itertools.permutations(VALUES, 2):
        for dash in (":", "--", " --"):
            text = f"Marrow core and clot. Percent cellularity{dash} clot {clot}; trephine {core}; touch prep not assessed"
            assert parse(text).value == core, text


def test_a_part_without_marrow_leaves_the_other_part_its_figure() -> None:
    for v, (one, two) in itertools.product(VALUES, (("Part 1.", "Part 2."), ("Rt:", "Lt:"), ("Left:", "Right:"), ("Core 1:", "Core 2:"))):  # fmt: skip
        text = f"NARRATIVE\n{one} There is a 1.4 cm core with good marrow. It is {v}% cellular.\n{two} Crushed bone only. No marrow for evaluation."
        assert parse(text).value == v, text
    assert (
        parse(
            f"NARRATIVE\nCrushed bone only, 1.4 cm. No marrow for evaluation. It is {v}% cellular."
        ).value
        is None
    )


@pytest.mark.parametrize(("n", "letters"), [("two", "AB"), ("three", "ABC"), ("4", "ABCD")])
def test_cores_with_letters_have_their_mean(n: str, letters: str) -> None:
    for kind, first in itertools.product(
        ("core biopsies", "trephine biopsies", "cores"), VALUES[:3]
    ):
        sites = "\n".join(
            f" {one}. Right posterior iliac crest, pass {k}" for k, one in enumerate(letters)
        )
        told = [first + 10 * k for k in range(len(letters))]
        said = "\n".join(
            f"{one}. 0.7 cm. Cellularity {v}%. Fat." for one, v in zip(letters, told, strict=True)
        )
        text = f"FINAL DIAGNOSIS\nBone marrow, {n} {kind}:\n{sites}\n\nMICROSCOPIC DESCRIPTION\n{said}\n"
        assert parse(text).value == sum(told) / len(told), text
        apart = text.replace(f"{n} {kind}", "core biopsy, clot and smears")
        assert parse(apart).value is None, apart


def test_of_dated_entries_below_the_cellularity_the_current_one_counts() -> None:
    days = ("Pre-transplant (08/2016)", "Day +30 (11/2016)", "Day +60")
    for (old, new), head, now in itertools.product(itertools.permutations(VALUES, 2), ("Marrow cellularity on core biopsies", "CELLULARITY, CORE"), ("Day +100 (current)", "Today", "Current")):  # fmt: skip
        listed = "\n".join(f"   {day}: {old}%" for day in days[:2])
        text = f"Conference sheet\n\n{head}\n{listed}\n   {now}: {new}%\n\nBlasts 2%."
        assert parse(text).value == new, text
        assert parse(text.replace(f"   {now}: {new}%\n", "")).value is None, text


def test_an_age_or_an_error_in_the_list_is_no_entry_of_it() -> None:
    for v, odd in itertools.product(
        VALUES, ("Age: 62", "Age 62: 50", "Age (years): 62", "Issued in error: 20")
    ):
        text = f"CELLULARITY (%)\n  Core: {v}\n  {odd}\n\nBlasts 2%."
        assert parse(text).value in (v, None), text
        assert parse(f"Core biopsy\n\nCELLULARITY (%)\n  {odd}\n\nBlasts 2%.").value is None, odd


def test_a_side_with_a_figure_is_there_whatever_the_other_holds() -> None:
    for v, (one, two) in itertools.product(VALUES, (("Rt", "Lt"), ("Left", "Right"), ("L", "R"))):
        text = f"BILATERAL BMBX\n\nText\n  {one}: cellularity {v}%. Normal trilineage.\n  {two}: cartilage cap and blood. No marrow to read."
        assert parse(text).value == v, text
        gone = text.replace(f"cellularity {v}%", "as above").replace(
            "BMBX", f"BMBX. Aspirate cellularity {v}%"
        )
        assert parse(gone).value is None, gone


def test_of_rows_with_months_the_one_of_the_reports_own_month_counts() -> None:
    for told, (old, new) in itertools.product(
        ("received 2022-05-16", "collected: 2022-05-02"), itertools.permutations(VALUES, 2)
    ):
        rows = f"| dx (2020-11) | {old}% | 3% |\n| 6 mo (2021-05) | {old}% | 1% |\n| 18 mo (2022-05) | {new}% | 1% |"
        text = f"Marrow summary. Core and aspirate, {told}.\n\n| Time point | Core cellularity | Blasts |\n|---|---|---|\n{rows}\n"
        assert parse(text).value == new, text
        assert parse(text.replace(told, "age 57")).value is None, text


def test_a_title_that_tells_of_a_comparison_is_no_title_of_the_earlier_core() -> None:
    for v, other in itertools.product(
        VALUES, ("the previous core", "B19-3341", "the outside slides")
    ):
        for lead, finding in itertools.product(
            ("BONE MARROW: report with comparison to", "Core biopsy in comparison with"), FINDINGS
        ):
            text = f"{lead} {other}\n\nCore 12 mm. {finding.format(v=v)}\n\nBlasts 3%."
            assert parse(text).value == v, text
            old = f"Core biopsy\n\nComparison with the previous core\n{finding.format(v=v)}"
            assert parse(old).value is None, old
