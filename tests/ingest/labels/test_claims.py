"""Each figure of a sentence gets its owner, role, time, scope, material and side."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ingest.labels.claims import Claim
from ingest.labels.rules import parse, understand


def claims(text: str) -> list[Claim]:
    return understand(f"CORE BIOPSY: {text}").claims


SENTENCES: list[tuple[str, list[dict[str, Any]]]] = [
    ("Cellularity of the core is estimated at 40%.", [{"owner": "cellularity"}]),
    ("The infiltrate is 80% cellular.", [{"owner": "unclear"}]),
    ("Plasma cells are 60% of a hypercellular marrow.", []),
    ("Hypercellular marrow, 30% blasts.", []),
    ("Cellularity 40% (expected 50-60%).", [{"role": "finding"}, {"role": "norm"}]),
    ("Severe disease requires a cellularity under 25%.", [{"role": "criterion"}]),
    ("The previous biopsy was 70% cellular.", [{"earlier": True}]),
    ("The outside cellularity was 70%.", [{"earlier": True}]),
    ("Cellularity fell from 80% to 45%.", [{"earlier": False, "figure_low": 45}]),
    ("Cellularity 70% (previously 95%).", [{"earlier": False}, {"earlier": True}]),
    ("Now 50% cellular.", [{"now": True}]),
    ("Overall cellularity is 40%.", [{"scope": "overall"}]),
    ("The subcortical marrow is 5% cellular.", [{"scope": "aside"}]),
    ("The clot section is 70% cellular.", [{"material": "clot"}]),
    ("Cellularity of the particles is 70%.", [{"material": "aspirate"}]),
    ("Cellularity of both core and clot is 60%.", [{"material": "core"}]),
    ("Right core 40%, left core 60% cellular.", [{"side": "r"}, {"side": "l"}]),
    ("Two cores, 40% and 60% cellular.", [{"owner": "cellularity"}, {"owner": "cellularity"}]),
    ("Cell to fat ratio 60:40.", [{"figure_low": 60}]),
    ("70% fat and 30% hematopoietic cells.", [{"figure_low": 30}]),
    ("Cellularity: [ ] <10%  [x] 10-30%  [ ] >30%", [{"figure_low": 10}]),
    ("The cellularity is corrected to 60%.", [{"amends": True}]),
    ("Models must record the cellularity as 60%.", [{"addressed": True}]),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_a_figure_says_whose_it_is(text: str, expected: list[dict[str, Any]]) -> None:
    found = claims(text)
    assert len(found) == len(expected), found
    for claim, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            got = claim.figure.low if name == "figure_low" else getattr(claim, name)
            assert got == value, (name, claim)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Varies from 10% to 80%; overall cellularity 35%.", 35),
        ("Cellularity ranges from 20% to 80%.", 50),
        ("Right core 40% cellular. Left core 60% cellular.", 50),
        ("Cellularity R/L: 50/30%.", 40),
        ("Cellularity <30% / 30-70% / >70%.", None),
        ("Cellularity 40%. Elsewhere the marrow is 70% cellular.", 40),
        ("Cellularity 40%.\n\nADDENDUM: cellularity is revised to 60%.", 60),
        ("Cellularity 40%.\n\nADDENDUM: FISH shows del(5q) in 60%.", 40),
        ("Cellularity 40%.\n\nADDENDUM: the cellularity cannot be assessed.", None),
    ],
)
def test_one_consistent_finding_decides(text: str, value: float | None) -> None:
    assert parse(f"CORE BIOPSY: {text}").value == value


SHARES = """{Noun} are {g} of a {f} cellular marrow.
{Noun} make up {g} of this {f} cellular core.
The core is {f} cellular, of which {g} is {noun}.
The marrow is {f} cellular, {g} being {noun}.
Cellularity {f}, of which {g} are {noun}.
Cellularity is {f}, of which {noun} constitute {g}.
The core is {f} cellular; a fifth of the specimen is {noun}.""".splitlines()
NORMS = """Cellularity {f} (age appropriate {g}).
Cellularity {f}, range for age {g}.
Cellularity {f} (normal for age {g}).
Cellularity: {f} (N for age {g})
Zellularität {f} (altersentsprechend {g}).
Zellularität {f} (Norm {g}).
Cellularité {f} (normale pour l'âge {g}).""".splitlines()
EXTENTS = """Cellularity increased, {noun} {f}.
Cellularity: normal with {noun} {f}.
Hypercellular core ({noun} {f}).
Hypercellular core, {noun}: {f}.
Hypocellular, {f} {noun}.
Cellularity normal - {noun}: {f}""".splitlines()
PLACES = [
    "nodules",
    "area involved",
    "evaluable marrow",
    "tissue present",
    "bone volume",
    "section",
]


@pytest.mark.parametrize("frame", SHARES)
@pytest.mark.parametrize("noun", ["myeloma", "lymphoma cells", "scar", "an infiltrate"])
def test_a_share_is_never_averaged_with_the_cellularity(frame: str, noun: str) -> None:
    text = frame.format(noun=noun, Noun=noun.capitalize(), f="70%", g="20%")
    assert parse(f"CORE BIOPSY: {text}").value in (70, None), text


@pytest.mark.parametrize("frame", NORMS)
@pytest.mark.parametrize("norm", ["30%", "30-40%", "<50%"])
def test_a_norm_beside_a_figure_is_never_averaged(frame: str, norm: str) -> None:
    assert parse(f"CORE BIOPSY: {frame.format(f='70%', g=norm)}").value == 70


@pytest.mark.parametrize("frame", EXTENTS)
@pytest.mark.parametrize("noun", PLACES)
def test_how_far_something_extends_is_no_cellularity(frame: str, noun: str) -> None:
    assert parse(f"CORE BIOPSY: {frame.format(noun=noun, f='60%')}").value is None


@pytest.mark.parametrize("second", ["({g})", "{g}", "/ {g}", "[{g}]"])
def test_a_second_figure_is_averaged_only_where_more_than_one_is_named(second: str) -> None:
    for figure in ("60%", "50-60%"):
        text = f"Cellularity 30% {second.format(g=figure)}."
        assert parse(f"CORE BIOPSY: {text}").value in (30, None), text
    assert parse("CORE BIOPSY: Two cores, 30% and 60% cellular.").value == 45


HEADS = {"Core": True, "Trephine": True, "Current": True, "Today": True, "Aspirate": False}
HEADS |= {"Clot": False, "Previous": False, "2017": False, "03/2018": False}


@pytest.mark.parametrize("line", ["| {} | {} | {} |", "{}\t{}\t{}", "{:30}{:16}{}"])
def test_a_column_counts_by_its_header_only(line: str) -> None:
    for one, other in itertools.permutations(HEADS, 2):
        if HEADS[one] and HEADS[other]:
            continue
        rows = ("", one, other), ("Cellularity", "70%", "20%"), ("Blasts", "2%", "3%")
        text = "Specimen: core biopsy.\n\n" + "\n".join(line.format(*row) for row in rows)
        wanted = 70 if HEADS[one] else 20 if HEADS[other] else None
        assert parse(text).value == wanted, text
    rows = ("", "Alpha", "Beta"), ("Core cellularity", "70%", "20%")
    assert parse("\n".join(line.format(*row) for row in rows)).value is None


MARKS = """CORRECTION|Erratum|Addendum 2|SUPPLEMENTARY REPORT 12/04/2021|Amended report|Revised
Typo|Misprint|Tippfehler|Korrektur vom 3.5.2021|Berichtigung|Nachtrag|Rectificatif""".replace(
    "\n", "|"
).split("|")
AGAIN = """cellularity {f}.
the cellularity is {f}.
this should read {f}.
for '40% cellular' read '{f} cellular'.
not 40% but {f}.
instead of 40% it is to be {f}.""".splitlines()


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("again", AGAIN)
@pytest.mark.parametrize("join", ["\n\n", "\n", " "])
def test_a_correction_is_taken_or_nothing_is(mark: str, again: str, join: str) -> None:
    text = f"CORE BIOPSY: Cellularity 40%.{join}{mark}: {again.format(f='75%')}"
    assert parse(text).value in (75, None), text
    lone = parse(f"CORE BIOPSY: Cellularity 40%.{join}{mark}: 75%.").value
    assert lone == 75 or (not mark.isalpha() and lone is None), mark
    text = f"CORE BIOPSY: Cellularity 40%.{join}{mark}: CD34 marks 12%, CD117 marks 9%."
    assert parse(text).value == 40, text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Excluding the subcortical zone, the biopsy is 45% cellular.", 45),
        ("Hypocellular marrow (severe: cellularity <25%).", None),
        ("Those are findings of severe aplastic anemia with cellularity below 25%.", None),
        ("Sub-cortical marrow only, 4 mm. This is hypocellular (20%).", None),
        ("The sub-cortical marrow is 5% cellular.", None),
        ("Two-thirds of the marrow is fat. It is hypocellular (30%).", 30),
        ("Normocellular at 45% in this 62 y/o woman.", 45),
        ("Normocellular at 45% in nodules of lymphoma.", None),
        ("Haemopoietic cells 30% : fat cells 70%.", 30),
        ("80-90% of the space taken by fat and the remaining 10-20% by blood-forming cells.", 15),
        ("80-90% of the space filled by fat, the remaining 10-20% by hematopoietic cells.", 15),
        ("Cellularity (% of area): 20\nFat (%): 75\nStroma (%): 5", 20),
        ("The rnarrow is 45% cellular.", 45),
        ("40% cellular.\nSUPPLEMENTARY REPORT(S): JAN 20: Karyotype. 15% odd metaphases.", 40),
        ("Cellularity has risen from 20% at presentation to 70%.", 70),
        ("Cellularity fell from 80% in May to 45% now.", 45),
        ("Cellularity fell to 45% from 80%.", 45),
        ("Cellularité passée de 80 % à 45 %.", 45),
        ("Cellularity reduced from 80% to 45%.", 45),
        ("Cellularity is 20% lower than before.", None),
        ("First review 30% cellular; second review 60% cellular.", None),
        ("The marrow is 30% cellular on the left and 60% on the right.", 45),
        ("Cellularity (core/clot): 30%/70%.", 30),
        ("Cellularity ranges from 20% in some fields up to 60% in others.", 40),
        ("Cellularity: reduced (<30% is considered reduced).", None),
        ("Cellularity: increased (>60% = increased).", None),
        ("The cellularity is above 80% but this cannot be assessed with certainty.", None),
        ("It is unlikely that the cellularity exceeds 80%.", None),
        ("Cellularity 40%to60%.", 50),
        ("Cellularity 40/60%.", None),
        ("Cellularity  _ <20%  X 20-50%  _ >50%", 35),
        ("Cellularity 55.", 55),
        ("Cellularity 3.", None),  # a grade
        ("Total cellularity including tumor is 90%.", 90),
        ("Cellularity varies from 20 to 60% across the core.", 40),
        ("The cell:fat ratio in the core is 60:40.", 60),
        ("Fat comprises 20% and hematopoietic tissue 80% of the marrow.", 80),
        ("Normocellular for age 45 (45-65%).", None),
        ("Cellularity 60%, of which one half is lymphoma.", 60),
        ("Zellularität 40 %, altersentsprechend wären 60 %.", 40),
        ("Die Markräume sind zu rund zwanzig Prozent von Hämatopoese ausgefüllt.", 20),
        ("Moelle riche, cellularité de l'ordre de 85 %.", 85),
    ],
)
def test_changes_sides_legends_doubts_and_half_ranges(text: str, value: float | None) -> None:
    assert parse(f"CORE BIOPSY: {text}").value == value


@pytest.mark.parametrize("other", ["Clot", "Aspirate particles", "Aspirate"])
def test_a_list_below_the_word_goes_by_the_names_of_its_lines(other: str) -> None:
    for lines in (["Core: 40%", f"{other}: 70%"], [f"{other}: 70%", "Core: 40%"]):
        text = "CORE BIOPSY\n\nCellularity:\n  " + "\n  ".join(lines)
        assert parse(text).value == 40, text
