"""What is normal, bounds that are denied, choices, what another thing has, and the two ends."""

from __future__ import annotations

import itertools
import json

import pytest

from ingest.labels.rules import parse

CORE = "CORE BIOPSY\n\n{}\nMegakaryocytes are normal in number.\n"
USUAL = ("normally", "usually", "typically", "generally", "ordinarily")
OF_NORM = """Cellularity, {usual} {norm}%, is increased.
The core shows a cellularity, {usual} {norm}%, that is increased.
Cellularity, which is {usual} {norm}% at this age, is increased.
Cellularity, which should be {norm}% at this age, is increased.
Cellularity is increased ({usual} {norm}%).
Were it {norm}% cellular, it would be normal.
Cellularity has increased {norm}% since the last biopsy.""".splitlines()
BESIDE_NORM = """Cellularity, {usual} {norm}%, is increased to {v}%.
Cellularity ({usual} {norm}%) is {v}%.
The cellularity is {v}%, {usual} {norm}%.
Cellularity, which should be {norm}% at this age, is {v}%.""".splitlines()


@pytest.mark.parametrize("norm", ["50", "40-60", "40 to 60"])
@pytest.mark.parametrize("usual", USUAL)
def test_what_is_usual_is_no_finding(usual: str, norm: str) -> None:
    for frame in OF_NORM:
        assert parse(CORE.format(frame.format(usual=usual, norm=norm))).value is None, frame
    for frame, v in itertools.product(BESIDE_NORM, (10, 80)):
        said = frame.format(usual=usual, norm=norm, v=v)
        assert parse(CORE.format(said)).value == v, said


@pytest.mark.parametrize("subject", ["Normocellular", "Normozellulär", "Moelle normocellulaire"])
def test_a_range_as_wide_as_a_norm_for_age_is_left_open(subject: str) -> None:
    age = {"Norm": "for age", "Moel": "pour l'âge"}[subject[:4]]
    age = "für das Alter" if "zell" in subject else age
    assert parse(CORE.format(f"{subject} {age} (30-50%).")).value is None
    assert parse(CORE.format(f"{subject} {age} (40-50%).")).value == 45
    assert parse(CORE.format(f"{subject} (30-50%).")).value == 40
    for said in ("richesse normale pour l'âge", "altersentsprechend zellulär"):
        assert parse(CORE.format(f"{said} (30-50%).")).value is None


UNDER = """Cellularity does not exceed {v}%.
Cellularity never exceeds {v}%.
Cellularity is not more than {v}%.
Cellularity is no more than {v}%.
The cellularity is not above {v}%.
The cellularity does not reach {v}%.
The cellularity does not go beyond {v}%.
The cellularity isn't higher than {v}%.
Cellularité ne dépassant pas {v} %.
Die Zellularität liegt nicht über {v} %.
Die Zellularität beträgt nicht mehr als {v} %.
Die Zellularität übersteigt {v} % nicht.
La cellularité ne dépasse pas {v} %.
La cellularité n'excède pas {v} %.""".splitlines()
OVER = """Cellularity is not below {v}%.
Cellularity is not less than {v}%.
Cellularity does not fall below {v}%.
Cellularity never drops below {v}%.
The cellularity exceeds {v}%.
Die Zellularität liegt nicht unter {v} %.
Die Zellularität übersteigt {v} %.
Zellularität mind. {v} %.
La cellularité dépasse {v} %.""".splitlines()


@pytest.mark.parametrize("v", [5, 20, 40, 80, 95])
def test_a_bound_that_is_denied_is_the_other_bound(v: int) -> None:
    for frames, low, high in ((UNDER, 0, v), (OVER, v, 100)):
        for frame in frames:
            reading = parse(CORE.format(frame.format(v=v)))
            assert (reading.low, reading.high) == (low, high), frame
            bound = v if high - low > 20 else (low + high) / 2
            assert reading.value == bound, frame


def test_figures_near_each_other_are_a_range_and_far_ones_a_choice() -> None:
    for a, b in itertools.combinations(range(5, 100, 5), 2):
        for frame in ("Cellularity is {a}% or {b}%.", "Cellularity {a} or {b}%."):
            want = (a + b) / 2 if b - a <= 20 else None
            assert parse(CORE.format(frame.format(a=a, b=b))).value == want, (frame, a, b)


