"""Values that people gave: tables of labels, and gold to measure a parser by."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import LabelError, ReportError
from featurestore.types import Target
from ingest.labels.config import ValueConfig
from ingest.labels.reports import read_gold, read_label_table


def saved(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_label_table(tmp_path: Path) -> None:
    text = "case_id,value,low,high\n007,40,,\nB,55%,50,60\nC,,10,20\n"
    labels = read_label_table(saved(tmp_path, text), Target()).labels
    assert [(label.case_id, label.value, label.low, label.high) for label in labels] == [
        ("007", 40, 40, 40),
        ("B", 55, 50, 60),
        ("C", 15, 10, 20),
    ]
    assert {(label.method, label.status, label.target) for label in labels} == {
        ("human", "single", "cellularity")
    }


def test_a_label_table_of_another_target(tmp_path: Path) -> None:
    relapse = Target(name="relapse", kind="binary", low=0, high=1)
    path = saved(tmp_path, '{"case": 1, "value": 1}\n{"case": 2, "value": 0}\n', "l.jsonl")
    assert [label.value for label in read_label_table(path, relapse).labels] == [1, 0]
    with pytest.raises(LabelError, match=r"row 2: .*value 0.5; relapse is 0 or 1"):
        read_label_table(saved(tmp_path, "case_id,value\nA,0.5\n"), relapse)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("B,140,,", "row 3: case 'B': value 140; cellularity is 0 to 100"),
        ("B,-1,,", "value -1; cellularity is 0 to 100"),
        ("B,50,60,70", "case 'B': value 50, low 60, high 70; expected low <= value <= high"),
        ("B,50,60,40", "row 3: case 'B'"),
        ("B,yes,,", "value 'yes' is a yes or a no, and no number: write 1 and 0"),
        ("B,Neg,,", "of --kind binary"),
        ("B,40-50,,", "value '40-50' is a range: leave value empty, and write its ends into"),
        ("B,40 to 50 %,,", "columns low and high"),
        ("B,<5,,", "value '<5' is a bound: leave value empty"),
        ("B,at least 90%,,", "is a bound"),
        ("B,many,,", "row 3: value 'many' is not a number nor 'states none'"),
        ("B,not stated,,", "'not stated' is no number: write 'states none'"),
        ("B,keine Angabe,,", "is no number: write 'states none'"),
        ("B,states none,,3", "case 'B': states none, and has low or high"),
        ("B,,30,", "row 3: case 'B': no value"),
        ("B,0.45,,", "row 3 has 0.45, and cellularity is 0 to 100. Shares of 1?"),
        ("B,inf,,", "row 3: value 'inf' is not a number"),
        ("B,nan,,", "row 3: case 'B' has no value"),
        ("B,,,", "row 3: case 'B' has no value"),
        (",50,,", "row 3: no case_id"),
        ("A,50,,", "row 3: case_id 'A' is there twice, first in row 2"),
    ],
)
def test_a_bad_row_of_a_label_table_is_named(row: str, message: str, tmp_path: Path) -> None:
    path = saved(tmp_path, f"case_id,value,low,high\nA,40,,\n{row}\n")
    with pytest.raises(LabelError) as raised:
        read_label_table(path, Target())
    assert message in str(raised.value)


def test_a_label_table_without_its_columns_is_a_label_error(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no column value: found 'case_id', 'x'"):
        read_label_table(saved(tmp_path, "case_id,x\nA,40\n"), Target())


@pytest.mark.parametrize("values", [(0, 1, 1), (0.4, 0.55, 1), (0,)])
def test_a_percentage_that_may_be_a_share_is_asked_about(
    values: tuple[float, ...], tmp_path: Path
) -> None:
    lines = "\n".join(f"C{n},{value}" for n, value in enumerate(values))
    path = saved(tmp_path, f"case_id,value\n{lines}\n")
    with pytest.raises(LabelError, match=r"Shares of 1\? Pass --scale 100.*--kind binary"):
        read_label_table(path, Target())
    for scale in (1, 100):
        labels = read_label_table(path, Target(), ValueConfig(scale=scale)).labels
        assert [label.value for label in labels] == pytest.approx([scale * v for v in values])
    relapse = Target(name="relapse", kind="binary", low=0, high=1)
    if set(values) <= {0, 1}:
        assert [label.value for label in read_label_table(path, relapse).labels] == list(values)


@given(percent=st.integers(0, 10_000))
def test_a_scaled_share_is_the_percentage_to_the_last_digit(
    percent: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = saved(tmp_path_factory.mktemp("t"), f"case_id,value\nA,{percent / 10_000}\n")
    (label,) = read_label_table(path, Target(), ValueConfig(scale=100)).labels
    assert label.value == percent / 100


def test_gold_needs_its_fields(tmp_path: Path) -> None:
    good = '{"id": "1", "text": "x", "value": null, "tags": ["easy"]}\n'
    assert read_gold(saved(tmp_path, good, "g.jsonl"))[0][0]["value"] is None
    with pytest.raises(ReportError, match="no column value"):
        read_gold(saved(tmp_path, good.replace("value", "vlaue"), "g.jsonl"))
    with pytest.raises(ReportError, match="row 2: no text"):
        read_gold(saved(tmp_path, good + '{"id": "2", "value": 3}\n', "g.jsonl"))


CELL = st.sampled_from(["", "0", "0.45", "1", "40", "60", "100", "-1", "140", "forty", "<5"])


@given(rows=st.lists(st.tuples(CELL | st.just("states none"), CELL, CELL), min_size=1, max_size=3))
def test_gold_takes_the_values_that_a_table_of_labels_takes_and_no_others(
    rows: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("t")
    lines = [f"C{n},x,{','.join(row)}" for n, row in enumerate(rows)]
    text = "\n".join(["case_id,text,value,low,high", *lines])
    path, gold = saved(folder, text), saved(folder, text.replace("case_id", "id"), "gold.csv")
    try:
        labels = read_label_table(path, Target(), skip_empty=True).labels
        refused = ""
    except LabelError as error:
        refused = str(error).replace("case 'C", "id 'C")
    if refused:
        with pytest.raises(ReportError) as raised:
            read_gold(gold)
        assert str(raised.value).replace(str(gold), str(path)) == refused
        return
    found = {row["id"]: row["value"] for row in read_gold(gold)[0] if row["value"] is not None}
    assert found == {one.case_id: one.value for one in labels if one.value is not None}
    assert all(0 <= value <= 100 for value in found.values())


WORDS_FOR_NOTHING = ["none", "nan", "NaN", "n/a", "NA", "null", "-", "unknown"]


@given(value=st.sampled_from([*WORDS_FOR_NOTHING, "true", "False", True, False, math.nan, [40]]))
def test_gold_without_a_number_is_refused_with_its_row(
    value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [{"id": "A", "text": "x", "value": one} for one in (None, 40, "", "states none", value)]
    rows = [row | {"id": str(n)} for n, row in enumerate(rows)]
    folder = tmp_path_factory.mktemp("t")
    good = saved(folder, "\n".join(map(json.dumps, rows[:-1])), "good.jsonl")
    assert [row["value"] for row in read_gold(good)[0]] == [None, 40, None, None]
    bad = saved(folder, "\n".join(map(json.dumps, rows)), "bad.jsonl")
    with pytest.raises(ReportError, match=r"row 5: value .*(?:no|not a) number|is a list"):
        read_gold(bad)


@given(words=st.lists(st.sampled_from([*WORDS_FOR_NOTHING, ""]), min_size=1))
def test_words_for_nothing_are_left_empty_counted_and_told_what_to_write(
    words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [f"C{n},{word},," for n, word in enumerate(words)]
    text = "\n".join(["case_id,value,low,high", "A,40,,", *lines])
    found = read_label_table(saved(tmp_path_factory.mktemp("t"), text), Target(), skip_empty=True)
    assert (len(found.labels), found.n_empty) == (1, len(words))
    told = [note for note in found.notes if "Write 'states none' where that is meant" in note]
    assert len(told) == any(words)


@given(yes=st.lists(st.booleans(), min_size=1))
def test_true_and_false_are_values_of_a_binary_target_alone(
    yes: list[bool], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [json.dumps({"case_id": f"C{n}", "value": one}) for n, one in enumerate(yes)]
    path = saved(tmp_path_factory.mktemp("t"), "\n".join(lines), "l.jsonl")
    relapse = Target(name="relapse", kind="binary", low=0, high=1)
    assert [one.value for one in read_label_table(path, relapse).labels] == yes
    with pytest.raises(LabelError, match="is a yes or a no, and no number"):
        read_label_table(path, Target())
