"""Which rows of a table make the Report of their Case, and what its other columns say of them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import ConfigError, ReportError
from ingest.config import TableConfig
from ingest.labels import rules
from ingest.labels.holding import is_void
from ingest.labels.reports import ReportFile, read_gold, read_reports

NAMES = st.sampled_from(["heading", "section", "Specimen"])
OTHERS = st.sampled_from(
    ["aspirate", "Bone marrow aspirate", "Clot section", "Aspirat", "peripheral blood", "BMA"]
)
CORES = st.sampled_from(
    ["Core biopsy", "core", "Trephine, left", "KM-Stanze", "bone marrow biopsy"]
)
PERCENTS = st.integers(1, 99)
# of a laboratory's system, FHIR, HL7, and of people
VOIDS = ["cancelled", "Canceled", "entered-in-error", "Entered in Error", "DELETED", "Withdrawn"]
VOIDS += ["superseded", "Superseded by a later report", "D", "W", "x", "storniert", "retracted"]
HOLD = ["final", "F", "corrected", "C", "amended", "P", "preliminary", "signed out", "appended", ""]
TEXTS = st.lists(st.sampled_from(["iron 2+", "no fibrosis", "60% fat", "see above"]), min_size=1)


def read(tmp: pytest.TempPathFactory, rows: list[dict[str, Any]], *columns: str) -> ReportFile:
    path = tmp.mktemp("r") / "reports.csv"
    pl.DataFrame(rows, infer_schema_length=None).write_csv(path)
    return read_reports(path, TableConfig(column=columns))


def text_of(found: ReportFile) -> str:
    (report,) = found.reports
    return report.text


@given(name=NAMES, given_name=st.booleans(), texts=TEXTS, data=st.data())
def test_each_row_stands_below_what_its_table_says_it_is_about(
    name: str,
    given_name: bool,
    texts: list[str],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    headings = [data.draw(OTHERS | CORES | st.none()) for _ in texts]
    own = "PART_NAME" if given_name else name
    rows: list[dict[str, Any]] = [{"case_id": "A", "text": f"{text} {n}.", own: heading}
            for n, (text, heading) in enumerate(zip(texts, headings, strict=True))]  # fmt: skip
    found = read(tmp_path_factory, rows, *["heading=part name"] * given_name)
    wanted = [f"{row[own]}:\n{row['text']}" if row[own] else row["text"] for row in rows]
    assert text_of(found) == "\n\n".join(wanted)
    assert not any("not read" in note for note in found.notes)


@given(name=NAMES, other=OTHERS, core=CORES, a=PERCENTS, b=PERCENTS)
def test_a_figure_in_a_row_of_another_specimen_is_never_the_cellularity(
    name: str, other: str, core: str, a: int, b: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = {"case_id": "A", "text": f"Cellularity {a}%.", name: other}
    assert rules.parse(text_of(read(tmp_path_factory, [row]))).value is None
    for said, value in ("Hypocellular.", None), (f"Cellularity {b}%.", b):
        rows = [row, {"case_id": "A", "text": said, name: core}]
        for some in (rows, rows[::-1]):
            assert rules.parse(text_of(read(tmp_path_factory, some))).value == value


def test_gold_is_read_as_reports_are(tmp_path: Path) -> None:
    row = {"id": "A", "text": "Cellularity 60%.", "value": None, "specimen": "aspirate"}
    pl.DataFrame([row]).write_csv(tmp_path / "gold.csv")
    (gold,), _ = read_gold(tmp_path / "gold.csv")
    assert gold["text"] == "aspirate:\nCellularity 60%."


@given(
    number=st.from_regex(r"[A-Z]{1,3}[0-9]{2}-[0-9]{1,5}( [A-D])?", fullmatch=True)
    | st.from_regex(r"[A-D1-9]|BM-20-[0-9]{3}", fullmatch=True)
)
def test_a_number_of_a_specimen_is_no_heading(
    number: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = {"case_id": "A", "text": "Cellularity 60%.", "specimen": number}
    assert text_of(read(tmp_path_factory, [row])) == row["text"]


@given(specimen=OTHERS | CORES, section=st.sampled_from(["Microscopy", "Diagnosis"]))
def test_a_row_may_say_both_its_specimen_and_its_section(
    specimen: str, section: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = {"case_id": "A", "specimen": specimen, "section": section, "text": "x"}
    assert text_of(read(tmp_path_factory, [row])) == f"{specimen}, {section}:\nx"
    assert text_of(read(tmp_path_factory, [row], "heading=section")) == f"{section}:\nx"


@given(
    rows=st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(VOIDS + HOLD)), min_size=1),
    name=st.sampled_from(["status", "Report Status", "result_status"]),
)
def test_rows_that_do_not_hold_are_as_if_they_were_not_there_and_counted(
    rows: list[tuple[str, str]], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = [
        {"case_id": case, "text": f"Text {n}.", name: said} for n, (case, said) in enumerate(rows)
    ]
    found = read(tmp_path_factory, table)
    held = [row for row in table if row[name] not in VOIDS]
    texts = {case: [row["text"] for row in held if row["case_id"] == case] for case in "AB"}
    wanted = {case: "\n\n".join(some) for case, some in texts.items() if some}
    assert {one.case_id: one.text for one in found.reports} == wanted
    assert found.void == {row["case_id"] for row in table} - {row["case_id"] for row in held}
    n = len(table) - len(held)
    told = [note for note in found.notes if "do not hold" in note]
    assert len(told) == (n > 0)
    assert not n or f"left out: {n:,} (" in told[0]


@given(status=st.sampled_from(VOIDS), gap=st.sampled_from([" ", "-", "_", "  "]))
def test_a_status_is_known_however_it_is_written(status: str, gap: str) -> None:
    for said in (status, status.upper(), f" {status.title()} "):
        assert is_void(re.sub(r"[ -]", gap, said))


@given(names=st.permutations(["microscopy", "Final_Diagnosis", "comment"]), data=st.data())
def test_several_columns_are_one_text_in_the_order_they_are_named(
    names: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = names[: data.draw(st.integers(1, 3))]
    cells = {name: data.draw(st.sampled_from(["iron 2+", "60% fat", "", "n/a"])) for name in names}
    row = {"case_id": "A", "comment": "c", "microscopy": "m", "Final_Diagnosis": "d"} | cells
    path = tmp_path_factory.mktemp("r") / "reports.csv"
    pl.DataFrame([row, row | {"case_id": "B"} | dict.fromkeys(names, "x")]).write_csv(path)
    columns = tuple(f"text={name}" for name in names)
    found = read_reports(path, TableConfig(column=columns))
    said = [(name, text) for name, text in cells.items() if text not in ("", "n/a")]
    parts = [f"{name.replace('_', ' ')}:\n{text}" for name, text in said]
    wanted = "\n\n".join(parts if len(names) > 1 else [text for _, text in said])
    assert [one.text for one in found.reports if one.case_id == "A"] == [wanted] * bool(said)
    (told,) = [note for note in found.notes if "not read" in note] or [""]
    assert all((repr(name) in told) == (name not in names) for name in row if name != "case_id")


def test_what_is_one_column_is_not_named_twice(tmp_path: Path) -> None:
    path = tmp_path / "reports.csv"
    path.write_text("case_id,a,text,full_text,report\nA,1,x,y,z\n")
    with pytest.raises(ConfigError, match="--column case_id=a and case_id=b: case_id is one col"):
        read_reports(path, TableConfig(column=("case_id=a", "case_id=b")))
    with pytest.raises(ReportError, match="has no column findings and sum: found"):
        read_reports(path, TableConfig(column=("text=findings", "text=report", "text=sum")))


@given(sizes=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=2, max_size=2))
def test_a_later_day_replaces_an_earlier_one_as_a_whole_or_not_at_all(
    sizes: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first section of a day may be short: the day is not, so it is no note to the earlier."""
    days = [
        [f"Section {n}: {day}% cellular. {'Thin trabeculae. ' * size}" for n, size in enumerate(of)]
        for day, of in enumerate(sizes)
    ]
    rows = [
        {"case_id": "A", "text": text, "reported_on": date(2020, 1, 1 + day)}
        for day, texts in enumerate(days)
        for text in texts
    ]
    found = read(tmp_path_factory, rows)
    earlier, later = (sum(len(text.split()) for text in texts) for texts in days)
    assert found.n_superseded == (0 if 2 * later < earlier else len(days[0]))
