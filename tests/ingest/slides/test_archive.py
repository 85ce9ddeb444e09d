"""Archives: every column of a manifest reaches its noun, and what makes no sense is named."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from featurestore.errors import ArchiveError
from featurestore.types import Case, GivenSlide
from featurestore.words import quoted, unquoted
from ingest.slides.archive import manifest_columns, read_archive, read_given
from ingest.table import is_missing

NAMES = (
    st.text("abcXYZ019-_. äß/+&'", min_size=1, max_size=12)
    .map(str.strip)
    .filter(lambda text: not is_missing(text))
)


def manifest(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(GivenSlide(slide_id="'=0", case_id="'-", path="sub/slide.svs"), "'+", None)
@example(GivenSlide(slide_id="=0", case_id="-a", path="sub/slide.svs"), "''-", None)
@given(
    slide=st.builds(
        GivenSlide,
        slide_id=NAMES,
        case_id=NAMES,
        path=st.just("sub/slide.svs"),
        scanned_on=st.none() | st.dates(date(1990, 1, 1), date(2026, 1, 1)),
        specimen=st.none() | st.sampled_from(["core", "clot", "aspirate", "other"]),
        stain=st.none() | NAMES,
        scanner=st.none() | NAMES,
        mpp_given=st.none() | st.floats(0.1, 10),
        extra=st.none()
        | st.dictionaries(st.sampled_from(["ward", "x"]), NAMES, min_size=1).map(
            lambda said: json.dumps(said, sort_keys=True)
        ),
    ),
    patient_id=st.none() | NAMES,
    age_years=st.none() | st.integers(0, 89).map(float),
)
def test_a_manifest_reads_back_as_what_was_written(
    tmp_path: Path, slide: GivenSlide, patient_id: str | None, age_years: float | None
) -> None:
    said = vars(slide) | {"patient_id": patient_id, "age_years": age_years}
    row = {column.name: said.get(column.name, slide.mpp_given) for column in manifest_columns()}
    row |= json.loads(slide.extra) if slide.extra else {}
    # a cell that looks quoted against spreadsheets means what is inside: such text is written so
    row = {name: v if unquoted(str(v)) == str(v) else quoted(v) for name, v in row.items()}
    (found,) = read_archive(manifest(tmp_path, row)).slides
    assert found.slide == GivenSlide(**vars(slide) | {"path": str(tmp_path / slide.path)})
    assert found.case == Case(
        case_id=slide.case_id,
        patient_id=patient_id or slide.case_id,
        patient_made_up=patient_id is None,
        age_years=age_years,
    )


def test_the_columns_of_a_manifest_are_those_that_are_documented() -> None:
    assert {column.name for column in manifest_columns()} == {
        "path", "slide_id", "case_id", "patient_id", "scanned_on", "specimen", "stain", "scanner",
        "age_years", "mpp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide_id\nx\n", "no column path: found 'slide_id'"),
        ("path,specimen\na.svs,liver\n", "row 2: specimen is 'liver', expected core"),
        ("path,scanned_on\na.svs,soon\n", "row 2: scanned_on 'soon' is not a date"),
        ("path,mpp\na.svs,half\n", "row 2: mpp 'half' is not a number"),
        ("path,mpp\na.svs,0.5\nb.svs,-1\n", "row 3: mpp is -1, expected 0.001 to"),
        ("path,age_years\na.svs,150\n", "row 2: age_years is 150, expected 0 to 130"),
        ("path\na/x.svs\nb/x.svs\n", "row 3: two slides are named 'x'"),
        ("path,slide_id\na.svs,x\nb.svs,x\n", "row 3: .*'x'"),
        (
            "path,case_id,patient_id\na.svs,C,P\nb.svs,C,Q\n",
            "row 3: case 'C' has patient_id 'Q', but 'P'",
        ),
        ("path,mpp\n,0.5\na.svs,x\n", r"has 2 faults(.|\n)*row 2: no path(.|\n)*row 3: mpp"),
        ("path\n", "has a header and no rows"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused_with_the_row(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ArchiveError, match=message):
        read_archive(tmp_path / "manifest.csv")


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    word=st.sampled_from(["nan", "NA", "n/a", "null", "-", "unknown", " ", "None"]),
    age=st.sampled_from(["300", "307.0", "> 89", ">=90", "90+", "nan", ""]),
)
def test_words_for_what_is_missing_make_no_patient_and_no_age(
    tmp_path: Path, word: str, age: str
) -> None:
    rows = [{"path": f"{i}.svs", "patient_id": word, "age_years": age} for i in range(3)]
    found = read_archive(manifest(tmp_path, *rows))
    assert len({one.case.patient_id for one in found.slides}) == 3
    assert all(one.case.patient_made_up for one in found.slides)
    assert {one.case.age_years for one in found.slides} == {None}
    if age:
        assert f"age_years is missing where it says: 3 {age!r}" in found.notes


def test_slides_that_need_no_path_need_a_name(tmp_path: Path) -> None:
    table = tmp_path / "given.csv"
    table.write_text("case_id,age\nA,60\nB,70\n")
    with pytest.raises(ArchiveError, match="neither a column path nor slide_id"):
        read_given(table)
    table.write_text("case_id,slide_id\nA,S\nB,\nC,\n")
    with pytest.raises(ArchiveError) as raised:
        read_given(table)
    assert "has 2 faults" in str(raised.value)
    assert "row 3: no path or slide_id" in str(raised.value)


def test_a_case_is_what_any_of_its_rows_says(tmp_path: Path) -> None:
    rows = [
        {"path": "a.svs", "case_id": "C", "patient_id": "", "age_years": "60"},
        {"path": "b.svs", "case_id": "C", "patient_id": "P", "age_years": ""},
    ]
    found = read_archive(manifest(tmp_path, *rows)).slides
    assert {one.case for one in found} == {Case(case_id="C", patient_id="P", age_years=60.0)}


def test_an_archive_that_is_not_there_or_holds_no_slide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        read_archive(tmp_path / "gone")
    with pytest.raises(ArchiveError, match=r"no slide lies under .*\.svs"):
        read_archive(tmp_path)