def test_two_values_of_columns_without_names_are_left_open() -> None:
    for mark in (";", "  |  ", "\t", "    "):
        for a, b in ((75, 20), (5, 10)):
            assert parse(f"core cellularity (%){mark}{a}{mark}{b}\n").value is None
            assert parse(f"core_cellularity_pct{mark}{a}{mark}{b}\n").value is None
        assert parse(f"CORE\n\ncellularity (%){mark}75{mark}30-70\n").value == 75
    assert parse("field;previous;current\ncore_cellularity_pct;75;20").value in (20, None)


OTHERS = ("metastasis", "tumor nodule", "granuloma", "plasmacytoma", "lymphoma")
HAD = """There is a {noun} with a cellularity of {v}%.
A {noun} with a cellularity of {v}% is seen.
The {noun} has a cellularity of {v}%.
The {noun} had an overall cellularity of {v}%.""".splitlines()


@pytest.mark.parametrize("v", [15, 80])
def test_the_cellularity_of_another_thing_is_none_of_the_marrow(v: int) -> None:
    for noun, frame in itertools.product(OTHERS, HAD):
        assert parse(CORE.format(frame.format(noun=noun, v=v))).value is None, (noun, frame)
    for noun, frame in itertools.product(("core", "marrow", "biopsy", "specimen"), HAD):
        assert parse(CORE.format(frame.format(noun=noun, v=v))).value == v, (noun, frame)
    for kind, take in itertools.product(("Hyper", "Hypo", "A"), ("make up", "occupy", "represent")):
        assert parse(CORE.format(f"{kind}cellular areas {take} {v}%.")).value is None


WRONG = """Cellularity above is an error.
Addendum: the cellularity given above is wrong.
Addendum: the cellularity stated is incorrect; see the new report.
Note: the cellularity figure above was entered in error.""".splitlines()
NOT_WRONG = """The cellularity given in the outside report is wrong.
The cellularity reported for the aspirate was entered in error.
The value stated above is given without error.
Estimates given here are subject to sampling error.""".splitlines()
INSTEAD = """Erratum : il faut lire {v} %.
Erratum: read {v}%.
Korrektur: es muss {v} % heißen.
Cellularity not 85% as typed but {v}%.
Addendum: cellularity is not 85% but {v}%.""".splitlines()


@pytest.mark.parametrize("v", [10, 50])
def test_a_figure_that_is_called_wrong_is_none(v: int) -> None:
    for said in WRONG:
        assert parse(CORE.format("Cellularity 85%.") + f"\n{said}\n").value is None, said
    for said in NOT_WRONG:
        assert parse(CORE.format(f"Cellularity {v}%.") + f"\n{said}\n").value == v, said
    for said in INSTEAD:
        text = CORE.format("Cellularity 85%.") + f"\n{said.format(v=v)}\n"
        assert parse(text).value == v, said


ENDS = [("low", "high"), ("lower", "upper"), ("min", "max"), ("minimum", "maximum"), ("from", "to")]


@pytest.mark.parametrize(("low", "high"), ENDS)
@pytest.mark.parametrize(("a", "b"), [(40, 50), (5, 80), (0, 10)])
def test_two_fields_of_two_ends_are_a_range(low: str, high: str, a: int, b: int) -> None:
    texts = [
        f"Core biopsy\ncellularity_{low}: {a}\ncellularity_{high}: {b}\nblast_count: 3\n",
        f"Core biopsy\nCellularity ({low}): {a}%\nCellularity ({high}): {b}%\n",
        f"CORE_CELLULARITY_{low.upper()}={a}\nCORE_CELLULARITY_{high.upper()}={b}\nCORE_BLASTS=3\n",
        json.dumps({"specimen": "core biopsy", "cellularity": {low: a, high: b, "unit": "%"}}),
        json.dumps({"specimen": "core", f"cellularity_{low}": a, f"cellularity_{high}": b}),
    ]
    for text in texts:
        reading = parse(text)
        assert (reading.value, reading.low, reading.high) == ((a + b) / 2, a, b), text


VALUES = [
    {"valueQuantity": {"value": 45, "unit": "%"}},
    {"valueRange": {"low": {"value": 40, "unit": "%"}, "high": {"value": 50, "unit": "%"}}},
    {"valueRatio": {"numerator": {"value": 45}, "denominator": {"value": 100}}},
    {"valueInteger": 45},
    {"valueString": "40-50%"},
]


