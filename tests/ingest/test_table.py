"""Tables as people hand them over: any dialect reads back the same rows, and nothing is guessed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from builders.workbook import write_workbook
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from featurestore.errors import CohortError, ConfigError
from featurestore.types import Case, Slide, Target
from ingest.table import (
    Column,
    Table,
    TableConfig,
    column_of,
    is_missing,
    read_split,
    read_table,
    read_truth,
)

COLUMNS = (
    Column(name="case_id", kind="id", needed=True, filled=True),
    Column(name="note", kind="prose"),
    column_of(Slide, "scanned_on", also=("date",)),
    column_of(Case, "age_years"),
    column_of(Slide, "specimen"),
)
NAMES = [column.name for column in COLUMNS]

letters = st.characters(  # but capitals that stand in Mac Roman for small letters
    codec="cp1252", categories=["L", "N", "P", "Zs", "Sc"], exclude_characters="ŠŽŸ"
)
notes = st.text(letters | st.sampled_from('\n",;|\t'), min_size=1).filter(str.strip)
ids = st.text(st.sampled_from("0123456789ABz-_."), min_size=1, max_size=8).filter(
    lambda text: not is_missing(text)
)
days = st.dates(date(1930, 1, 1), date.today())
ages = st.integers(0, 13_000).map(lambda n: n / 100)
rows = st.lists(
    st.tuples(
        ids,
        st.none() | notes,
        st.none() | days,
        st.none() | ages,
        st.none() | st.sampled_from(["core", "clot", "aspirate", "other"]),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row[0],
)


def written(row: Sequence[Any], day: str, mark: str) -> list[str]:
    """A row as texts: dates in a format, numbers with two decimals after a mark."""
    case_id, note, on, age, specimen = row
    return [
        case_id,
        note or "",
        on.strftime(day) if on else "",
        "" if age is None else f"{age:.2f}".replace(".", mark),
        specimen or "",
    ]


def as_csv(
    separator: str, encoding: str, day: str = "%Y-%m-%d", mark: str = ".", end: str = "\n"
) -> Callable[[Path, list[Any]], Path]:
    def write(folder: Path, table: list[Any]) -> Path:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=separator, lineterminator=end)
        writer.writerow([f" {name.upper().replace('_', ' ')} " for name in NAMES])
        writer.writerows(written(row, day, mark) for row in table)
        path = folder / "table.csv"
        path.write_bytes(out.getvalue().encode(encoding))
        return path

    return write


def as_jsonl(folder: Path, table: list[Any]) -> Path:
    lines = [json.dumps(dict(zip(NAMES, row, strict=True)), default=str) for row in table]
    path = folder / "table.jsonl"
    path.write_text("\n".join(lines))
    return path


def as_parquet(folder: Path, table: list[Any]) -> Path:
    types = [pl.String, pl.String, pl.Date, pl.Float64, pl.String]
    frame = pl.DataFrame(table, schema=dict(zip(NAMES, types, strict=True)), orient="row")
    frame.write_parquet(folder / "table.parquet")
    return folder / "table.parquet"


def as_workbook(folder: Path, table: list[Any]) -> Path:
    return write_workbook(folder / "table.xlsx", [NAMES, *table])


def as_workbook_of_serials(folder: Path, table: list[Any]) -> Path:
    def serial(on: date | None) -> int | None:
        return on and (on - date(1899, 12, 30)).days

    plain = [(*row[:2], serial(row[2]), *row[3:]) for row in table]
    return write_workbook(folder / "table.xlsx", [NAMES, *plain])


DIALECTS = {
    "comma": as_csv(",", "utf-8"),
    "with a mark": as_csv(",", "utf-8-sig", end="\r\n"),
    "Excel in Germany": as_csv(";", "cp1252", "%d.%m.%Y", ",", "\r\n"),
    "Excel's Unicode text": as_csv("\t", "utf-16"),
    "pipes, compact dates": as_csv("|", "utf-8", "%Y%m%d"),
    "times": as_csv(",", "utf-8", "%Y-%m-%dT08:30:00Z"),
    "JSON lines": as_jsonl,
    "Parquet": as_parquet,
    "workbook": as_workbook,
    "workbook of serials": as_workbook_of_serials,
}


def is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def read_back(table: Table) -> list[tuple[Any, ...]]:
    table.refuse(ConfigError)
    return [tuple(row.values[name] for name in NAMES) for row in table.rows]


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=30, deadline=None)
@given(table=rows)
def test_any_table_in_any_dialect_reads_back_the_same_rows(
    dialect: str, table: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = DIALECTS[dialect](tmp_path_factory.mktemp("t"), table)
    if dialect == "Excel in Germany":  # bytes that are UTF-8 as well are taken for it
        assume(not is_utf8(path) or path.read_bytes().isascii())
    assert read_back(read_table(path, COLUMNS)) == table


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"])
@settings(max_examples=60, deadline=None)
@given(on=st.lists(days, min_size=1, max_size=5))
def test_dates_with_the_year_last_are_right_or_refused(
    form: str, on: list[date], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = [(str(n), None, day, None, None) for n, day in enumerate(on)]
    path = as_csv(",", "utf-8", form)(tmp_path_factory.mktemp("t"), table)
    assert read_back(read_table(path, COLUMNS, TableConfig(date_format=form))) == table
    if any(day.day > 12 for day in on) or all(day.day == day.month for day in on):
        assert read_back(read_table(path, COLUMNS)) == table
    else:
        with pytest.raises(ConfigError, match="--date-format %d/%m/%Y or %m/%d/%Y"):
            read_back(read_table(path, COLUMNS))


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%Y%m%d", "%d/%m/%Y"])
@settings(max_examples=20, deadline=None)
@given(ahead=st.integers(2, 30_000), on=st.dates(date(1990, 1, 31), date(2020, 1, 1)))
def test_a_day_that_has_not_come_is_refused_with_its_row(
    form: str, ahead: int, on: date, tmp_path_factory: pytest.TempPathFactory
) -> None:
    later = date.today() + timedelta(days=ahead)
    table = [("a", None, on, None, None), ("b", None, later, None, None)]
    path = as_csv(",", "utf-8", form)(tmp_path_factory.mktemp("t"), table)
    with pytest.raises(ConfigError, match=r"row 3.*scanned_on .* lies in the future"):
        read_back(read_table(path, COLUMNS, TableConfig(date_format=form)))


@pytest.mark.parametrize("form", ["{d:02}.{m:02}.{y}", "{d}/{m}/{y}", "{y}-{m:02}-{d:02}"])
@settings(max_examples=20, deadline=None)
@given(y=st.integers(1990, 2020), m=st.integers(13, 99), d=st.integers(13, 31))
def test_a_day_that_no_calendar_has_is_refused_with_its_row(
    form: str, y: int, m: int, d: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for text in (form.format(y=y, m=m, d=d), form.format(y=y, m=2, d=max(d, 30))):
        path = saved(tmp_path_factory.mktemp("t"), f"case_id,scanned_on\n1,{text}\n")
        with pytest.raises(ConfigError, match=r"row 2.* is not a date"):
            read_back(read_table(path, COLUMNS))


def test_the_month_comes_never_first_before_a_dot_nor_both_first_in_one_column(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError, match=r"row 2: scanned_on '01\.13\.2019' is not a date"):
        read_back(read_table(saved(tmp_path, "case_id,scanned_on\n1,01.13.2019\n2,x\n"), COLUMNS))
    path = saved(tmp_path, "case_id,scanned_on\n1,01/13/2019\n2,13/01/2019\n")
    with pytest.raises(ConfigError, match=r"'13/01/2019' has the day and '01/13/2019' the month"):
        read_back(read_table(path, COLUMNS))


@settings(max_examples=40, deadline=None)
@given(
    odd=st.characters(categories=["Cc", "Cf", "Zl", "Zp"]).filter(lambda c: c not in "\0\r\n"),
    name=st.sampled_from(["case_id", "path"]),
)
def test_ids_and_paths_with_unseen_characters_are_refused_and_never_shown(
    odd: str, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    columns = [*COLUMNS, Column(name="path", kind="path")]
    row = {"case_id": "C1", "path": "x.svs"} | {name: f"a{odd}b"}
    path = saved(tmp_path_factory.mktemp("t"), json.dumps(row), "t.jsonl")
    with pytest.raises(ConfigError, match=f"row 1: {name} .* control character") as told:
        read_table(path, columns).refuse(ConfigError)
    assert str(told.value).isprintable()


def saved(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def ages_of(folder: Path, *texts: str) -> list[float]:
    lines = [f"{n}\t{text}" for n, text in enumerate(texts)]
    table = read_table(saved(folder, "case_id\tage_years\n" + "\n".join(lines)), COLUMNS)
    return [row[3] for row in read_back(table)]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("55%", "1e1", "+7", ".5"), [55, 10, 7, 0.5]),
        (("0,252", "12"), [0.252, 12]),
        (("1,234", "0,5"), [1.234, 0.5]),
        (("1.234", "7"), [1.234, 7]),
        (("1.5", "0,5"), [1.5, 0.5]),
    ],
)
def test_numbers_as_people_write_them(
    texts: tuple[str, ...], expected: list[float], tmp_path: Path
) -> None:
    assert ages_of(tmp_path, *texts) == expected


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("1,234", "7"), "'1,234' could be 1.234 or 1234"),
        (("1,234", "0,5", "0.5"), "'1,234' could be 1.234 or 1234"),
        (("many",), "'many' is not a number"),
        (("inf",), "'inf' is not a number"),
        (("true",), "'true' is not a number"),
        (("1_0",), "'1_0' is not a number"),
        (("300",), "is 300, expected 0 to 130"),
        (("1,234.5",), "is 1234.5, expected 0 to 130"),
    ],
)
def test_numbers_that_are_none_are_told(
    texts: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="row 2: age_years") as raised:
        ages_of(tmp_path, *texts)
    assert message in str(raised.value)


@pytest.mark.parametrize("word", ["nan", "NA", "n/a", "null", "-", "Unknown", " ", "NaT", "<NA>"])
def test_words_for_nothing_are_missing_and_counted(word: str, tmp_path: Path) -> None:
    lines = f"case_id,date,age_years,specimen\nA,{word},{word},{word}\nB,2020-01-01,50,core\n"
    table = read_table(saved(tmp_path, lines), COLUMNS)
    assert read_back(table)[0] == ("A", None, None, None, None)
    assert table.missing == {"case_id": 0, "scanned_on": 1, "age_years": 1, "specimen": 1}
    told = f"age_years is missing where it says: 1 {word!r}"
    assert (told in table.notes) == bool(word.strip())


def test_everything_wrong_is_told_at_once_and_the_first_ten_are_named(tmp_path: Path) -> None:
    lines = [f"{n},2020-13-0{n % 9},old,heel" for n in range(1, 9)]
    path = saved(tmp_path, "case_id,date,age_years,specimen\n" + "\n".join(lines))
    with pytest.raises(ConfigError) as raised:
        read_back(read_table(path, COLUMNS))
    message = str(raised.value).splitlines()
    assert message[0] == f"{path} has 24 faults; the first 10:"
    assert len(message) == 11
    assert message[1].startswith("  row 2: ")
    assert "specimen is 'heel', expected core, clot, aspirate, other" in str(raised.value)
    assert [row.number for row in read_table(path, COLUMNS).sound()] == []


def test_columns_are_found_by_name_by_others_names_and_as_told(tmp_path: Path) -> None:
    path = saved(tmp_path, "PATH;Scan Date;Case-ID;date;;Ward\nx;y;7;2020-01-02;;B3\n")
    table = read_table(path, COLUMNS)
    assert read_back(table) == [("7", None, date(2020, 1, 2), None, None)]
    assert table.rows[0].extra == {"PATH": "x", "Scan Date": "y", "Ward": "B3"}
    told = read_table(path, COLUMNS, TableConfig(column=("note=scan date", "case_id=PATH")))
    assert read_back(told) == [("x", "y", date(2020, 1, 2), None, None)]


@pytest.mark.parametrize(
    ("header", "config", "message"),
    [
        ("patient,note", {}, "no column case_id: found 'patient', 'note'; expected case_id"),
        ("case_id,Case ID", {}, "more than one column for case_id"),
        ("case_id", {"column": ("note=X",)}, "no column X"),
        ("case_id", {"column": ("nose=X",)}, "no such column here"),
        ("case_id", {"column": ("note",)}, "column is OURS=THEIRS"),
        ("case_id", {"date_format": "DD/MM/YYYY"}, "date-format is as %d/%m/%Y"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(
    header: str, config: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as raised:
        read_table(saved(tmp_path, header + "\n1,2\n"), COLUMNS, TableConfig(**config))
    assert message in str(raised.value)


def test_blank_rows_and_exact_copies_are_left_out_and_rows_keep_their_numbers(
    tmp_path: Path,
) -> None:
    path = saved(tmp_path, "\ncase_id,note\n\nA,x\n , \nA,x \nB,y\n\n")
    table = read_table(path, COLUMNS)
    assert [(row.number, row.values["case_id"]) for row in table.rows] == [(4, "A"), (7, "B")]
    assert table.notes == ["rows that are exact copies of others, left out: 1"]


def test_a_first_line_that_names_the_separator_is_none_of_the_table(tmp_path: Path) -> None:
    table = read_table(saved(tmp_path, "sep=;\r\ncase_id;note\r\nA;x,y\r\n"), COLUMNS)
    assert read_back(table) == [("A", "x,y", None, None, None)]


def test_ids_of_numbers_are_texts(tmp_path: Path) -> None:
    pl.DataFrame({"case_id": [7, 12]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"case_id": [7.0, 12.0]}).write_parquet(tmp_path / "b.parquet")
    write_workbook(tmp_path / "c.xlsx", [["case_id"], [7], [12]])
    for name in ("a.parquet", "b.parquet", "c.xlsx"):
        table = read_table(tmp_path / name, COLUMNS)
        assert [row.values["case_id"] for row in table.rows] == ["7", "12"]


PATHS = (Column(name="path", kind="path", needed=True, filled=True),)


def paths_of(folder: Path, *texts: str) -> list[Path]:
    table = read_table(saved(folder, "path\n" + "\n".join(texts)), PATHS)
    table.refuse(ConfigError)
    return [row.values["path"] for row in table.rows]


def test_paths_start_from_the_table_and_windows_ones_are_understood(tmp_path: Path) -> None:
    (tmp_path / "scans" / "x").mkdir(parents=True)
    for name in ("a.svs", "scans/a.svs", "scans/x/b.svs", "back\\slash.svs"):
        (tmp_path / name).touch()
    assert paths_of(
        tmp_path, "a.svs", r"scans\a.svs", r"D:\old\scans\x\b.svs", r"\\server\x\scans\gone.svs",
        "/abs/c.svs", "back\\slash.svs",
    ) == [
        tmp_path / "a.svs",
        tmp_path / "scans/a.svs",
        tmp_path / "scans/x/b.svs",
        tmp_path / "scans/gone.svs",
        Path("/abs/c.svs"),
        tmp_path / "back\\slash.svs",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="are one file here"):
        paths_of(tmp_path, r"D:\one\a.svs", r"D:\two\a.svs")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "does not exist"),
        ("t.docx", "x", "has the suffix '.docx'. Expected a table: .csv"),
        ("t.csv", " \n", "is empty"),
        ("t.csv", f"A1,{'x' * 41}\n" * 2, f"found 'A1', '{'x' * 20}'[.][.][.]; expected"),
        ("t.csv", 'case_id,note\nA,"x\n', "not a well-formed CSV, from row 2 on"),
        ("t.xlsx", "x", "is not a workbook"),
        ("t.parquet", "x", "is not a well-formed .parquet file"),
        ("t.jsonl", "{}\n[]", "line 2 is not a JSON object"),
    ],
)
def test_files_that_are_no_tables(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name if content is None else saved(tmp_path, content, name)
    with pytest.raises(ConfigError, match=message):
        read_table(path, COLUMNS)


# -- split and truth -------------------------------------------------------------------------------


def test_a_split_table_names_slides_or_patients(tmp_path: Path) -> None:
    path = saved(tmp_path, "Slide ID;split\n007;train\n8;test\n")
    assert read_split(path) == {"007": "train", "8": "test"}
    path = saved(tmp_path, "patient_id,split\nP,train\nP,train\nQ,test\n")
    assert read_split(path) == {"P": "train", "Q": "test"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case_id,split\nA,train\n", "neither slide_id nor patient_id"),
        ("slide_id\nA\n", "no column split"),
        ("patient_id,split\nP,train\nP,test\n", "row 3: patient_id 'P' is on two sides"),
        ("slide_id,split\nP,train\n,test\n", "row 3: no slide_id"),
        ("slide_id,split\nP,\n", "row 2: no split"),
    ],
)
def test_a_split_table_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError) as raised:
        read_split(saved(tmp_path, text))
    assert message in str(raised.value)


def test_the_truth_is_a_number_for_each_slide(tmp_path: Path) -> None:
    path = saved(tmp_path, "slide_id,cellularity\n007,40.5\nB,\nC,60\n")
    truth = read_truth(path, Target())
    assert truth.rows() == [("007", 40.5), ("C", 60.0)]
    assert truth.columns == ["slide_id", "truth"]
    with pytest.raises(ConfigError, match="row 2: cellularity is 140, expected 0 to 100"):
        read_truth(saved(tmp_path, "slide_id,cellularity\nA,140\n"), Target())


def test_long_columns_are_read_fast_enough(tmp_path: Path) -> None:
    lines = "\n".join(
        f"{n:06},{date(2000, 1, 1) + timedelta(days=n % 9000)},{n % 90}" for n in range(20_000)
    )
    table = read_table(saved(tmp_path, f"case_id,scanned_on,age_years\n{lines}"), COLUMNS)
    assert len(table.rows) == 20_000
    assert table.rows[7].values["case_id"] == "000007"


def test_what_is_no_text_is_kept_as_json_or_told(tmp_path: Path) -> None:
    nested = pl.DataFrame({"case_id": ["A"], "visits": [[date(2020, 1, 2)]]})
    nested.write_parquet(tmp_path / "t.parquet")
    (row,) = read_table(tmp_path / "t.parquet", COLUMNS).rows
    assert row.extra == {"visits": '["2020-01-02"]'}
    path = saved(tmp_path, '{"case_id": {"no": 7}, "note": "x"}', "t.jsonl")
    with pytest.raises(ConfigError, match="case_id is a dict, expected a text"):
        read_back(read_table(path, COLUMNS))
