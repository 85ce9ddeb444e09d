"""What a person should look at: out of the store, and the values back into it."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import embedding_stores as es
from builders.ollama_server import said, serve, text_of
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore
from featurestore.errors import LabelError
from featurestore.types import Label, Report, Target
from ingest.labels import review, rules
from ingest.labels.config import LabelConfig, OllamaConfig
from ingest.labels.recording import label_table, record_reports

TARGET = Target()
TEXTS = {
    "C1": "CORE BIOPSY: The marrow is 40% cellular. Secret one.",
    "C2": "CORE BIOPSY: Blasts 20%. The marrow is 60% cellular. Secret two.",
    "C4": "CORE BIOPSY: The marrow is 80% cellular. Secret four.",
}
SAID = {"C1": "40%", "C2": "20%.", "C4": "80%"}  # of C2 a wrong one


def reports(names: str) -> list[Report]:
    day = date(2021, 1, 1)
    return [Report(case_id=name, text=TEXTS[name], reported_on=day) for name in names.split()]


def saved(folder: Path, texts: dict[str, str]) -> Path:
    path = folder / "reports.jsonl"
    rows = [{"case_id": name, "text": text} for name, text in texts.items()]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def answer(chat: dict[str, Any]) -> dict[str, Any]:
    return said(chat, SAID[next(k for k, v in TEXTS.items() if v == text_of(chat))])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def label(store: FeatureStore, names: str, url: str) -> None:
    config = OllamaConfig(host=url, busy_retries=0, backoff_s=0.01)
    record_reports(store, reports(names), target=TARGET, parser="both", ollama_config=config)


def test_disputes_are_kept_out_reviewed_and_settled_by_a_person(
    store: FeatureStore, tmp_path: Path
) -> None:
    with serve(answer) as server:
        label(store, "C1 C2 C4", server.url)
    statuses = dict(store.sql("select case_id, max(status) from labels group by 1").iter_rows())
    assert statuses["C1"] == statuses["C4"] == "agreed"
    assert store.sql("select case_id from best_labels order by 1").rows() == [("C1",), ("C4",)]
    todo = tmp_path / "todo.csv"
    assert review.export_review(store, todo, "cellularity", saved(tmp_path, TEXTS)).data["n"] == 1
    with todo.open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["case_id"] == "C2"
    assert (float(rows[0]["rules_value"]), float(rows[0]["ollama_value"])) == (60, 20)
    assert "60% cellular. Secret two" in rows[0]["excerpt"]
    unfilled = review.import_review(store, todo)
    assert unfilled.text() == "No row has a value; rows left empty: 1. Fill in value."
    rows[0]["value"] = "65"
    with todo.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    taken = review.import_review(store, todo)
    unknown = "1 of 1 cases are not in the store: 'C2'."  # no slide is
    assert taken.text().startswith(f"{unknown}\nlabels taken: 1. Next: ")
    best = store.sql("select value, method from best_labels where case_id = 'C2'").row(0)
    assert best == (65.0, "human")
    nothing = review.export_review(store, tmp_path / "later.csv")
    said = f"No label needs a person: {tmp_path / 'later.csv'} has no row."
    assert (nothing.data["n"], nothing.text()) == (0, said)
    assert store.sql("from labels where case_id = 'C2'").height == 3  # every one is kept


def test_a_list_of_none_but_unknown_cases_is_told_and_leaves_with_3(tmp_path: Path) -> None:
    store = es.build(tmp_path / "store", [np.zeros((2, 4), np.float16)] * 2, [10.0, 20.0])
    file, words = tmp_path / "todo.csv", ["review", "import", str(tmp_path / "todo.csv")]
    for cases, code in (("X1", "X2"), 3), (("X1", "C-0000"), 0), (("C-0001", "C-0000"), 0):
        file.write_text("case_id,value\n" + "".join(f"{one},30\n" for one in cases))
        out = CliRunner().invoke(cli.main, [*words, "--store", str(store.root)])
        n = sum(one.startswith("X") for one in cases)
        assert (out.exit_code, f"{n} of 2 cases are not in the" in out.stdout) == (code, n > 0)
    file.write_text("case_id,value\nX1,\n")
    assert CliRunner().invoke(cli.main, [*words, "--store", str(store.root)]).exit_code == 0


UNREAD = st.sampled_from(
    [
        "The marrow is {a}% cellular. The marrow is {b}% cellular.",
        "Cellularity 1{a}%.",
        "Cellularity: see below, {a} or so.",
    ]
)
FILLER = "The trabeculae are thin. Iron stores are normal. Megakaryocytes are seen in clusters. "


@given(UNREAD, st.integers(10, 40), st.integers(60, 95), st.integers(0, 40), st.integers(0, 40))
def test_what_leaves_a_value_open_is_quoted_in_its_own_words(
    frame: str, a: int, b: int, before: int, after: int
) -> None:
    open_ = frame.format(a=a, b=b)
    text = f"CORE BIOPSY: {before * FILLER}{open_} {after * FILLER}"
    assume(rules.parse(text).outcome == "not read")
    quoted = review.doubtful(text)
    assert len(quoted) <= 200
    pieces = quoted.split(" [...] ")
    assert all(piece in text for piece in pieces)
    wanted = [str(n) for name, n in (("{a}", a), ("{b}", b)) if name in frame]
    assert all(n in quoted for n in wanted)


def test_a_report_that_was_not_read_is_exported_with_what_leaves_it_open(
    store: FeatureStore, tmp_path: Path
) -> None:
    text = f"CORE BIOPSY: {20 * FILLER}The marrow is 20% cellular. The marrow is 80% cellular."
    report = Report(case_id="C9", text=text, reported_on=date(2021, 1, 1))
    record_reports(store, [report], target=TARGET, parser="rules")
    todo = tmp_path / "todo.csv"
    assert "--reports" in review.export_review(store, todo).text()
    said = review.export_review(store, todo, "cellularity", saved(tmp_path, {"C9": text})).text()
    assert "--reports" not in said
    assert "excerpt" not in said
    with todo.open() as file:
        row = next(csv.DictReader(file))
    assert row["status"] == "not read"
    assert row["excerpt"] == "The marrow is 20% cellular. [...] The marrow is 80% cellular."


def test_a_report_whose_text_changed_gets_no_excerpt(store: FeatureStore, tmp_path: Path) -> None:
    with serve(answer) as server:
        label(store, "C2", server.url)
    other = saved(tmp_path, {"C2": "Another text."})
    told = review.export_review(store, tmp_path / "todo.csv", "cellularity", other).text()
    assert "reports.jsonl lacks the report that was read: 1." in told
    with (tmp_path / "todo.csv").open() as file:
        assert next(csv.DictReader(file))["excerpt"] == ""


@pytest.mark.parametrize("first", ["report", "value"])
def test_a_corrected_report_leaves_the_persons_value_and_asks_for_a_look(
    first: str, store: FeatureStore, tmp_path: Path
) -> None:
    def read(text: str) -> None:
        report = Report(case_id="C1", text=text, reported_on=date(2021, 1, 1))
        record_reports(store, [report], target=TARGET, parser="rules")

    def judge(value: float) -> None:
        table = tmp_path / "values.csv"
        table.write_text(f"case_id,value\nC1,{value}\n")
        label_table(store, table, LabelConfig())

    def to_review() -> list[tuple[object, ...]]:
        found = store.named("named/labels_to_review", {"target": "cellularity"})
        return found["human_value", "rules_value", "status"].rows()

    acts = [lambda: read(TEXTS["C1"]), lambda: judge(45)]
    for act in acts if first == "report" else reversed(acts):
        act()
    read(TEXTS["C1"])  # the same again is no correction
    assert to_review() == []
    read("CORE BIOPSY, corrected: The marrow is 70% cellular.")
    assert to_review() == [(45.0, 70.0, "report corrected")]
    assert store.sql("select value, method from best_labels").rows() == [(45.0, "human")]
    judge(70)
    assert to_review() == []


def judge(store: FeatureStore, folder: Path, case_id: str, value: str) -> None:
    """Fill in one row of a list for review, and hand it in."""
    todo = folder / f"{case_id}-{value}.csv"
    review.export_review(store, todo)
    rows = list(csv.DictReader(todo.read_text().splitlines()))
    with todo.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(row | {"value": value} for row in rows if row["case_id"] == case_id)
    assert review.import_review(store, todo).data["n"] == 1


def test_who_reads_that_a_report_states_none_says_so_and_no_value_comes_back(
    store: FeatureStore, tmp_path: Path
) -> None:
    def held() -> tuple[list[str], dict[str, float]]:
        listed = store.named("named/labels_to_review", {"target": "cellularity"})
        best = store.sql("select case_id, value from best_labels")
        return listed["case_id"].to_list(), dict(best.iter_rows())

    with serve(answer) as server:
        label(store, "C2 C4", server.url)
    assert held() == (["C2"], {"C4": 80})
    judge(store, tmp_path, "C2", "States none")
    last = store.sql("select value, status, outcome from labels where method = 'human'")
    assert last.rows() == [(None, "single", "states none")]
    assert held() == ([], {"C4": 80})
    record_reports(store, reports("C2"), target=TARGET, parser="rules")  # who say 60
    assert held() == ([], {"C4": 80})
    other = Report(case_id="C2", text="CORE BIOPSY: The marrow is 70% cellular, as corrected.")
    record_reports(store, [other], target=TARGET, parser="rules")
    assert held() == (["C2"], {"C4": 80})
    judge(store, tmp_path, "C2", "45")
    assert held() == ([], {"C2": 45, "C4": 80})


def test_a_case_that_a_spreadsheet_would_run_is_quoted_and_read_back(
    store: FeatureStore, tmp_path: Path
) -> None:
    names = ["=HYPERLINK(1)", "+1", "-2", "@sum", "C"]
    some = [
        Label(
            case_id=name,
            target="cellularity",
            value=40.0,
            low=40.0,
            high=40.0,
            method="rules",
            status="unsupported",
            evidence="=2+2",
        )
        for name in names
    ]
    store.record(label.recorded(TARGET) for label in some)
    todo = tmp_path / "todo.csv"
    assert review.export_review(store, todo).data["n"] == len(names)
    lines = todo.read_text().splitlines()
    cells = [cell for row in csv.reader(lines[1:]) for cell in row]
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@"))]
    filled = [row | {"value": "50"} for row in csv.DictReader(lines)]
    with todo.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(filled[0]))
        writer.writeheader()
        writer.writerows(filled)
    assert review.import_review(store, todo).data["n"] == len(names)
    labelled = store.sql("select case_id from labels where method = 'human'")["case_id"]
    assert set(labelled) == set(names)


def test_an_export_leaves_a_file_with_what_a_person_filled_in(
    store: FeatureStore, tmp_path: Path
) -> None:
    path = tmp_path / "todo.csv"
    record_reports(store, reports("C1 C2"), target=TARGET, parser="rules")
    review.export_review(store, path)
    review.export_review(store, path)  # nobody wrote into it
    empty = path.read_text()
    filled = [empty + f"Q1,{cells},,,,,,,,,\n" for cells in ("45,,", ",40,50")]
    for held in ("case_id,text\nQ1,Cellularity 45%\n", *filled):
        path.write_text(held)
        with pytest.raises(LabelError, match=r"todo.csv exists, .* name a new file"):
            review.export_review(store, path)
        assert path.read_text() == held


@pytest.mark.parametrize("name", ["todo.xlsx", "todo", "todo.jsonl", "todo.TXT", "-", "a.b.tsv"])
def test_a_list_by_a_name_that_it_is_not_is_refused_with_one_that_it_is(
    store: FeatureStore, tmp_path: Path, name: str
) -> None:
    record_reports(store, reports("C1"), target=TARGET, parser="rules")
    with pytest.raises(LabelError, match=r"the list is a CSV, .*: name it \S+\.csv$") as raised:
        review.export_review(store, tmp_path / name, suspects={"C1": "far"})
    assert not (tmp_path / name).exists()
    better = Path(str(raised.value).rpartition(" ")[2])
    review.export_review(store, better, suspects={"C1": "far"})
    assert review.import_review(store, better).data["n_empty"] == 1


def test_a_list_of_one_target_gives_no_label_of_another(
    store: FeatureStore, tmp_path: Path
) -> None:
    blasts = Target(name="blasts")
    record_reports(store, reports("C1"), target=TARGET, parser="rules")
    said = review.export_review(store, tmp_path / "none.csv", suspects={})
    assert said.data["n"] == 0
    own = Label(
        case_id="C1", target="blasts", value=95, low=95, high=95, method="human", status="single"
    )
    store.record_labels([own], blasts)
    path = tmp_path / "todo.csv"
    said = review.export_review(store, path, "blasts", suspects={"C1": "label 95, predicted 28"})
    assert said.text().endswith(f"trephine review import {path} --target blasts")
    path.write_text(path.read_text().replace("C1,,", "C1,28,"))
    with pytest.raises(LabelError, match="its values are of target 'blasts', not 'cellularity'"):
        review.import_review(store, path)
    assert review.import_review(store, path, "blasts").data["n"] == 1
    labels = store.sql("select target, value from best_labels order by target").rows()
    assert labels == [("blasts", 28.0), ("cellularity", 40.0)]
