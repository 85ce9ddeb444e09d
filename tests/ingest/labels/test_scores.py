"""Labels in numbers: the summary of a batch, and a parser against gold values."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.catalog_rows import case_row, slide_row
from builders.ollama_server import said, serve, text_of

from featurestore import FeatureStore, best_of, overview
from featurestore.fields import to_json
from featurestore.types import Label, Reading, Target
from ingest.labels import rules as label_rules
from ingest.labels.config import OllamaConfig, ParserConfig
from ingest.labels.labels import LabelBatch
from ingest.labels.ollama import Unanswered
from ingest.labels.reports import LabelFile, read_reports
from ingest.labels.scores import LabelSummary, evaluate, evaluate_file, summarise

NULL = Reading(value=None, low=None, high=None, rule="none")


def read(value: float, evidence: str | None) -> Reading:
    return Reading(value=value, low=value, high=value, evidence=evidence, rule="test")


def label(case_id: str, value: float, method: Any = "rules", status: Any = "single") -> Label:
    return Label(
        case_id=case_id,
        target="cellularity",
        value=value,
        low=value,
        high=value,
        method=method,
        status=status,
    )


def test_the_most_trusted_label_is_used() -> None:
    labels = [
        label("A", 1, "rules", "agreed"),
        label("A", 2, "ollama", "agreed"),
        label("B", 3, "rules"),
        label("B", 4, "ollama"),
        label("C", 5, "rules", "disputed"),
        label("C", 6, "ollama", "unsupported"),
        label("D", 7, "ollama", "agreed"),
        label("D", 8, "human"),
        label("E", 9, "rules", "agreed"),
        label("E", 10, "ollama"),
    ]
    best = best_of(it.recorded(Target()) for it in labels)
    assert dict(best["case_id", "value"].iter_rows()) == {"A": 2, "B": 4, "D": 8, "E": 9}


def batch_of(*labels: Label, **more: Any) -> LabelBatch:
    empty: dict[str, Any] = {"failures": []}
    return LabelBatch(labels=list(labels), **empty | more)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def test_the_summary_counts_and_draws(store: FeatureStore) -> None:
    labels = [label(str(n), value) for n, value in enumerate([0, 5, 10, 10, 42, 95, 100])]
    labels.append(label("x", 50, "ollama", "disputed"))
    for case_id, outcome in (("n", "states none"), ("m", "not read"), ("0", "not read")):
        empty = {"value": None, "low": None, "high": None, "outcome": outcome}
        labels.append(replace(label(case_id, 0), **empty))
    found = summarise(store, batch_of(*labels), Target())
    assert (found.n_states_none, found.n_not_read) == (1, 1)  # 0 has a value beside
    assert found.counts == {"ollama/disputed": 1, "rules/single": 7}
    assert found.histogram == [2, 2, 0, 0, 1, 0, 0, 0, 0, 2]
    assert found.multiples_of_10 == pytest.approx(4 / 7)
    assert found.multiples_of_5 == pytest.approx(6 / 7)
    text = found.text()
    assert "rules, single              7" in text
    assert "states none                1\nnot read                   1\n" in text
    assert "90 to 100                  2 ████" in text
    assert "multiples of 10: 57%, of 5: 86%" in text
    assert json.loads(json.dumps(to_json(found)))["counts"] == found.counts
    empty = summarise(store, batch_of(), Target())
    assert empty.multiples_of_5 is None
    assert "0 cases" in empty.text()


def test_the_summary_says_what_became_of_every_row_and_case(
    store: FeatureStore, tmp_path: Path
) -> None:
    names = ("S-01", "S-02", "S-03")
    store.record(case_row(name, "P") for name in ("ghost", *names))  # its slide is of another now
    store.record(slide_row(name, name, 2 * name) for name in names)
    assert "slides      3 of 1 patients in 3 cases" in overview.status(store).text()
    file = tmp_path / "reports.csv"
    file.write_text(
        "case_id,text,reported_on\nS-01,old report of it,2020-01-01\n"
        "S-01,new report of it,2021-01-01\ns-2,one,\nX-9,two,\nS-01, ,\n"
    )
    reports = read_reports(file)
    store.record(report.seen for report in reports.reports)
    given = [label("S-01", 40, "human"), label("X-9", 50, "human")]
    store.record_labels(given, Target())
    failed = Unanswered(case_id="s-2", report_hash="", reason="it was cut off")
    found = summarise(store, batch_of(*given, failures=[failed]), Target(), reports)
    text = found.text()
    assert "of 5 rows: 1 without text, 1 superseded by a later one of the case" in text
    assert "cases without report: 2, without a label to use: 2; reports without slide: 2" in text
    assert "2 of 3 cases are not in the store: 's-2', 'X-9'" in text
    assert (found.unknown_cases, found.likely_cases) == (["s-2", "X-9"], {"s-2": "S-02"})
    assert "'s-2' is likely 'S-02'" in text
    assert "failed: case s-2: it was cut off" in text


GOLD = [
    {"id": "1", "text": "40", "value": 40, "tags": ["easy"]},
    {"id": "2", "text": "55", "value": 50, "tags": ["easy", "range"]},  # wrong
    {"id": "3", "text": "-", "value": 20, "tags": ["hard"]},  # missed
    {"id": "4", "text": "-", "value": None, "tags": ["hard"]},
    {"id": "5", "text": "90", "value": None},  # wrong
    {"id": "6", "text": "10.5", "value": 10},
]


def reader(text: str) -> Reading:
    return NULL if text == "-" else read(float(text), text)


def test_evaluate_by_hand() -> None:
    found = evaluate(GOLD, reader)
    assert (found.n, found.wrong) == (6, 2)
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.coverage == pytest.approx(3 / 4)
    assert found.null_precision == pytest.approx(1 / 2)
    assert found.null_recall == pytest.approx(1 / 2)
    assert found.mae == pytest.approx((0 + 5 + 0.5) / 3)
    assert found.by_tag["easy"] == {"n": 2, "accuracy": 0.5, "wrong": 1}
    assert found.by_tag["hard"] == {"n": 2, "accuracy": 0.5, "wrong": 0}
    assert [error["id"] for error in found.errors] == ["2", "3", "5"]
    assert json.dumps(found.__dict__)
    nothing = evaluate([], reader)
    assert (nothing.n, nothing.accuracy, nothing.mae, nothing.by_tag) == (0, None, None, {})
    assert "0 reports: accuracy -, coverage -, wrong values 0" in nothing.text()
    assert "6 reports: accuracy 50.0%, coverage 75.0%, wrong values 2" in found.text()
    assert "  easy                 2   50.0%  1 wrong" in found.text()
    assert found.text().endswith("See what was read wrong with: --errors")
    assert "2: expected 50, got 55.0 (test)" in found.text(errors=True)


def test_evaluate_the_model_as_its_labels_are_used() -> None:
    gold = [
        {"id": "good", "text": "good core 40% cellular", "value": 40},
        {"id": "of another", "text": "other core 40% cellular. Blasts: 90% of cells", "value": 40},
        {"id": "null", "text": "null core", "value": None},
        {"id": "failed", "text": "failed core", "value": None},
    ]

    def script(chat: dict[str, Any]) -> Any:
        word = text_of(chat).split()[0]
        figures = {"good": ["40%"], "other": ["90%"], "null": []}
        return said(chat, *figures[word]) if word in figures else "no"

    with serve(script) as server:
        config = OllamaConfig(host=server.url)
        found = evaluate(gold, "ollama", ollama_config=config)
    assert found.accuracy == pytest.approx(2 / 4)  # a failure is not a null answer
    assert found.wrong == 0
    assert [(error["id"], error["status"]) for error in found.errors] == [
        ("of another", "unsupported"),
        ("failed", None),
    ]
    assert "two answers" in found.errors[1]["reason"]


def test_evaluate_both_parsers_as_their_labels_are_used() -> None:
    """Agreed values count, disputed ones are null; the rules are the real ones."""
    gold = [
        {"id": "agreed", "text": "Bone marrow core: cellularity 40%.", "value": 40},
        {"id": "disputed", "text": "Bone marrow core: cellularity 70%.", "value": 70},
    ]
    with serve(lambda chat: said(chat, *["40%."] if "40%" in text_of(chat) else [])) as server:
        found = evaluate(gold, "both", ollama_config=OllamaConfig(host=server.url))
    assert (found.accuracy, found.wrong, found.coverage) == (0.5, 0, 0.5)
    assert found.errors[0]["id"] == "disputed"
    assert found.errors[0]["got"] is None


def test_evaluate_the_rules_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"40": read(40, "40"), "50": read(5, "50")}
    monkeypatch.setattr(label_rules, "parse", lambda text: rules[text.split()[0]])
    gold = [
        {"id": "1", "text": "40 % cellular core", "value": 40},
        {"id": "2", "text": "50 % cellular core", "value": 50},
    ]
    found = evaluate(gold)
    assert (found.accuracy, found.wrong, found.errors[0]["status"]) == (0.5, 0, "unsupported")


def test_evaluate_a_file_of_gold_values(tmp_path: Path) -> None:
    gold = [{"id": "1", "text": "Core biopsy: cellularity 40%.", "value": 40, "tags": ["easy"]}]
    path = tmp_path / "gold.jsonl"
    path.write_text("\n".join(map(json.dumps, gold)))
    found = evaluate_file(path, ParserConfig(parser="rules"), OllamaConfig())
    assert (found.n, found.accuracy, found.by_tag["easy"]["n"]) == (1, 1.0, 1)


def test_what_was_read_wrong_is_told_where_asked_and_counted_else() -> None:
    text = "Core biopsy: cellularity 40%."
    found = evaluate([{"id": str(n), "text": text, "value": v} for n, v in enumerate((40, 90))])
    assert found.told(errors=False).json()["errors"] == 1
    assert [one["id"] for one in found.told(errors=True).json()["errors"]] == ["1"]
    assert "1: expected 90, got 40" in found.told(errors=True).text()
    assert "1: expected 90" not in found.told(errors=False).text()
    assert not found.told(errors=False).gave_up
    assert (
        replace(found, failed=1, errors=[{"got": None, "reason": "mute"}])
        .told(errors=False)
        .gave_up
    )


def test_a_table_of_strangers_only_is_no_success_and_names_the_likely_column(
    store: FeatureStore,
) -> None:
    def told(*cases: str) -> LabelSummary:
        given = [label(case, 40, "human") for case in cases]
        file = LabelFile(labels=given, notes=[])
        return summarise(store, batch_of(*given), Target(), file)

    assert not told("S-01", "S-02").gave_up  # labels may come before the slides do
    names = [f"S-0{n}" for n in range(4)]
    store.record(case_row(name, name.replace("S-0", "P")) for name in names)
    store.record(slide_row(name, name, 2 * name) for name in names)
    assert told("P1", "P2", "X").gave_up
    assert "2 of them are patient_id in the store" in told("P1", "P2", "X").text()
    for cases in (("S-01", "X", "Y"), ("X", "Y", "P1")):
        assert told(*cases).gave_up is ("S-01" not in cases)
        assert "patient_id" not in told(*cases).text()
