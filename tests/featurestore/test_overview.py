"""What can be asked, and what comes along to ask, is told by results, without a command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from builders import embedding_stores as es

from featurestore import FeatureStore, overview
from featurestore.types import Failure, Label, Report, Slide, Target


def test_a_new_store_says_where_it_is_and_an_older_one_what_was_done(tmp_path: Path) -> None:
    root = tmp_path / "store"
    plan = overview.status(FeatureStore.create(root)).json()["next"]
    told = overview.made(FeatureStore(root))
    assert told.text() == f"The store is at {root}. Next: {plan}"
    assert told.json() == {"store": str(root), "older": None, "next": plan}
    (root / "catalog.duckdb").unlink()
    mended = overview.made(FeatureStore.create(root))
    assert mended.json()["older"] == "Its catalog was gone, and is made anew."
    assert f"{root}. {mended.json()['older']} Next: {plan}" in mended.text()


def test_a_list_of_runs_shows_what_they_have_and_says_why_it_is_empty(healthy: Path) -> None:
    store = FeatureStore(healthy)
    rows = overview.runs(store, "true")
    assert rows.frame["run_id"].to_list() == ["r2", "r1"]
    assert rows.columns[:2] == ["run_id", "r2"]  # what is compared stands first
    assert {"cohort", "model", "bag_size", "seed"} < set(rows.columns) < set(rows.frame.columns)
    assert not {"auc", "config", "code_version"} & set(rows.columns)  # none has an AUC
    assert not rows.notes
    assert "List all with: trephine runs" in overview.runs(store, "bag_size = 0").notes[0]


def test_a_store_without_runs_names_the_command_that_makes_one(new: FeatureStore) -> None:
    assert "trephine train" in overview.runs(new, "true").notes[0]


def test_a_store_lists_each_relation_with_all_its_columns(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    told = overview.relations(store)
    heads = [one for one in told.text().splitlines() if not one.startswith((" ", "Next: "))]
    assert heads == [f"{one['relation']}: a row is {one['one_row']}" for one in told.json()]
    for one in told.json():
        assert f"    {', '.join(one['columns'])}\n" in told.text()
        assert store.ask(f"from {one['relation']} limit 0").columns == one["columns"]


def test_what_failed_of_a_slide_or_a_report_is_shown_with_it_alone(tmp_path: Path) -> None:
    store = es.build(tmp_path / "store", [np.zeros((2, 4), np.float16)] * 2, [10.0, 20.0])
    slide, other = store.known(Slide)
    torn = {"item": slide.path, "slide_id": slide.slide_id, "stage": "read", "reason": "torn"}
    mute = {"item": f"report of case {slide.case_id}", "stage": "label", "reason": "mute"}
    store.record([Failure(**torn), Failure(**mute)])
    for kind, of, reasons in (("slide", "slide_id", ["torn"]), ("case", "case_id", ["mute"])):
        shown = overview.shown(store, kind, getattr(slide, of)).data["failures"]
        assert [one["reason"] for one in shown] == reasons
        assert not overview.shown(store, kind, getattr(other, of)).data["failures"]


def test_a_case_that_has_a_report_or_a_label_and_no_slide_is_shown_with_it(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    report = Report(case_id="C1", text="Core: 40% cellular.")
    store.record([report.seen, Report(case_id="C3", text="x").seen])
    said = {"value": 40.0, "low": 40.0, "high": 40.0, "method": "human", "status": "single"}
    given = [Label(case_id=name, target="cellularity", **said) for name in ("C1", "C2")]  # type: ignore[arg-type]
    store.record_labels(given, Target())
    counts = {
        name: [len(overview.show(store, name).data[of]) for of in ("case", "reports", "labels")]
        for name in ("C1", "C2", "C3")
    }
    assert counts == {"C1": [0, 1, 1], "C2": [0, 0, 1], "C3": [0, 1, 0]}