@pytest.mark.parametrize("value", VALUES)
def test_each_value_of_fhir_is_read_and_one_of_another_component_is_not(
    value: dict[str, object],
) -> None:
    blasts = {"code": {"text": "Blasts"}, "valueQuantity": {"value": 3, "unit": "%"}}
    for name, want in (("Cellularity", 45), ("Plasma cells", None)):
        told = {
            "resourceType": "Observation",
            "status": "final",
            "code": {"text": "Bone marrow biopsy"},
            "specimen": {"display": "Trephine core"},
            "component": [{"code": {"text": name}, **value}, blasts],
        }
        assert parse(json.dumps(told)).value == want, (name, value)


def test_records_are_read_whatever_the_order_of_their_fields() -> None:
    rows = [
        ("Cellularity", "40", "core"),
        ("Cellularity", "80", "aspirate"),
        ("Blasts", "3", "core"),
    ]
    for order in itertools.permutations(("name", "result", "units", "specimen")):
        records = [
            {"name": name, "result": result, "units": "%", "specimen": of}
            for name, result, of in rows
        ]
        text = json.dumps([{key: record[key] for key in order} for record in records])
        assert parse(text).value == 40, text


@pytest.mark.parametrize(("said", "value"), [("drei Vierteln", 75), ("zwei Dritteln", 66.67)])
def test_fractions_of_german_in_the_dative_are_read(said: str, value: float) -> None:
    text = f"Die Markräume sind zu etwa {said} mit blutbildendem Gewebe gefüllt."
    assert parse(CORE.format(text)).value == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize("v", [15, 70])
def test_rows_by_other_marks_and_records_of_before(v: int) -> None:
    rows = [("Aspirate blasts", "1%"), ("Trephine biopsy cellularity", f"{v}%"), ("Iron", "2+")]
    rows += [("Clot cellularity", "90%"), ("Trephine length", "22 mm")]
    text = "\n".join(f"N14-66021~{name}~{said}" for name, said in rows)
    assert parse(f"specimen_id~test_name~result\n{text}").value == v
    then = {"core_cellularity_pct": "60", "blasts_pct": "4"}
    now = {"core_cellularity_pct": str(v), "core_length_mm": 13}
    for name in ("pre_transplant", "previous_biopsy", "outside_review"):
        for told in ({"biopsy": now, name: then}, {name: then, "biopsy": now}):
            assert parse(json.dumps(told)).value == v, told


FROM_THE_CLOT = """Cellularity 60% (evaluated on the clot).
Cellularity is estimated at 60% using the clot section.
Cellularity 60%; from clot section.
Cellularity 60%, as judged on the clot section.
60% cellular particles.
The clot, but not the core, is 60% cellular.
Not the core but the clot is 60% cellular.""".splitlines()
OF_THE_CORE = """Cellularity 60% (evaluated on the core).
Cellularity is estimated at 60% using the core.
Cellularity 60%; on the aspirate the blasts are 2%.
Cellularity 60%, clot not examined.
Cellularity 60% by eye, particles few.
Not the clot but the core is 60% cellular.""".splitlines()


def test_the_source_behind_a_figure_says_of_what_it_is() -> None:
    for said in FROM_THE_CLOT:
        assert parse(CORE.format(said)).value is None, said
    for said in OF_THE_CORE:
        assert parse(CORE.format(said)).value == 60, said


FOCAL = """Focally hypercellular ({v}%).
Focally {v}% cellular.
Up to {v}% cellular in places.
Acellular in {v}%.
Hypocellular in {v}% of the area.
The most cellular area shows {v}%.""".splitlines()


@pytest.mark.parametrize("v", [30, 80])
def test_a_part_that_is_named_for_its_extreme_is_no_cellularity(v: int) -> None:
    for said in FOCAL:
        assert parse(CORE.format(said.format(v=v))).value is None, said
    assert parse(CORE.format(f"Cellularity is {v}%, focally lower.")).value == v
    assert parse(CORE.format(f"Overall {v}% cellular, focally up to 90%.")).value == v


