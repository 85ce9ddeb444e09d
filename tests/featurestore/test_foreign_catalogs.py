"""What another program, copy or store put there is told, and comes in nowhere."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from builders.catalog_rows import case_row, slide_row
from builders.damage import (
    Copy,
    files_of,
    names,
    tables,
)
from builders.longer import longer
from click.testing import CliRunner

import cli
from featurestore import FeatureStore, layout, overview
from featurestore.errors import (
    ConfigError,
    StoreDamaged,
    StoreNotFound,
)

EDITS = (
    "update predictions set mean = 99",
    "delete from runs where run_id = 'r1'",
    "delete from targets",
    "insert into metrics values ('r1', 'test', 'r2_low', 0.9)",
    "insert into checked_arrays values ('a', 'b', 'c', 1, 2, 3, now()::timestamp)",
    "create or replace view bags as select 1 as slide_id",
    "insert into targets values ('x', 'fraction', 0, 100); delete from targets where target = 'x'",
)
DOORS: dict[str, Callable[[FeatureStore], object]] = {
    "sql": lambda store: store.sql("from bags"),
    "ask": lambda store: store.ask("from bags"),
    "runs": lambda store: store.runs(),
    "predictions": lambda store: store.predictions("r1"),
    "bags": lambda store: store.bags("all"),
    "show": lambda store: overview.show(store, "r1"),
    "cohort": lambda store: store.create_cohort("new", "from bags"),
    "record": lambda store: store.record([case_row("C", "P")]),
    "withdraw": lambda store: store.withdraw("P1"),
    "erase": lambda store: store.withdraw("P1", erase=True),
    "init": lambda store: FeatureStore.create(store.root),
}


def test_a_catalog_that_another_program_wrote_to_is_told_each_time(copied: Copy) -> None:
    root = copied()
    path, before = root / layout.CATALOG, tables(root)
    raw = path.read_bytes()
    for edit in EDITS:
        path.write_bytes(raw)
        with duckdb.connect(str(path)) as con:
            con.execute(edit)
        with pytest.raises(StoreDamaged, match=r"changed by another program.*verify --rebuild"):
            FeatureStore(root).ask("from bags")
    assert names(root) == [layout.CATALOG]  # the last changes no row that is compared
    assert not FeatureStore.verify(root, rebuild=True).failures
    assert tables(root) == before


def test_no_door_uses_it_or_changes_a_file(copied: Copy) -> None:
    root = copied()
    with duckdb.connect(str(root / layout.CATALOG)) as con:
        con.execute(EDITS[0])
    held = {file: file.read_bytes() for file in files_of(root)}
    for door in DOORS.values():
        with pytest.raises(StoreDamaged, match=r"changed by another program.*verify --rebuild"):
            door(FeatureStore(root))
    assert {file: file.read_bytes() for file in files_of(root)} == held


@pytest.mark.parametrize("how", ["read", "write", "roll back", "copy", "copy it all"])
def test_who_changes_nothing_of_the_catalog_may_open_and_copy_it(copied: Copy, how: str) -> None:
    root = copied()
    path = root / layout.CATALOG
    if how.startswith("copy"):
        FeatureStore(root).record([case_row("C", "P")])
        root = Path(shutil.copytree(root, f"{root}-copy", copy_function=shutil.copyfile))
        path.unlink()
    else:
        with duckdb.connect(str(path), read_only=how == "read") as con:
            con.execute("begin")
            con.execute("from slides" if how != "roll back" else "delete from slides")
            con.execute("rollback" if how == "roll back" else "commit")
    FeatureStore(root).record([case_row("D", "P")])
    assert FeatureStore(root).sql("from cases where case_id = 'D'").height == 1
    assert names(root) == []


def test_another_copy_of_the_catalog_that_was_edited_is_told_whatever_it_counts(
    copied: Copy,
) -> None:
    root, n = copied(), 3
    path = root / layout.CATALOG
    other = shutil.copy(path, root.parent / "beside.duckdb")
    for _ in range(n):
        FeatureStore(root).record([case_row("C", "P")])
        with duckdb.connect(str(other)) as con:
            con.execute("update cases set age_years = 7")
        live = path.read_bytes()
        shutil.copy(other, path)
        with pytest.raises(StoreDamaged, match="changed by another program"):
            FeatureStore(root).sql("from cases")
        path.write_bytes(live)


@pytest.mark.parametrize("is_edited", [False, True])
def test_what_another_program_that_was_killed_left_in_the_log_is_not_used(
    copied: Copy, is_edited: bool
) -> None:
    root = copied()
    die = "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]);"
    die += "con.execute(sys.argv[2]); os.kill(os.getpid(), 9)"
    text = "delete from slides" if is_edited else "begin; delete from slides"
    subprocess.run([sys.executable, "-c", die, str(root / layout.CATALOG), text], check=False)
    if not is_edited:
        FeatureStore(root).record([case_row("C", "P")])
        assert FeatureStore(root).sql("from slides").height
        return
    for door in ("sql", "ask", "record"):
        with pytest.raises(StoreDamaged, match="changed by another program"):
            DOORS[door](FeatureStore(root))
    assert not FeatureStore.verify(root, rebuild=True).failures
    assert FeatureStore(root).sql("from slides").height


@pytest.mark.parametrize(
    "words", [["sql", "from cases limit 1"], longer(["cohort", "list"]), longer(["status"])]
)
@pytest.mark.parametrize("of", ["itself", "before", "another"])
def test_every_command_tells_where_the_catalog_is_of_another_time_or_store(
    copied: Copy, of: str, words: list[str]
) -> None:
    root = copied()
    path = root / layout.CATALOG
    old = path.read_bytes()
    FeatureStore(root).record([case_row("C", "P")])
    if of == "before":
        path.write_bytes(old)
    elif of == "another":
        FeatureStore(other := copied()).record([case_row("X", "P")])
        shutil.copy(other / layout.CATALOG, path)
    said = CliRunner().invoke(cli.main, [*words, "--store", str(root)])
    assert said.exit_code == 0
    if of == "before":
        assert "rows of the ledger are not here yet" in said.stderr
        assert "--adopt-only" in said.stderr
        FeatureStore(root).record()
    elif of == "another":
        assert "of another ledger than is here. Look with: trephine verify" in said.stderr
        assert names(root) != []
        FeatureStore.verify(root, rebuild=True)
    said = CliRunner().invoke(cli.main, ["sql", "from cases limit 1", "--store", str(root)])
    assert (said.exit_code, said.stderr) == (0, "1 row\n")
    assert FeatureStore(root).sql("from cases where case_id = 'C'").height == 1
    store = FeatureStore(root)
    store.record([case_row("D", "P")], fold=False)  # an ingest at work
    assert store.sql("from cases").height
    assert store.set_aside() == ""


def test_a_catalog_of_an_earlier_commit_without_a_count_is_used_and_counted(copied: Copy) -> None:
    root = copied()
    with duckdb.connect(str(root / layout.CATALOG)) as con:
        con.execute("delete from migrations where name like 'write %'")
    (root / layout.CATALOG).chmod(0o400)
    assert FeatureStore(root).sql("from slides").height
    (root / layout.CATALOG).chmod(0o600)
    FeatureStore(root).record()
    assert FeatureStore(root).sql("from migrations where name like 'write %'").height == 1
    assert names(root) == []


@pytest.mark.parametrize("what", ["garbage", "of another", "with migrations", "folder"])
@pytest.mark.parametrize("is_alone", [True, longer(False)])
@pytest.mark.parametrize("words", ["sql 'select 1'", "verify"])
def test_the_next_step_that_is_named_for_a_foreign_catalog_works(
    copied: Copy, tmp_path: Path, what: str, is_alone: bool, words: str
) -> None:
    root = tmp_path / "alone" if is_alone else copied()
    path = root / layout.CATALOG
    root.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if what == "folder":
        path.mkdir()
    elif what == "garbage":
        path.write_bytes(b"garbage" * 1000)
    else:
        with duckdb.connect(str(path)) as con:
            con.execute("create table mine(a int)")
            if what == "with migrations":
                con.execute("create table migrations(id int)")
    said = [*shlex.split(words), "--store", str(root)]
    for _ in range(4):
        result = CliRunner().invoke(cli.main, said)
        if result.exit_code == 0:
            break
        assert result.exit_code in (1, 3), result.output
        said = shlex.split(re.findall(r"trephine ((?:init|verify)[^.\n]*)", result.output)[-1])
    assert result.exit_code == 0, (said, result.output)
    mended = said[-1] if said[0] == "init" else root
    assert FeatureStore(mended).sql("from slides").height == (0 if said[0] == "init" else 5)


@pytest.mark.parametrize("how", ["rebuild", "repair"])
def test_nothing_of_another_stores_catalog_comes_into_the_ledger(
    copied: Copy, tmp_path: Path, how: str
) -> None:
    root, other = copied(), FeatureStore.create(tmp_path / "other")
    before = FeatureStore(root).ask("from slides order by all")
    files = sorted(root.glob("ledger/*/*"))
    other.record([case_row("C99", "P99"), slide_row("S99", "C99", "9" * 16)])
    shutil.copy(other.root / layout.CATALOG, root / layout.CATALOG)
    told = FeatureStore.verify(root, **{"rebuild": False, how: True})
    assert FeatureStore(root).ask("from slides order by all").equals(before)
    assert sorted(root.glob("ledger/*/*")) == files
    assert told.failures == []
    assert any("quarantine" in one for one in told.mended)


FOREIGN = ("slides/a.svs", "slides/b.zarr/zarr.json", "ledger/2026/book.parquet", "thesis.docx")


@pytest.mark.parametrize("catalog_too", [False, True])
def test_a_folder_that_does_not_show_that_it_is_a_store_is_left_as_it_is(
    tmp_path: Path, catalog_too: bool
) -> None:
    for name in (*FOREIGN, layout.CATALOG) if catalog_too else FOREIGN:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    before, rights = sorted(tmp_path.rglob("*")), tmp_path.stat().st_mode
    for how in ({}, {"repair": True}, {"rebuild": True}):
        with pytest.raises(StoreNotFound, match="trephine init"):
            FeatureStore.verify(tmp_path, **how)
    with pytest.raises(ConfigError, match="is no store"):
        FeatureStore.create(tmp_path)
    assert (sorted(tmp_path.rglob("*")), tmp_path.stat().st_mode) == (before, rights)


@pytest.mark.parametrize(
    "gone", [("slides", "runs"), ("ledger", "runs"), ("ledger", "slides", "runs")]
)
def test_what_is_left_of_a_store_shows_that_it_is_one(copied: Copy, gone: tuple[str, ...]) -> None:
    root = copied()
    for room in gone:
        shutil.rmtree(root / room)
    if len(gone) == 2:
        (root / layout.CATALOG).unlink()
    FeatureStore.verify(root, rebuild=True)
    assert FeatureStore(root).ask("select count(*) from tombstones").item() == 0


def test_what_lies_beside_the_rooms_of_a_store_is_told_and_left_alone(copied: Copy) -> None:
    root = copied()
    foreign = ["a folder/of/mine.txt", f"{layout.CATALOG}.bak", "notes.docx"]
    for name in foreign:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    for how in ({}, {"repair": True}, {"rebuild": True}):
        told = FeatureStore.verify(root, **how)
        assert told.text().endswith("whole")
        assert list(told.foreign) == ["a folder", *foreign[1:]]
        assert foreign[-1] in told.text()
    FeatureStore(root).withdraw("P2", erase=True)
    assert all((root / name).read_text() == "mine" for name in foreign)
