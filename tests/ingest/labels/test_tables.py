"""Rows of a table: the cells on the cellularity, with the names of their row and column."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.rules import parse
from ingest.labels.tables import Columns, cells_in

WORD = st.text("abcdeé1%", min_size=1, max_size=8)


def rows(*lines: str) -> list[list[tuple[str, str]] | None]:
    columns, found = Columns(), []
    for line in lines:
        taken = columns.take(line, "|", below="x", above="", listing=False)
        said = taken and [(one.names, one.text.strip()) for one in taken]
        found.append(taken if taken is None else said or [])
    return found


@given(st.lists(WORD, min_size=1, max_size=6), st.sampled_from("|\t,;"))
def test_cells_are_found_at_their_places(words: list[str], mark: str) -> None:
    line = mark.join(words)
    found = cells_in(line, mark)
    assert [text for _, text in found] == words
    assert all(line[at : at + len(text)] == text for at, text in found)


def test_a_row_goes_by_the_name_of_its_column_or_its_own() -> None:
    head, *below = rows("site | cellularity", "r pic | 40%", "l pic | 60%")
    assert head == []
    assert below == [[("r pic | cellularity : ", "40%")], [("l pic | cellularity : ", "60%")]]
    _, (cell, *none) = rows("item | value | unit", "cellularity | 40 | %")
    assert cell[1] == "40 %"
    assert none == []


def test_a_row_on_something_else_gives_no_cell() -> None:
    assert rows("item | value", "blasts | 3%")[1] is None


def test_other_columns_name_norms_and_earlier_times() -> None:
    _, found = rows("item | current | previous | normal", "cellularity | 40% | 70% | 30-50%")
    assert found is not None
    assert [names for names, _ in found] == [
        "cellularity (current) : ",
        "cellularity (previous) : ",
        "cellularity (expected) : ",
    ]


LEFT = {
    "|": "Cellularity | {} | 30-60%",
    "tab": "Cellularity\t{}\t30-60%",
    ";": "Cellularity;{};30-60%",
}
HEADS = {
    "|": "Test | Result | Reference",
    "tab": "Test\tResult\tReference",
    ";": "Test;Result;Reference",
}


@pytest.mark.parametrize("mark", LEFT)
def test_an_empty_cell_stays_empty(mark: str) -> None:
    for value, want in (("", None), ("-", None), ("45%", 45)):
        row = LEFT[mark].format(value)
        assert parse(f"Core biopsy\n{HEADS[mark]}\n{row}\n").value == want, row
    sep = {"|": " | ", "tab": "\t", ";": ";"}[mark]
    for cells, want in ((("", "60%"), None), (("40%", "60%"), 40), (("40%", ""), 40)):
        head, row = sep.join(("", "Core", "Clot")), sep.join(("Cellularity", *cells))
        assert parse(f"Bone marrow\n{head}\n{row}\n").value == want, row


def test_an_aligned_table_keeps_its_columns() -> None:
    head = "              Trephine   Clot     Normal"
    for cells, want in (
        ("              40%        60%      30-50%", 40),
        ("                         60%      30-50%", None),
        ("              40%                 30-50%", 40),
        ("                                  30-50%", None),
    ):
        row = "Cellularity" + cells[len("Cellularity") :]
        assert parse(f"Bone marrow\n{head}\n{row}\n").value == want, row


MARKS = st.sampled_from([" ", " ", "|", "\t", ";"])
NAMES = st.sampled_from(
    ["Cellularity", "Marrow cellularity", "Cellularity (%)", "Cellularity, %", "Cellularity (est.)"]
)
WANTED = st.sampled_from(["Core", "Trephine", "Core biopsy", "Result", "Observed", "This biopsy"])
OTHERS = ["Clot", "Aspirate", "Smear", "Normal", "Expected", "Reference range", "Previous", "2018"]
NO_VALUE = [
    "",
    "-",
    "n/a",
    "low",
    "increased",
    "not evaluable",
    "cannot assess",
    "markedly reduced",
]
FIGURES = st.sampled_from(["25%", "40-60%", "80 %", "increased", ""])
SHARES = st.sampled_from(["2%", "34%", "40%"])


def table(rows: list[list[str]], mark: str, gap: int = 2) -> str:
    """A table of cells; `gap` is how many blanks stand behind the longest name of a row."""
    if mark != " ":
        lines = [(f" {mark} " if mark == "|" else mark).join(row) for row in rows]
        return "\n".join(f"| {line} |" if mark == "|" else line for line in lines)
    columns = itertools.zip_longest(*rows, fillvalue="")
    widths = [max(map(len, column)) + 2 * (n > 0) for n, column in enumerate(columns)]
    widths[0] += gap
    lines = ["".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join(lines)


@given(st.data(), WANTED, NAMES, MARKS, st.booleans())
def test_a_cell_is_read_below_its_own_column_and_no_other(
    data: st.DataObject, wanted: str, name: str, mark: str, valued: bool
) -> None:
    columns = data.draw(st.lists(st.sampled_from(OTHERS), min_size=1, max_size=2, unique=True))
    columns = data.draw(st.permutations([wanted, *columns]))
    cell = data.draw(st.sampled_from(["5%", "35%", "90%"] if valued else NO_VALUE))
    row = [name, *(cell if of == wanted else data.draw(FIGURES) for of in columns)]
    rows = [row, ["Blasts", *(data.draw(SHARES) for _ in columns)]]
    head = [data.draw(st.sampled_from(["", "Test"])), *columns]
    text = table(
        [head, *data.draw(st.permutations(rows))], mark, data.draw(st.sampled_from([1, 3]))
    )
    text = f"Bone marrow core biopsy\n{text}\n"
    assert parse(text).value == (int(cell[:-1]) if valued else None), text


@given(st.data(), NAMES, MARKS, st.sampled_from(["(current)", "(this biopsy)", "present"]))
def test_the_row_that_is_said_to_be_of_now_holds(
    data: st.DataObject, name: str, mark: str, now: str
) -> None:
    value = data.draw(st.sampled_from(["5%", "35%", "90%", "", "-"]))
    rows = [["2018-03-04", "20%", data.draw(SHARES)], ["2019-06-21", value, data.draw(SHARES)]]
    head = ["Date", name, "Blasts"]
    order = data.draw(st.sampled_from([(0, 1, 2), (0, 2, 1)]))
    head, *rows = ([row[n] for n in order] for row in (head, *rows))
    place = data.draw(st.sampled_from(["day", "behind", "note"]))
    rows[1] = [f"2019-06-21 {now}", *rows[1][1:]] if place == "day" else [*rows[1], now]
    head = [*head, "Note"] if place == "note" else head
    rows[0] = [*rows[0], ""] if place == "note" else rows[0]
    text = f"Trephine\n{table([head, *data.draw(st.permutations(rows))], mark)}\n"
    told = place != "day" or now[0] == "("
    want = int(value[:-1]) if value[-1:] == "%" else None
    assert parse(text).value == want or not told, text


NOUNS = ["CD34", "CD138", "CD20", "Plasma cells", "Lymphocytes", "Erythroid", "Kappa"]


@given(st.data(), NAMES, MARKS, st.sampled_from(["Antibody", "Population", "Lineage", ""]))
def test_a_row_of_another_noun_is_its_share(
    data: st.DataObject, name: str, mark: str, first: str
) -> None:
    nouns = data.draw(st.lists(st.sampled_from(NOUNS), min_size=1, max_size=3, unique=True))
    rows = [[of, data.draw(SHARES), data.draw(st.sampled_from(["sheets", "few"]))] for of in nouns]
    text = f"Bone marrow core biopsy\n{table([[first, name, 'Pattern'], *rows], mark)}\n"
    assert parse(text).value is None, text
    numbered = [["S18-100", "20%", "prior"], ["S19-220", "35%", "current"]]
    text = f"Trephine\n{table([['Biopsy', name, 'When'], *numbered], mark)}\n"
    assert parse(text).value == 35, text
    cores = [["Core", "35%", "patchy"], ["Clot", "60%", "few"]]
    text = f"Bone marrow\n{table([['Site', name, 'Pattern'], *cores], mark)}\n"
    assert parse(text).value == 35, text


@given(st.data(), NAMES, MARKS, st.sampled_from(["L", "H", "N", "low", "high", "normal", "(L)"]))
def test_a_range_behind_a_value_or_its_flag_is_a_norm(
    data: st.DataObject, name: str, mark: str, flag: str
) -> None:
    blasts = ["Blasts", "2%", "", "0-5%"]
    for cells, want in (((name, "30%", flag), 30), ((name, flag), None), ((name, "30%"), 30)):
        rows = [[*cells, "40-50%"], [*blasts[: len(cells)], "0-5%"]]
        text = f"Bone marrow core\n{table(rows[: data.draw(st.integers(1, 2))], mark)}\n"
        assert parse(text).value == want, text
    for marks in ("[]", "()") if flag in "LHN(L)" else ():
        norm = f"{marks[0]}40-50%{marks[1]}"
        assert parse(f"Core biopsy\nCellularity: 30% {flag} {norm}\nBlasts: 2%").value == 30, norm
        assert parse(f"Core biopsy\nCellularity: {flag.strip('()')} {norm}\n").value is None, norm
    assert parse("Core biopsy. Cellularity 30% (40-60%). Blasts 2% (<5%).").value == 30
    assert parse("Core biopsies. Cellularity: L (40-50%), R (35%).").value == 40


@given(MARKS, st.sampled_from(["30%", "", "low"]), st.integers(1, 3))
def test_names_of_columns_in_the_middle_hold_for_what_follows(
    mark: str, value: str, above: int
) -> None:
    pairs = [["Specimen", "core biopsy"], ["Length", "14 mm"], ["Quality", "good"]][:above]
    rows = [["Test", "Result", "Reference"], ["Cellularity", value, "40-60%"]]
    text = table([*pairs, *rows], mark) if mark != "|" else "\n".join(map(" | ".join, pairs + rows))
    assert parse(f"Bone marrow biopsy\n{text}\n").value == (30 if value == "30%" else None), text


@pytest.mark.parametrize("name", ["Result", "Finding", "Value", "Observation"])
def test_a_column_that_is_named_for_what_was_found_holds_the_value(name: str) -> None:
    for v in (5, 40, 90):
        rows = f"Analyte\t{name}\tReference\tFlag\nCORE\nCellularity (%)\t{v}\t60-80\tH"
        assert parse(rows).value == v


@pytest.mark.parametrize("row", ["weighted mean given out: {}%", "Mean: {}%", "Overall {}%"])
def test_a_mean_below_the_row_of_both_cores_is_the_whole(row: str) -> None:
    table = "Trephine\n                     LEFT            RIGHT\nLength   9     20\n"
    for left, right in itertools.permutations((10, 45, 80), 2):
        whole = (left + 3 * right) // 4
        said = f"{table}Cellularity (%)      {left}              {right}\n{row.format(whole)}"
        assert parse(said).value == whole
        assert parse(said.replace("Trephine", "Clot section")).value is None


def test_a_share_beside_a_row_s_day_changes_nothing() -> None:
    head = "Date     | Cellularity % | M:E  | Ph+ metaphases\n"
    rows = "Dx       |  98           | 15   | 20/20\nMo 6     |  50           | 4    | 6/20\n"
    for value in (5, 65, 95):
        for day in ("Present", "Today", "Current"):
            given = f"{head}{rows}{day} |  {value}           | 8    | 11/20\n\nTrephine 17 mm."
            assert parse(given).value == value


@pytest.mark.parametrize("name", ["COMBINED (area-weighted)", "Overall", "Mean", "Weighted mean"])
def test_a_combined_row_further_below_is_the_whole_where_it_lies_between(name: str) -> None:
    head = "Core biopsies                RIGHT           LEFT\n"
    rows = "Cellularity, percent         60              40\n"
    rows += "Tumor, percent               20              0\n"
    assert parse(f"{head}{rows}{name:<29}49\n").value == 49
    assert parse(f"{head}{rows}{name:<29}11\n").value in (50, None)  # of the tumor


def test_accession_numbers_are_no_names_of_columns() -> None:
    head = "Trephine\n                     02-APR    19-APR    12-JUN (THIS REPORT)\n"
    numbers = "Accession           24-3310   24-3995   24-5871\n"
    for value in (5, 30, 85):
        row = f"Cellularity core %      90        10        {value}\n"
        assert parse(f"{head}{numbers}{row}").value == parse(f"{head}{row}").value == value


@pytest.mark.parametrize("mark", ["B3  ", "3.  ", "C   ", "(b) "])
def test_the_number_of_a_field_names_nothing(mark: str) -> None:
    for value in (5, 45, 95):
        field = f"{mark}Cellularity (%)                                {value}"
        assert (
            parse(f"TREPHINE\n{mark.replace('3', '2')}Length (mm)          19\n{field}").value
            == value
        )


def test_the_size_of_a_core_in_the_name_of_its_column_changes_nothing() -> None:
    for core in ("BOM", "BOM (24 mm, crête G)", "Biopsy (12 mm)", "Trephine (left, 9 mm)"):
        table = f"| Item | {core} | Aspirate |\n|---|---|---|\n| Cellularity | 60 % | 80 % |"
        assert parse(f"Trephine\n{table}\n| Blasts | 3 % | 4 % |").value == 60


@pytest.mark.parametrize("sides", [True, False])
def test_a_norm_beside_an_empty_column_of_findings_is_no_value(sides: bool) -> None:
    for found, value in itertools.product(("Found", "Result", "Observed"), ("55", "7", "")):
        rows = [
            ["Item", "Norm", found],
            ["Core cellularity, %", "30-50", value],
            ["Blasts", "", "22"],
        ]
        lines = [" | ".join(row) for row in rows]
        text = "\n".join(f"| {line} |" if sides else line for line in lines)
        assert parse(f"{text}\n").value == (int(value) if value else None), text


def test_the_present_sample_of_two_side_by_side_holds_with_its_material() -> None:
    for now, then in (("CURRENT (05/2020)", "PREVIOUS (11/2019)"), ("Present", "Earlier (2/2018)")):
        for value, old in ((15, 85), (90, 20)):
            left = ["Core 14 mm", f"Cellularity {old}%", "Blasts 44%"]
            right = ["Core 19 mm", f"Cellularity {value}%", "Blasts <1%"]
            for first, second in ((then, now), (now, then)):
                columns = [left, right] if first == then else [right, left]
                pairs = [(first, second), *zip(*columns, strict=True)]
                text = "\n".join(f"{a:<35}{b}" for a, b in pairs)
                assert parse(text).value == value, text
                clot = text.replace(now, now.replace(" (", " CLOT (") + " CLOT" * ("(" not in now))
                assert parse(clot).value is None, clot
