"""Labels in the store: asked once, kept for ever, judged by people, without report text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from builders.ollama_server import Reply, said, serve, text_of

import sql
from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Label, Report, Target, now
from ingest.labels import recording as labelling
from ingest.labels.config import LabelConfig, OllamaConfig
from ingest.labels.reports import read_label_table
from ingest.labels.review import import_review

TARGET = Target()
TEXTS = {
    "C1": "CORE BIOPSY: The marrow is 40% cellular. Secret one.",
    "C2": "CORE BIOPSY: Blasts 20%. The marrow is 60% cellular. Secret two.",
    "C3": "CORE BIOPSY: hypocellular for age. Secret three.",
    "C4": "CORE BIOPSY: The marrow is 80% cellular. Secret four.",
}
SAID = {"C1": ["40%"], "C2": ["20%."], "C3": [], "C4": ["80%"]}  # of C2 a wrong one


def reports(names: str = "C1 C2 C3") -> list[Report]:
    return [
        Report(case_id=name, text=TEXTS[name], reported_on=date(2021, 1, 1))
        for name in names.split()
    ]


def answer(chat: dict) -> dict:
    case = next(k for k, v in TEXTS.items() if v == text_of(chat))
    return said(chat, *SAID[case])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def label(store: FeatureStore, names: str, parser: str, url: str = "", **more: object):
    config = OllamaConfig(host=url or None, busy_retries=0, backoff_s=0.01)
    return labelling.record_reports(
        store,
        reports(names),
        target=TARGET,
        parser=parser,  # type: ignore[arg-type]
        ollama_config=config,
        **more,  # type: ignore[arg-type]
    )


def test_an_answered_report_is_never_asked_again_even_if_it_has_no_figure(
    store: FeatureStore,
) -> None:
    with serve(answer) as server:
        label(store, "C1 C2 C3", "ollama", server.url)
        assert len(server.chats) == 3
        before = store.sql("from labels order by label_id")
        label(store, "C1 C2 C3", "ollama", server.url)
        assert len(server.chats) == 3
    assert store.sql("from labels order by label_id").equals(before)
    rows = store.sql("select case_id, value, status from labels order by case_id").rows()
    assert rows == [("C1", 40.0, "single"), ("C2", 20.0, "unsupported"), ("C3", None, "single")]
    assert store.sql("select case_id from best_labels").rows() == [("C1",)]


@pytest.mark.proof
def test_an_answer_that_arrived_before_a_kill_is_never_asked_for_again(
    store: FeatureStore, tmp_path: Path
) -> None:
    """Killed after 2 and 13 answers, others in flight; only those may be asked again."""
    texts = {f"R{n}": f"CORE BIOPSY: The marrow is {n + 20}% cellular. Secret." for n in range(24)}
    texts["R23"] = "CORE BIOPSY: hypocellular. Secret."
    file = tmp_path / "reports.jsonl"
    rows = [json.dumps({"case_id": case, "text": text}) for case, text in texts.items()]
    file.write_text("\n".join(rows))
    told: Counter[str] = Counter()  # answers sent, by text
    lock, room = threading.Lock(), 0

    def answer_or_hang(chat: dict) -> dict | Reply:
        nonlocal room
        with lock:
            room -= 1
            if room < 0:
                return Reply(after_s=2, hang_up=True)
            text = text_of(chat)
            told[text] += 1
        return said(chat, *re.findall(r"\d+%", text))

    with serve(answer_or_hang) as server:
        options = ["--parser", "both", "--host", server.url, "--store", str(store.root)]
        command = [sys.executable, "-c", "import cli; cli.main()", "label", str(file), *options]
        for room_now in (2, 11):
            room, before = room_now, len(server.chats)
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as call:
                while len(server.chats) < before + room_now + 4:  # 4 at once: all of them hang
                    time.sleep(0.01)
                    assert call.poll() is None
                call.kill()
        room = 99
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        assert len(server.chats) == 24 + 2 * 4
    assert set(told.values()) == {1}
    assert len(told) == 24
    rows = store.sql("select method, status, count(*) from labels group by all order by all").rows()
    methods = ("ollama", "rules")
    assert rows == [(one, *row) for one in methods for row in (("agreed", 23), ("single", 1))]
    assert not any(b"Secret" in p.read_bytes() for p in store.root.rglob("*") if p.is_file())


def test_an_answer_whose_quote_was_dropped_is_still_supported(store: FeatureStore) -> None:
    with serve(answer) as server:
        label(store, "C1 C2", "ollama", server.url, keep_evidence=False)
        batch = label(store, "C1 C2", "ollama", server.url)
        assert len(server.chats) == 2
    assert [label.status for label in batch.labels] == ["single", "unsupported"]


def test_no_text_of_a_report_is_in_the_store_and_evidence_can_be_left_out(
    store: FeatureStore,
) -> None:
    label(store, "C1", "rules")
    label(store, "C2", "rules", keep_evidence=False)
    rows = store.sql("select evidence is null from labels order by case_id").rows()
    assert rows == [(False,), (True,)]
    for path in store.root.rglob("*"):
        if path.is_file():
            assert b"Secret" not in path.read_bytes()


def test_one_failing_report_is_recorded_and_mended_by_a_later_call(store: FeatureStore) -> None:
    with serve(lambda c: Reply(status=503) if "one" in text_of(c) else answer(c)) as server:
        batch = label(store, "C1 C3", "ollama", server.url)
        assert [f.case_id for f in batch.failures] == ["C1"]
        row = store.sql("select item, stage, reason from failures").row(0)
        assert row[:2] == ("report of case C1", "label")
        assert "Secret" not in row[2]
        server.script = answer
        label(store, "C1 C3", "ollama", server.url)
    assert store.sql("from failures").is_empty()


def test_a_dispute_sets_aside_what_one_parser_said_before(store: FeatureStore) -> None:
    label(store, "C2", "rules")
    assert store.sql("select value from best_labels").rows() == [(60.0,)]
    with serve(answer) as server:
        label(store, "C2", "both", server.url)
        assert store.sql("from best_labels").is_empty()
        assert store.named("named/labels_to_review", {"target": "cellularity"}).height == 1
        label(store, "C2", "rules")
        label(store, "C2", "ollama", server.url)  # one alone does not settle it
        label(store, "C4", "both", server.url)
    assert store.sql("select case_id from best_labels").rows() == [("C4",)]
    known = sql.read("named/labels_as_of")
    assert store.sql(known, {"as_of": "2101-01-01"})["case_id"].to_list() == ["C4"]


UNREAD = "CORE BIOPSY: The marrow is 20% cellular. The marrow is 80% cellular. Secret five."


def to_review(store: FeatureStore) -> list[tuple[object, ...]]:
    found = store.named("named/labels_to_review", {"target": "cellularity"})
    return found["case_id", "status", "reason"].rows()


def test_what_a_reading_says_is_stored_and_asks_for_a_look(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEXTS, "C5", UNREAD)
    label(store, "C1 C3 C5", "rules")
    rows = store.sql("select case_id, value, outcome, reason from labels order by 1").rows()
    assert rows == [
        ("C1", 40.0, "stated", None),
        ("C3", None, "states none", "every figure has another owner"),
        ("C5", None, "not read", "figures disagree"),
    ]
    assert to_review(store) == [("C5", "not read", "figures disagree")]
    store.record_labels([replace(table_label("C5"), value=50.0)], TARGET)
    assert to_review(store) == []


@pytest.mark.parametrize("known", [False, True])
def test_what_the_rules_could_not_read_is_left_to_a_supported_claim_of_the_model(
    known: bool, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEXTS, "C5", UNREAD)
    monkeypatch.setitem(SAID, "C5", ["80%"])
    with serve(answer) as server:
        label(store, "C5", "ollama" if known else "rules", server.url, keep_evidence=False)
        label(store, "C5", "both", server.url)
        assert len(server.chats) == 1
    assert store.sql("select distinct status from labels").rows() == [("single",)]
    assert store.sql("select value, method from best_labels").rows() == [(80.0, "ollama")]
    assert to_review(store) == []


def test_a_dispute_ends_where_the_rules_no_longer_read(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEXTS, "C5", UNREAD)
    monkeypatch.setitem(SAID, "C5", ["80%"])
    said_before = replace(
        table_label("C5"), method="rules", report_hash=reports("C5")[0].report_hash
    )
    store.record([replace(said_before, status="disputed").recorded(TARGET)])
    with serve(answer) as server:
        label(store, "C5", "ollama", server.url)
        assert store.sql("from best_labels").is_empty()
        label(store, "C5", "both", server.url)
    assert store.sql("select value, method from best_labels").rows() == [(80.0, "ollama")]


def test_a_label_made_by_an_earlier_version_keeps_its_id() -> None:
    earlier = replace(table_label("C1"), method="rules", rule="x")
    assert earlier.content_id == "c8f404e20315c119"
    assert replace(earlier, outcome="stated", reason="none").content_id == earlier.content_id


def table_label(case_id: str) -> Label:
    said = {"value": 40.0, "low": 40.0, "high": 40.0, "method": "human", "status": "single"}
    return Label(case_id=case_id, target="cellularity", **said)  # type: ignore[arg-type]


def test_of_what_a_person_said_the_last_holds(store: FeatureStore, tmp_path: Path) -> None:
    for value in ("40", "50", "40"):
        file = tmp_path / "table.csv"
        file.write_text(f"case_id,value\nC1,{value}\n")
        labels = read_label_table(file, TARGET).labels
        store.record_labels(labels, TARGET)
        assert store.sql("select value from best_labels").rows() == [(float(value),)]


@pytest.mark.parametrize("method", ["human", "rules", "ollama"])
def test_what_a_source_said_last_adds_nothing_and_what_it_changes_wins(
    store: FeatureStore, method: str
) -> None:
    """Forty Cases, each with values of its own over five calls."""
    rows = np.random.default_rng(len(method)).choice([40.0, 50.0, 60.0], (5, 40))
    n_new = [40, *(rows[1:] != rows[:-1]).sum(axis=1).tolist()]
    for values, expected in zip(rows, n_new, strict=True):
        labels = [
            replace(table_label(f"C{i:02}"), value=value, low=value, high=value, method=method)
            for i, value in enumerate(values.tolist())
        ]
        before = store.sql("from labels").height
        if method == "human":
            assert store.record_labels(labels, TARGET) == expected
        else:
            store.record(store.new_labels(labels, TARGET))
        assert store.sql("from labels").height == before + expected
        best = store.sql("select value from best_labels order by case_id")["value"]
        assert best.to_list() == values.tolist()


def test_the_same_table_reports_or_review_again_adds_nothing_and_is_told(
    store: FeatureStore, tmp_path: Path
) -> None:
    table, texts = tmp_path / "values.csv", tmp_path / "reports.csv"
    table.write_text("case_id,value\n" + "".join(f"C{i},{i}\n" for i in range(20, 80)))
    texts.write_text(
        "case_id,text\n" + "".join(f"C{i},CORE BIOPSY: It is {i}% cellular.\n" for i in range(20))
    )
    config = LabelConfig(parser="rules")
    acts = [
        lambda: labelling.label_reports(store, texts, config, OllamaConfig()),
        lambda: labelling.label_table(store, table, config),
        lambda: import_review(store, table),
    ]
    first = [act().text() for act in acts]
    n = store.sql("from labels").height
    assert n == 80
    again = [re.sub(r" +", " ", act().text()) for act in acts]
    assert store.sql("from labels").height == n
    assert "unchanged" not in first[0] + first[1]
    told = ("unchanged 20", "unchanged 60", "labels taken: 60 (60 unchanged).")
    assert all(words in text for words, text in zip(told, again, strict=True))
    table.write_text(table.read_text().replace("C30,30\n", "C30,31\n"))
    assert "(59 unchanged)" in import_review(store, table).text()
    assert store.sql("from labels").height == n + 1
    assert store.sql("select value from best_labels where case_id = 'C30'").item() == 31


def test_what_was_known_on_a_date_can_be_asked(store: FeatureStore) -> None:
    label(store, "C1", "rules")
    text = sql.read("named/labels_as_of")
    given = store.sql("select recorded_at from labels").item()
    day, second = given.date(), timedelta(seconds=1)
    known = [day, str(day), given + second, str(given + second), "2101-01-01", "infinity"]
    for as_of in known:
        assert store.sql(text, {"as_of": as_of})["value"].to_list() == [40.0], as_of
    for as_of in (day - timedelta(days=1), f"{day} 00:00:00", str(given - second), "2001-01-01"):
        assert store.sql(text, {"as_of": as_of}).is_empty(), as_of


def test_an_amended_report_changes_what_is_known_not_what_was(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(store, "C1", "rules")
    between = str(now())
    monkeypatch.setitem(TEXTS, "C1", "CORE BIOPSY, amended: The marrow is 90% cellular.")
    label(store, "C1", "rules")
    assert store.sql("select value from best_labels").rows() == [(90.0,)]
    text = sql.read("named/labels_as_of")
    values = [store.sql(text, {"as_of": day})["value"].to_list() for day in (between, "2101-01-01")]
    assert values == [[40.0], [90.0]]


def test_a_table_of_reports_and_one_of_values_are_labelled_and_summed_up(
    store: FeatureStore, tmp_path: Path
) -> None:
    file = tmp_path / "reports.jsonl"
    rows = [{"case_id": case, "text": text} for case, text in TEXTS.items()]
    file.write_text("\n".join(map(json.dumps, [*rows, {"case_id": "C9"}])))
    config = LabelConfig(parser="rules")
    found = labelling.label_reports(store, file, config, OllamaConfig())
    assert (found.counts, found.n_states_none, found.n_not_read) == ({"rules/single": 3}, 1, 0)
    assert found.n_empty == 1
    table = tmp_path / "values.csv"
    table.write_text("case_id;value;low\nC1;45,5;NA\nC3;10;\nC3;10;\n")
    taken = labelling.label_table(store, table, config)
    assert "low is missing where it says: 1 'NA'" in taken.text()
    assert "rows that are exact copies of others, left out: 1" in taken.text()
    assert (taken.counts, taken.n_values) == ({"human/single": 2}, 2)
    best = store.sql("select case_id, value from best_labels order by all").rows()
    assert best == [("C1", 45.5), ("C2", 60.0), ("C3", 10.0), ("C4", 80.0)]


@pytest.mark.parametrize("case", ["C4", "of row 7"])
def test_a_bad_row_fails_its_case_until_it_is_mended(
    case: str, store: FeatureStore, tmp_path: Path
) -> None:
    table = tmp_path / "reports.csv"
    rows = [f"{name},2021-01-01,{text}" for name, text in {**TEXTS, case: TEXTS["C4"]}.items()]
    table.write_text("\n".join(["case_id,date,text", *rows, f"{case},Mayday,x", ",,y"]))
    told = labelling.label_reports(store, table, LabelConfig(parser="rules"), OllamaConfig())
    assert set(told.failures) == {case, f"of row {len(rows) + 3}"}
    assert set(store.sql("from best_labels")["case_id"]) == {"C1", "C2", "C4"} - {case}
    assert store.sql("select item from failures")["item"].to_list() == [f"report of case {case}"]
    assert "Mayday" not in str(store.sql("from failures").rows())
    table.write_text("\n".join(["case_id,date,text", *rows]))
    told = labelling.label_reports(store, table, LabelConfig(parser="rules"), OllamaConfig())
    assert not told.failures
    assert set(store.sql("from best_labels")["case_id"]) == {"C1", "C2", "C4", case}
    assert store.sql("from failures").is_empty()


def test_a_new_target_is_as_it_is_told_and_an_old_one_stays(
    store: FeatureStore, tmp_path: Path
) -> None:
    table = tmp_path / "values.csv"
    table.write_text("case_id,value\nC1,1\nC3,0\n")
    relapse = LabelConfig(target="relapse", kind="binary")
    found = labelling.label_table(store, table, relapse)
    assert (found.target, found.low, found.high) == ("relapse", 0, 1)
    assert store.target("relapse") == Target(name="relapse", kind="binary", low=0, high=1)
    assert "2 of 2 cases are not in the store: 'C1', 'C3'" in found.text()
    assert labelling.target_of(store, LabelConfig(target="relapse")).kind == "binary"
    with pytest.raises(ConfigError, match="'relapse' is known as binary, from 0 to 1"):
        labelling.target_of(store, LabelConfig(target="relapse", high=100))
    with pytest.raises(ConfigError, match="'cellularity' is known as fraction, from 0 to 100"):
        labelling.target_of(store, LabelConfig(kind="binary"))
    with pytest.raises(ConfigError, match="continuous needs --low and --high"):
        labelling.target_of(store, LabelConfig(target="grade", kind="continuous"))
    grade = LabelConfig(target="grade", kind="continuous", low=0, high=3)
    assert labelling.target_of(store, grade) == Target(
        name="grade", kind="continuous", low=0, high=3
    )
    assert labelling.target_of(store, LabelConfig(target="fat")).high == 100
    for typed, meant in (("Relapse", "relapse"), ("Cellularity ", "cellularity")):
        with pytest.raises(ConfigError, match=f"'{typed}' is not known, '{meant}' is"):
            labelling.target_of(store, LabelConfig(target=typed))
    with pytest.raises(ConfigError, match="got a blank"):
        LabelConfig(target=" ")


def test_an_addendum_without_its_report_hides_nothing(store: FeatureStore, tmp_path: Path) -> None:
    file, config = tmp_path / "reports.csv", LabelConfig(parser="rules")
    head = "case_id,reported_on,text\nC1,2021-01-01,"
    file.write_text(head + TEXTS["C1"])
    labelling.label_reports(store, file, config, OllamaConfig())
    addendum = "\nC1,2021-02-01,ADDENDUM: the karyotype is normal."
    file.write_text("case_id,reported_on,text" + addendum)
    found = labelling.label_reports(store, file, config, OllamaConfig())
    assert "that the store has: hand in both" in found.text()
    assert found.n_failed == 1
    assert store.sql("select value from best_labels").rows() == [(40.0,)]
    file.write_text(head + TEXTS["C1"] + addendum)
    labelling.label_reports(store, file, config, OllamaConfig())
    assert store.sql("select value from best_labels").rows() == [(40.0,)]
    assert store.sql("select reported_on from case_reports").rows() == [(date(2021, 2, 1),)]


def test_a_report_without_a_date_that_comes_later_is_not_the_older(store: FeatureStore) -> None:
    label(store, "C1", "rules")
    amended = Report(case_id="C1", text="CORE BIOPSY, amended: The marrow is 90% cellular.")
    labelling.record_reports(store, [amended], target=TARGET, parser="rules")
    assert store.sql("select value from best_labels").rows() == [(90.0,)]


@pytest.mark.parametrize(
    "report", ["Core: cellularity 40 %.", "Trephine, left iliac crest: 40% cellular."]
)
def test_an_addendum_beside_its_report_is_never_alone(
    store: FeatureStore, tmp_path: Path, report: str
) -> None:
    config, folder = LabelConfig(parser="rules"), tmp_path / "texts"
    folder.mkdir()
    (folder / "C1.txt").write_text(report)
    labelling.label_reports(store, folder, config, OllamaConfig())
    (folder / "C1 addendum.txt").write_text("Addendum: core cellularity is 20%, not 40%.")
    assert labelling.label_reports(store, folder, config, OllamaConfig()).n_failed == 0
    assert store.sql("select value from best_labels").rows() == [(20.0,)]


def test_a_report_that_is_issued_again_with_its_addendum_replaces_the_first(
    store: FeatureStore, tmp_path: Path
) -> None:
    file, config = tmp_path / "reports.csv", LabelConfig(parser="rules")
    said = "Bone marrow core biopsy: cellularity"
    for text, value in ((f"{said} 40%.", 40.0), (f"FINAL REPORT WITH ADDENDUM. {said} 75%.", 75.0)):
        file.write_text(f"case_id,text\nC1,{text}")
        assert labelling.label_reports(store, file, config, OllamaConfig()).n_failed == 0
        assert store.sql("select value from best_labels").rows() == [(value,)]
