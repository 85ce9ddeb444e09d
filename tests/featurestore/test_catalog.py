"""The catalog: closed SQL, migrations, locks, and the fold of ledger, arrays and runs."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import duckdb
import pytest
from builders.catalog_rows import label_row
from builders.copies import copy_of
from builders.damage import NOT_COUNTED

from featurestore import catalog, creation, folding
from featurestore.errors import (
    CatalogBusy,
    QueryRefused,
    StoreDamaged,
    StoreNotFound,
    StoreVersionMismatch,
)
from featurestore.queries import where_query
from featurestore.store import FeatureStore
from featurestore.types import SeenReport


@pytest.fixture
def store(made: FeatureStore, tmp_path: Path) -> FeatureStore:
    return copy_of(made, tmp_path)


def test_bags_has_one_row_for_each_slide_with_tiles(store: FeatureStore) -> None:
    rows = store.sql("select slide_id, n_tiles, cellularity from bags order by slide_id").rows()
    assert rows == [("S1", 1, 10.0), ("S2", 37, 20.0)]
    assert store.sql("select slide_id, n_tiles from slide_overview order by 1").rows() == [
        ("S0", 0),
        ("S1", 1),
        ("S2", 37),
    ]


def test_plain_duckdb_opens_the_catalog(store: FeatureStore) -> None:
    with duckdb.connect(str(catalog.path_of(store.root)), read_only=True) as con:
        assert con.execute("select count(*) from slides").fetchall() == [(3,)]


@pytest.mark.parametrize(
    "text",
    [
        "insert into slides select * from slides",
        "drop table slides",
        "select 1; select 2",
        "",
        "select * from read_text('/etc/hostname')",
        "from '/etc/passwd'",
        "copy slides to '/tmp/x.csv'",
        "attach '/tmp/x.duckdb'",
        "install httpfs",
        "set enable_external_access = true",
        "pragma database_list",
        "select nothing from slides",
        "select (",
    ],
)
def test_the_closed_sql_refuses_all_but_one_select_over_the_catalog(
    store: FeatureStore, text: str
) -> None:
    with pytest.raises(QueryRefused):
        store.sql(text)


@pytest.mark.parametrize(
    "condition",
    [
        "true) ; copy (select 1) to '/tmp/trephine_hole.csv' ; select (true",
        "slide_id in (select content from read_text('/etc/hostname'))",
    ],
)
def test_a_condition_cannot_break_out_of_its_select(store: FeatureStore, condition: str) -> None:
    with pytest.raises(QueryRefused):
        store.sql(where_query(condition))
    assert not Path("/tmp/trephine_hole.csv").exists()


def test_a_comment_at_the_end_of_a_condition_is_harmless(store: FeatureStore) -> None:
    assert store.sql(where_query("n_tiles = 1 -- the small one")).height == 1


def test_a_query_without_end_is_stopped(store: FeatureStore) -> None:
    text = (
        "select count(*) from range(10_000_000) a, range(10_000_000) b where a.range * b.range = 7"
    )
    started = time.monotonic()
    with pytest.raises(QueryRefused, match="longer than"):
        store.sql(text, timeout_s=0.5)
    assert time.monotonic() - started < 20


def test_parameters_are_asked_for_by_name(store: FeatureStore) -> None:
    query = "select slide_id from bags where scanned_on >= $since"
    assert store.sql(query, {"since": date(2019, 1, 1)}).height == 2
    assert store.sql(query, {"since": "2021-01-01"}).height == 0
    with pytest.raises(QueryRefused, match="-p since=VALUE"):
        store.sql(query)
    with pytest.raises(QueryRefused, match="no parameter 'until'"):
        store.sql(query, {"since": "2021-01-01", "until": 1})


def test_a_catalog_of_another_version_is_named_with_its_remedy(store: FeatureStore) -> None:
    path = str(catalog.path_of(store.root))
    with duckdb.connect(path) as con:
        con.execute("insert into migrations values ('9999_from_the_future', now()::timestamp)")
    with pytest.raises(StoreVersionMismatch, match="newer"):
        store.sql("select 1")
    with duckdb.connect(path) as con:
        con.execute("delete from migrations where name like '9999%' or name like '0004%'")
    with pytest.raises(StoreVersionMismatch, match="trephine init"):
        store.sql("select 1")


def test_a_catalog_with_other_views_is_mended_by_init(store: FeatureStore) -> None:
    path = str(catalog.path_of(store.root))
    with duckdb.connect(path) as con:
        con.execute("drop macro table best_labels_at")
        con.execute("update migrations set name = 'views before' where name like 'views %'")
        con.execute(f"delete from migrations where {NOT_COUNTED}")
    with pytest.raises(StoreVersionMismatch, match=r"lacks views .*trephine init"):
        folding.fold(store.root)
    catalog.migrate(store.root)
    folding.fold(store.root)
    best = "select label_id from {} order by all"
    known = store.sql(best.format("best_labels")).rows()
    assert store.sql(best.format("best_labels_at('infinity'::timestamp)")).rows() == known != []


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="trephine init"):
        FeatureStore(tmp_path / "nothing")


def test_creating_twice_keeps_what_is_there(store: FeatureStore) -> None:
    assert FeatureStore.create(store.root).sql("from slides").height == 3


def test_a_held_lock_is_waited_for_and_then_told_with_its_holder(store: FeatureStore) -> None:
    code = (
        "import duckdb, sys, time; con = duckdb.connect(sys.argv[1]); print('held', flush=True);"
        "time.sleep(float(sys.argv[2]))"
    )
    path = str(catalog.path_of(store.root))
    for hold_s, wait_s in ((1.0, 20.0), (20.0, 0.5)):
        holder = subprocess.Popen(
            [sys.executable, "-c", code, path, str(hold_s)], stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        if hold_s < wait_s:
            assert store.sql("from slides").height == 3  # it waits as a fold does
            folding.fold(store.root, timeout_s=wait_s)
        else:
            with pytest.raises(CatalogBusy, match=rf"PID {holder.pid}"):
                folding.fold(store.root, timeout_s=wait_s)
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("update labels set value = value + 1 where case_id = 'C1'", ("labels", 1, 1)),
        ("update slides set scanner = 'x'", ("slides", 3, 3)),
        ("update slides set scanned_on = null where slide_id = 'S2'", ("slides", 1, 1)),
        ("delete from cases where case_id = 'C0'", ("cases", 1, 0)),
        ("update slide_facts set arrays = [] where slide_id = 'S1'", ("slide_facts", 1, 1)),
        (
            "insert into best_labels select * replace ('C' as case_id) from best_labels limit 1",
            ("best_labels", 0, 1),
        ),
        ("create view more as select 1", ("view more", 1, 1)),
        ("create or replace macro retired(a, b, c) as false", ("macro retired", 1, 1)),
        ("create macro more(a) as a", ("macro more", 1, 1)),
        ("create index one on slides(case_id)", ("index one", 1, 1)),
        ("create schema other", ("schema other", 1, 1)),
        ("create type kind as enum ('a')", ("type kind", 1, 1)),
        ("select 1", None),
    ],
)
def test_what_differs_between_two_catalogs_is_told_by_table_and_rows(
    store: FeatureStore, change: str, told: tuple[str, int, int] | None
) -> None:
    with creation.fresh(store.root) as anew, catalog.reader(store.root) as con:
        anew.execute(change)
        found = list(catalog.differences(con, anew, ("migrations", "checked_arrays")))
    assert found == ([] if told is None else [told])


def test_sql_on_a_catalog_that_is_no_database_says_what_mends_it(store: FeatureStore) -> None:
    catalog.path_of(store.root).write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreDamaged, match=r"cannot be opened: .*verify --rebuild"):
        store.sql("select 1")


def best(store: FeatureStore, case_id: str) -> tuple | None:
    found = store.sql(
        "select value, method from best_labels where case_id = $case_id", {"case_id": case_id}
    )
    return found.row(0) if found.height else None


def test_the_best_label_is_human_then_agreed_then_ollama_then_rules(store: FeatureStore) -> None:
    said = [
        (label_row("C9", 71.0, method="ollama", status="unsupported"), None),
        (label_row("C9", 30.0), (30.0, "rules")),
        (label_row("C9", 40.0, method="ollama"), (40.0, "ollama")),
        (label_row("C9", 35.0), (40.0, "ollama")),
        (label_row("C9", 70.0, status="disputed"), None),
        (label_row("C9", 41.0, method="ollama"), None),  # one alone settles no dispute
        (label_row("C9", 50.0, status="agreed"), (50.0, "rules")),
        (label_row("C9", None, method="ollama"), (50.0, "rules")),
        (label_row("C9", 60.0, method="human"), (60.0, "human")),
        (label_row("C9", 52.0, method="ollama", status="agreed"), (60.0, "human")),
    ]
    for row, expected in said:
        store.record([row])
        assert best(store, "C9") == expected
    assert store.sql("from labels where case_id = 'C9'").height == len(said)  # all are kept


def test_a_corrected_report_ends_the_labels_of_the_one_before(store: FeatureStore) -> None:
    def report(text_hash: str, day: int) -> SeenReport:
        return SeenReport(case_id="C9", report_hash=text_hash, reported_on=date(2021, 1, day))

    store.record([report("old", 1)])
    store.record([label_row("C9", 30.0, report_hash="old")])
    assert best(store, "C9") == (30.0, "rules")
    store.record([report("new", 2)])
    assert best(store, "C9") is None
    store.record([label_row("C9", 40.0, report_hash="new")])
    assert best(store, "C9") == (40.0, "rules")


@pytest.mark.parametrize("at", [100, 5000])
def test_a_damaged_header_is_told_at_once_and_is_no_lock(store: FeatureStore, at: int) -> None:
    path = store.root / "catalog.duckdb"
    raw = bytearray(path.read_bytes())
    raw[at] ^= 4
    path.write_bytes(raw)
    with pytest.raises(StoreDamaged, match="--rebuild"):
        FeatureStore(store.root).sql("select 1")
