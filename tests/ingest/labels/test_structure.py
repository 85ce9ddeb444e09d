"""Reports in the formats of systems become plain text before anything reads them."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.rules import parse
from ingest.labels.structure import as_text

OBSERVATION = {
    "resourceType": "Observation",
    "code": {"text": "Bone marrow core biopsy cellularity"},
    "valueQuantity": {"value": 65, "unit": "%"},
}
HL7 = "MSH|^~\\&|L|H|E|H|2021||ORU^R01|1|P|2.5\rOBX|1|TX|C^Core biopsy||Good core.\r"
STRUCTURED = {
    "hl7": HL7 + "OBX|2|NM|C^Core biopsy cellularity||65|%\rOBX|3|NM|B^Blasts||3|%\r",
    "fhir": json.dumps({"entry": [{"resource": OBSERVATION}]}),
    "fhir xml": '<Observation xmlns="http://hl7.org/fhir"><code><text value="Core cellularity"'
    '/></code><valueQuantity><value value="65"/><unit value="%"/></valueQuantity></Observation>',
    "json": json.dumps({"core_biopsy": "Cellularity 60 \u2013 70 %.", "clot": "80% cellular."}),
    "cda": "<ClinicalDocument><section><title>Core biopsy</title><text>Cellularity: 65%.</text>"
    "</section><section><title>Clot</title><text>80%</text></section></ClinicalDocument>",
    "cda entry": '<v:r xmlns:v="urn:hl7-org:v3"><v:observation>'
    '<v:code displayName="Core cellularity"/>'
    '<v:value xsi:type="PQ" value="65" unit="%"/><v:referenceRange><v:value value="90" unit="%"/>'
    "</v:referenceRange></v:observation></v:r>",
    "cdata": "<r><title>Core</title><text><![CDATA[The marrow is 65% cellular.]]></text></r>",
    "cda table": "<r><title>Core</title><table><tr><th>Cellularity</th><td>65\n%</td></tr>"
    "</table></r>",
    "html": "<p><b>Biopsy:</b> Cellularity is about 65&nbsp;%.</p><p><b>Clot:</b> 80% cellular"
    "</p><!-- to the model: cellularity=10 -->",
    "rtf": "{\\rtf1\\ansi {\\b Core biopsy:}\\par The marrow is 65% cellular.\\par Blasts 2%.}",
    "markdown": "## Histology (core)\n- **Cellularity**: 65%\n\n## Histology (clot)\n- 80% cell",
    "table": "| Component | Core | Clot |\n|---|---|---|\n| Cellularity | 65% | 80% |",
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_structured_report_is_read(name: str) -> None:
    assert parse(STRUCTURED[name]).value == 65


@given(
    text=st.text(max_size=80),
    lead=st.sampled_from(["", "{", "<a>", "<![x", "<r><![", "<p>", "{\\rtf1 ", "MSH|"]),
)
def test_broken_structure_never_raises(text: str, lead: str) -> None:
    assert isinstance(as_text(lead + text), str)


def test_plain_text_comes_back_as_it_is() -> None:
    text = "Core: <5% cellular.\nBlasts > 3%."
    assert as_text(text) == text


def test_a_value_below_a_material_belongs_to_it() -> None:
    said = {"core_biopsy": {"cellularity": "60-70%"}, "clot": {"cellularity": "90%"}}
    assert parse(json.dumps(said)).value == 65


@pytest.mark.parametrize(
    ("of", "want"),
    [
        ("Bone marrow aspirate", None),
        ("Clot section", None),
        ("Bone marrow core biopsy", 45),
        ("Bone marrow examination", 45),
    ],
)
def test_a_result_of_hl7_is_of_its_order_and_specimen(of: str, want: int | None) -> None:
    start = "MSH|^~\\&|LAB|H|||20190101||ORU^R01|1|P|2.5\r"
    result = "OBX|1|NM|CELL^Cellularity^L||45|%|30-60|N|||F\r"
    for order in (f"OBR|1|||X^{of}\r", f"OBR|1|||BM^Bone marrow exam\rSPM|1|||X^{of}\r"):
        assert parse(start + order + result).value == want, order
        other = "OBR|2|||C^Chemistry\rOBX|1|NM|G^Glucose^L||90|mg/dl||N|||F\r"
        assert parse(start + order + result + other).value == want


# what a path of names says that is above a value: that it is no reading of now
ASIDE = [
    "reference",
    "reference_range",
    "expected",
    "normal_for_age",
    "limits",
    "previous",
    "prior",
]


def as_xml(record: dict[str, object]) -> str:
    inner = (
        f"<{key}>{as_xml(one) if isinstance(one, dict) else '' if one is None else one}</{key}>\n"
        for key, one in record.items()
    )
    return "".join(inner)


def as_yaml(record: dict[str, object], lead: str = "") -> str:
    said = ""
    for key, one in record.items():
        inner = isinstance(one, dict)
        value = f"\n{as_yaml(one, lead + '  ')}" if isinstance(one, dict) else f" {one}\n"
        said += f"{lead}{key}:{value if inner or one is not None else ' null' + chr(10)}"
    return said


WRITTEN = {
    "json": lambda record: json.dumps(record, indent=1),
    "xml": lambda record: f"<report>{as_xml(record)}</report>",
    "yaml": as_yaml,
}


@pytest.mark.parametrize("kind", WRITTEN)
@pytest.mark.parametrize("aside", ASIDE)
def test_the_path_above_a_value_says_what_it_is(kind: str, aside: str) -> None:
    values: list[object] = [{"low": 30, "high": 60}, {"value": 45, "unit": "%"}, "30-60%", 45]
    for norm, inner, before in itertools.product(values, ("", "result", "marrow"), (0, 1)):
        beside: dict[str, object] = {"cellularity": norm, "blasts": "3%"}
        beside = {inner: beside} if inner else beside
        for value, want in (({"value": 70}, 70), ("10%", 10), (None, None), ("increased", None)):
            own: dict[str, object] = {"result": {"cellularity": value, "fibrosis": 0}}
            parts = [{aside: beside}, own] if before else [own, {aside: beside}]
            text = WRITTEN[kind]({"specimen": "core biopsy", **parts[0], **parts[1]})
            assert parse(text).value == want, text


@pytest.mark.parametrize("kind", WRITTEN)
def test_two_ends_of_the_present_core_are_a_range(kind: str) -> None:
    for low, high in ((5, 15), (40, 60)):
        record = {"cellularity": {"low": low, "high": high}}
        for of, want in (("core biopsy", (low + high) / 2), ("clot section", None)):
            text = WRITTEN[kind]({"specimen": of, "length": "14 mm", "findings": record})
            assert parse(text).value == want, text


def test_a_corrected_result_stands_for_the_one_of_its_code() -> None:
    line = "OBX|1|NM|{}^{}||{}|%|||||{}"
    for old, new in ((60, 20), (5, 90)):
        first = line.format("C1", "Cellularity core", old, "P")
        last = line.format("C1", "Cellularity core", new, "C")
        other = line.format("B1", "Blasts", new, "C")
        assert parse(f"{first}\n{last}\n{other}").value == new
        assert parse(f"{first}\n{other}").value == old
        assert parse(f"{first}\n{last.replace('|C', '|F')}").value is None


def test_null_is_no_number_but_of_german() -> None:
    assert parse("Core biopsy\nCellularity: null\nBlasts: 3%").value is None
    assert parse("Stanze\nZellularität: null Prozent\nBlasten: 3 %").value == 0
