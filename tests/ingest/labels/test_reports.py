"""Report files as hospitals write them, and tables of labels."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import strangers
from featurestore.errors import ReportError, TrephineError
from featurestore.types import Report, Target
from ingest.labels.reports import read_gold, read_label_table, read_reports

TEXT = 'Core: "50–60%" cellular,\nGröße 14 mm; no fibrosis.'
ROWS = [
    {"case_id": "007", "text": TEXT, "reported_on": "2021-03-04"},
    {"case_id": "B-2", "text": "Cellularity 20%.", "reported_on": "2019-01-01"},
]
EXPECTED = [
    Report(case_id="007", text=TEXT, reported_on=date(2021, 3, 4)),
    Report(case_id="B-2", text="Cellularity 20%.", reported_on=date(2019, 1, 1)),
]


def csv_of(rows: Sequence[dict[str, Any]], separator: str = ",") -> str:
    return pl.DataFrame(rows).write_csv(separator=separator)


def saved(folder: Path, text: str, name: str = "reports.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_csv_in_every_encoding_and_separator(encoding: str, separator: str, tmp_path: Path) -> None:
    path = saved(tmp_path, csv_of(ROWS, separator), encoding=encoding)
    assert read_reports(path).reports == EXPECTED


def test_jsonl_and_parquet_give_the_same_reports(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    assert read_reports(saved(tmp_path, lines, "r.jsonl")).reports == EXPECTED
    table = pl.DataFrame(ROWS)
    day = pl.col("reported_on")
    for column in (day, day.str.to_datetime("%Y-%m-%d"), pl.col("text").cast(pl.Binary)):
        table.with_columns(column).write_parquet(tmp_path / "r.parquet")
        assert read_reports(tmp_path / "r.parquet").reports == EXPECTED


def test_line_ends_do_not_change_a_report(tmp_path: Path) -> None:
    unix = read_reports(saved(tmp_path, csv_of(ROWS))).reports
    windows = read_reports(saved(tmp_path, csv_of(ROWS).replace("\n", "\r\n"))).reports
    assert [report.report_hash for report in unix] == [report.report_hash for report in windows]


def test_a_folder_of_texts(tmp_path: Path) -> None:
    saved(tmp_path, TEXT, "007.txt", "cp1252")
    saved(tmp_path, "Cellularity 20%.", "B-2.TXT", "utf-16")
    saved(tmp_path, " \n", "empty.txt")
    saved(tmp_path, "not a report", "notes.md")
    found = read_reports(tmp_path)
    assert [(report.case_id, report.text) for report in found.reports] == [
        ("007", TEXT),
        ("B-2", "Cellularity 20%."),
    ]
    assert (found.n_rows, found.n_empty, found.n_superseded) == (3, 1, 0)
    (note,) = [note for note in found.notes if "left out" in note]
    assert "1 (notes.md)" in note


BASES = st.from_regex(r"[A-Z][0-9]{1,3}(-[0-9]{1,2})?", fullmatch=True)
WORDS = ["addendum", "Addendum", "NACHTRAG", "Ergänzung", "supplement", "complément", "additional"]
GAPS = st.sampled_from([" ", "_", "-", " - ", "."])


@given(base=BASES, word=st.sampled_from([*WORDS, "corrected", "Korrektur", "revised"]), gap=GAPS)
def test_a_file_named_as_what_adds_to_another_is_a_later_text_of_its_case(
    base: str, word: str, gap: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("t")
    later = {
        f"{base}{gap}{word}{end}": f"text{end}" for end in ("", " 2", "_10", f"{gap}{word} (11)")
    }
    for name, text in later.items():
        saved(folder, text, f"{name}.txt")
    alone = read_reports(folder).reports
    assert {one.case_id for one in alone} == set(later)  # of whose report nobody can tell
    assert set(strangers(later, [base, "Z"]).likely.values()) == {base}
    for other in (f"{base}0", f"{base}-2", f"{base} left", f"X{base}"):
        saved(folder, other, f"{other}.txt")
    saved(folder, "first", f"{base}.txt")
    found = {one.case_id: one.text for one in read_reports(folder).reports}
    assert found.pop(base).split("\n\n") == ["first", *later.values()]
    assert all(case_id == text for case_id, text in found.items())
    (folder / f"{base}{gap}{word}.txt").write_bytes(b"caf\x81\xff")
    found_file = read_reports(folder)
    assert list(found_file.failures) == [
        base
    ]  # the one that cannot be read may be the one that holds
    assert base not in {one.case_id for one in found_file.reports}


@pytest.mark.parametrize("name", ["A\n1", "A\u200b1", os.fsdecode(b"A\xff1"), " ", "unknown"])
def test_a_file_whose_name_can_be_no_case_fails_alone(name: str, tmp_path: Path) -> None:
    saved(tmp_path, "one", " A2 .txt")
    saved(tmp_path, "two", f"{name}.txt")
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    found = read_reports(tmp_path)
    assert [one.case_id for one in found.reports] == ["A2"]
    (told,) = found.failures.items()
    assert "Rename the file" in told[1]
    assert all(one.encode() for one in told)
    assert "2 (folder.txt, pipe.txt)" in found.text()


def test_the_latest_row_of_a_case_wins(tmp_path: Path) -> None:
    rows = [
        {"case_id": "A", "text": "old", "reported_on": "2020-01-01"},
        {"case_id": "B", "text": "only", "reported_on": "2020-05-01"},
        {"case_id": "A", "text": "new", "reported_on": "2021-01-01T10:30:00"},
        {"case_id": "A", "text": "middle", "reported_on": "2020-07-01"},
        {"case_id": "A", "text": "  ", "reported_on": "2022-01-01"},
    ]
    found = read_reports(saved(tmp_path, csv_of(rows)))
    assert [report.text for report in found.reports] == ["new", "only"]
    assert found.reports[0].reported_on == date(2021, 1, 1)
    assert not isinstance(found.reports[0].reported_on, datetime)
    assert (found.n_rows, found.n_empty, found.n_superseded) == (5, 1, 2)


def one_report(folder: Path, *rows: tuple[str, str]) -> tuple[str, date | None]:
    table = [{"case_id": "A", "text": text, "reported_on": day} for text, day in rows]
    (report,) = read_reports(saved(folder, csv_of(table))).reports
    return report.text, report.reported_on


MAIN = "Core biopsy: the marrow is 40% cellular, with all lines in order."


@pytest.mark.parametrize(
    "later",
    [
        "ADDENDUM: the karyotype is normal, as was reported by telephone to the ward on Monday.",
        "Cytogenetics: 46,XX.",
        "Flow cytometry of the marrow aspirate: 2% blasts, 40% T cells and 60% myeloid cells.",
    ],
)
def test_a_later_addendum_stands_beside_the_report(later: str, tmp_path: Path) -> None:
    text, day = one_report(tmp_path, (later, "2020-03-01"), (MAIN, "2020-01-01"))
    assert text == f"{MAIN}\n\n{later}"
    assert day == date(2020, 3, 1)


@pytest.mark.parametrize("said", ["Hypocellular marrow", "Cellularity cannot be assessed"])
def test_a_later_report_on_the_cellularity_replaces_the_one_before(
    said: str, tmp_path: Path
) -> None:
    later = f"Core biopsy: {said}, with fibrosis and a few plasma cells."
    assert one_report(tmp_path, (later, "2020-03-01"), (MAIN, "2020-01-01"))[0] == later


def test_an_addendum_goes_with_the_report_that_holds(tmp_path: Path) -> None:
    corrected = MAIN.replace("40%", "60%")
    text, _ = one_report(
        tmp_path, (MAIN, "2020-01-01"), ("Addendum: iron is 2+.", "2020-02-01"),
        (corrected, "2020-03-01"), ("Supplementary report: FISH is normal.", "2020-04-01"),
    )  # fmt: skip
    assert text == f"{corrected}\n\nSupplementary report: FISH is normal."


@pytest.mark.parametrize("day", ["2020-03-01", ""])
def test_an_addendum_stands_behind_its_report_whatever_the_order_of_rows(
    day: str, tmp_path: Path
) -> None:
    old, adds = ("Core: 10% cellular.", "2020-01-01"), "Addendum: iron is 2+."
    rows = [old, (adds, "2020-03-01"), (MAIN, day)]
    kept = [MAIN, adds] if day else [old[0], MAIN, adds]  # an undated one replaces none
    for some in itertools.permutations(rows):
        assert one_report(tmp_path, *some)[0].split("\n\n") == kept


def test_texts_of_one_date_are_one_report_in_the_order_of_the_file(tmp_path: Path) -> None:
    text, day = one_report(
        tmp_path, ("two", "2020-01-02"), ("one", "2020-01-01 12:00"), ("three", "2020-01-02 08:00")
    )
    assert text == "two\n\nthree"
    assert day == date(2020, 1, 2)


def test_an_undated_text_is_not_the_older_and_that_is_said(tmp_path: Path) -> None:
    rows = [("old", "2020-01-01"), ("undated", ""), ("new", "2021-01-01")]
    assert one_report(tmp_path, *rows) == ("new\n\nundated", date(2021, 1, 1))
    found = read_reports(tmp_path / "reports.csv")
    assert (found.n_rows, found.n_superseded, found.n_joined) == (3, 1, 2)
    assert "cases with dated and undated texts, joined as none is the older: 1" in found.text()
    assert one_report(tmp_path, ("one", ""), ("two", "")) == ("one\n\ntwo", None)


@given(
    days=st.lists(st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 9)), min_size=1, max_size=6),
    adds=st.lists(st.booleans(), min_size=6, max_size=6),
    data=st.data(),
)
def test_every_row_of_a_case_is_held_or_superseded_whatever_their_order(
    days: list[date | None],
    adds: list[bool],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rows = [
        {"case_id": "A", "text": f"{'Addendum' if add else 'Report'} {n}.", "reported_on": day}
        for n, (day, add) in enumerate(zip(days, adds, strict=False))
    ]
    folder = tmp_path_factory.mktemp("r")
    found = read_reports(saved(folder, csv_of(rows)))
    (report,) = found.reports
    held = report.text.split("\n\n")
    assert len(held) + found.n_superseded == found.n_rows == len(rows)
    assert {row["text"] for row in rows if row["reported_on"] is None} <= set(held)
    dated = [(row["reported_on"], row["text"]) for row in rows if row["reported_on"]]
    last = max((day for day, _ in dated), default=None)
    assert report.reported_on == last
    assert {text for day, text in dated if day == last} <= set(held)
    when = {text: day for day, text in dated}
    order = [when[text] for text in held if text in when]
    assert order == sorted(order)
    if len({day for day, _ in dated}) == len(days):
        other = read_reports(saved(folder, csv_of(data.draw(st.permutations(rows)))))
        assert other.reports == found.reports


@given(text=st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip))
def test_a_report_of_one_row_has_the_hash_of_its_text(text: str) -> None:
    alone = Report(case_id="A", text=text).report_hash
    assert alone == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize(
    "header", ["Case ID,Report Text,Report Date", "ACCESSION_NO,report,date", "case,TEXT,other"]
)
def test_column_names_are_told_apart(header: str, tmp_path: Path) -> None:
    (report,) = read_reports(saved(tmp_path, f"{header}\n12,hypocellular,2020-02-03\n")).reports
    assert (report.case_id, report.text) == ("12", "hypocellular")
    assert report.reported_on == (None if "other" in header else date(2020, 2, 3))


def test_our_own_column_name_wins(tmp_path: Path) -> None:
    (report,) = read_reports(saved(tmp_path, "case,case_id,text\n1,2,x\n")).reports
    assert report.case_id == "2"


@pytest.mark.parametrize(
    ("header", "problem"),
    [("patient,text", "no column case_id"), ("case,accession,text", "more than one column for")],
)
def test_other_columns_are_refused(header: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=problem) as raised:
        read_reports(
            saved(tmp_path, f"{header}\nSECRET,SECRET,SECRET\n"[: len(header) + 14] + "\n")
        )
    message = str(raised.value)
    assert all(repr(name) in message for name in header.split(","))
    assert "expected case_id, text, and where known reported_on" in message
    assert "SECRET" not in message


@pytest.mark.parametrize("wrong", ["March 2021", "2021-02-30", "20", "31/12/19"])
def test_a_date_that_is_none_fails_its_case_alone(wrong: str, tmp_path: Path) -> None:
    """No other row of that Case is used: which one holds cannot be told."""
    text = f"case_id,text,reported_on\nA,x,2020-01-01\nB,old,2019-01-01\nC,z,\nB,y,{wrong}\n"
    found = read_reports(saved(tmp_path, text))
    assert [one.case_id for one in found.reports] == ["A", "C"]
    assert list(found.failures) == ["B"]
    assert re.match(r"row 5: reported_on '.*' is not a date", found.failures["B"])


def test_most_rows_wrong_is_a_table_read_wrongly(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="has 2 faults"):
        read_reports(saved(tmp_path, "case_id,text,reported_on\nA,x,\nB,y,May\nC,z,June\n"))


def test_a_missing_case_id_fails_its_row_alone(tmp_path: Path) -> None:
    found = read_reports(saved(tmp_path, "case_id,text\nA,x\n ,y\n"))
    assert [one.case_id for one in found.reports] == ["A"]
    assert found.failures == {3: "no case_id"}


def test_a_text_of_no_encoding_fails_its_case_alone(tmp_path: Path) -> None:
    (tmp_path / "A.txt").write_bytes(b"caf\x81\xff")
    saved(tmp_path, "Cellularity 20%.", "B.txt")
    found = read_reports(tmp_path)
    assert [one.case_id for one in found.reports] == ["B"]
    assert "Save it as UTF-8" in found.failures["A"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", 'case_id,text\nA,"SECRET unterminated\n', "not a well-formed CSV, from row 2 on"),
        ("r.csv", "case_id,text\nA,SECRET, a comma\n", "row 2: has 3 cells, expected 2"),
        ("r.csv", "", "is empty"),
        (
            "r.jsonl",
            '{"case_id": "A", "text": "x"}\n{"text": SECRET',
            "line 2 is not a JSON object",
        ),
        ("r.jsonl", '["SECRET"]', "line 1 is not a JSON object"),
        ("r.jsonl", '{"case_id": "A", "text": ["SECRET"]}', "row 1: text is a list"),
        ("r.parquet", "SECRET", "not a well-formed .parquet"),
        (
            "r.docx",
            "SECRET",
            "has the suffix '.docx'. Expected a table: .csv, .tsv, .jsonl, .parquet, .xlsx",
        ),
    ],
)
def test_files_that_are_not_understood(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ReportError) as raised:
        read_reports(saved(tmp_path, content, name))
    assert message in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"holds no \.txt file"):
        read_reports(tmp_path)
    with pytest.raises(ReportError, match="does not exist"):
        read_reports(tmp_path / "none.csv")
    for read in (read_reports, lambda path: read_label_table(path, Target())):
        with pytest.raises(TrephineError, match="has a header and no rows"):
            read(saved(tmp_path, "case_id,text,value\n"))


@pytest.mark.parametrize("name", ["reports.txt", "r.xlsx", "r.parquet", "r", "r.doc", "pipe", "-"])
def test_what_no_table_is_read_from_is_refused_with_the_next_step(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    os.mkfifo(path) if name == "pipe" else path.write_text("case_id|text|value\nA|x|40\n")
    streams = name in ("pipe", "-")
    for read in (read_reports, lambda one: read_label_table(one, Target()), read_gold):
        with pytest.raises(TrephineError) as raised:
            read(path)
        assert ("PROGRAM > table.csv" if streams else "to .csv, or save") in str(raised.value)
    if not streams:
        assert read_reports(path.rename("table.csv")).reports[0].text == "x"


@pytest.mark.parametrize(
    ("encoding", "name"), [("cp1252", "Windows-1252"), ("mac_roman", "Mac Roman"), ("utf-8", "")]
)
def test_an_encoding_that_is_guessed_is_told_once(encoding: str, name: str, tmp_path: Path) -> None:
    german = "case_id,text\nA,Zellularität 40 % für das Alter\nB,für ältere"
    notes = read_reports(saved(tmp_path, german, encoding=encoding)).notes
    (folder := tmp_path / "texts").mkdir()
    for n in range(3):
        saved(folder, german, f"{n}.txt", encoding)
    for told, n in (notes, "1 file"), (read_reports(folder).notes, "3 files"):
        assert [name in note and n in note for note in told] == [True] * bool(name), told


def test_half_a_surrogate_pair_does_no_harm(tmp_path: Path) -> None:
    path = saved(tmp_path, '{"case_id": "A", "text": "a \\ud800 b"}', "r.jsonl")
    (report,) = read_reports(path).reports
    assert report.report_hash