SHARES = """Percentage of marrow cellularity involved: {v}%.
Percent of marrow cellularity involved by {noun}: {v}%.
Cellularity involved by {noun}: {v}%
Cellularity occupied by {noun}: {v}%
{noun} involvement (% cellularity): {v}%
{noun} involvement, % cellularity: {v}%""".splitlines()


def test_a_share_of_the_cellularity_that_another_takes_is_none() -> None:
    for said, noun, v in itertools.product(SHARES, ("lymphoma", "myeloma", "CLL"), (10, 60)):
        assert parse(CORE.format(said.format(noun=noun, v=v))).value is None, said
        both = CORE.format(said.format(noun=noun, v=v) + "\nOverall cellularity: 80%")
        assert parse(both).value in (80, None), said
    for said in ("The cellularity of the involved marrow is {v}%.", "Marrow (% cellularity): {v}"):
        assert parse(CORE.format(said.format(v=45))).value == 45, said


FIT = """The age-appropriate cellularity {is_} {norm} %.
Die altersentsprechende Zellularität {liegt} {norm} %.
Die dem Alter entsprechende Zellularität {liegt} {norm} %.
Cellularity appropriate for age {is_} {norm} %.
The cellularity (see table: {norm} % for 50 years) is increased.
The cellularity ({norm} % at 60 years) is reduced.""".splitlines()
FOUND_FIT = """The cellularity is age-appropriate, {v}%.
The core shows an age-appropriate cellularity of {v}%.
Altersentsprechende Zellularität von {v} %.
Altersentsprechende Zellularität ({v} %).
Hypercellular ({v}% for a 50-year-old).
Die Zellularität ist altersentsprechend, {v} %.""".splitlines()


@pytest.mark.parametrize("norm", ["40 bis 60", "40", "35-55"])
@pytest.mark.parametrize(("is_", "liegt"), [("is", "liegt bei"), ("would be", "beträgt")])
def test_what_fits_an_age_is_no_finding_and_a_marrow_that_fits_it_is(
    is_: str, liegt: str, norm: str
) -> None:
    for frame in FIT:
        said = frame.format(is_=is_, liegt=liegt, norm=norm.replace("bis", "to"))
        assert parse(CORE.format(said)).value is None, said
    for frame, v in itertools.product(FOUND_FIT, (35, 80)):
        said = frame.format(v=v)
        assert parse(CORE.format(said)).value == v, said
    assert parse(CORE.format("Altersentsprechende Zellularität 40-60 %.")).value is None


AT_AN_AGE = [
    "Cellularity for age: {}%.",
    "Cellularity for age 70: {}%.",
    "Cellularity for a 70-year-old: {}%.",
    "Mean cellularity at this age: {}%.",
    "Average cellularity for 75 yrs {}%.",
    "Cellularity: increased (age 65: {}%).",
    "Zellularität für das Alter: {} %.",
    "Hypoplastic MDS is defined as cellularity <{}% under 70 years and <20% over 70 years.",
    "It requires a cellularity of less than {}% below 70 years or less than 20% above 70 years.",
]


@pytest.mark.parametrize("said", AT_AN_AGE)
def test_what_is_said_for_an_age_is_a_norm(said: str) -> None:
    for v in ("25", "20-40", "30-60"):
        assert parse(f"Core biopsy. {said.format(v)} Marrow hypercellular.").value is None
        assert parse(f"Core biopsy. {said.format(v)} Here the cellularity is 80%.").value == 80


@pytest.mark.parametrize(
    "said", ["Age-appropriate cellularity: {}%.", "Altersentsprechende Zellularität: {} %."]
)
def test_a_figure_that_is_fit_for_an_age_is_open_in_a_marrow_that_is_not(said: str) -> None:
    for v in (20, 40, 70):
        assert parse(f"Core biopsy. {said.format(v)} Trilineage marrow.").value == v
        open_ = parse(f"Core biopsy. {said.format(v)} The marrow is hypercellular.")
        assert open_.outcome == "not read"


def test_a_matched_donor_is_no_norm() -> None:
    for v in (20, 55):
        head = "D+31 marrow, matched unrelated donor, in remission"
        assert parse(f"REPORT\n{head}\n\nBiopsy cellularity {v}%, patchy.").value == v
    text = (
        "Stanze: Markräume mit 65 % Fett (für die achte Dekade gelten {} % Blutbildung als üblich)."
    )
    assert parse(text.format("20-40")).value is None
