"""What ledger and catalog lost is told, and made anew where somebody still has it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
from builders.catalog_rows import case_row, slide_arrays, slide_row
from builders.damage import (
    KINDS_WITH_ROWS,
    NOT_COUNTED,
    Copy,
    cut,
    flip,
    names,
    remove,
    stuff,
    tables,
)
from builders.longer import longer
from click.testing import CliRunner

import cli
from featurestore import FeatureStore, layout
from featurestore.errors import (
    StoreDamaged,
    StoreNotFound,
    StoreVersionMismatch,
)
from featurestore.sql_child import COMMIT

DAMAGED = (remove, cut, stuff)


@pytest.mark.parametrize("how", ["repair", longer("rebuild")])
def test_what_the_ledger_lost_is_written_anew_from_the_catalog(copied: Copy, how: str) -> None:
    root, rng = copied(), np.random.default_rng(5)
    before = tables(root)
    for kind in KINDS_WITH_ROWS:
        for file in sorted((root / "ledger" / kind).iterdir()):
            DAMAGED[rng.integers(3)](file, rng)
    told = FeatureStore.verify(root, **{how: True})
    assert list(told.failures) == []
    assert "5 rows of ledger/labels, written anew from the catalog" in told.text()
    assert tables(root) == before
    assert FeatureStore.verify(root, rebuild=True).text().endswith("whole")
    assert tables(root) == before


def test_a_repair_is_not_whole_where_the_catalog_cannot_give_what_the_ledger_lost(
    copied: Copy,
) -> None:
    root = copied()
    (lost,) = (root / "ledger" / "labels").iterdir()
    stuff(lost, np.random.default_rng(0))
    (root / layout.CATALOG).write_bytes(b"garbage")
    told = FeatureStore.verify(root, repair=True)
    assert f"ledger/labels/{lost.name}: its rows are lost" in told.text()
    assert not told.text().endswith("whole")
    assert names(root) == []


def test_a_deleted_tombstone_does_not_bring_back_what_was_taken_out(copied: Copy) -> None:
    root = copied()
    FeatureStore(root).withdraw("S2")
    for file in (root / "ledger" / "tombstones").iterdir():
        file.unlink()
    before = tables(root)
    assert not FeatureStore.verify(root, repair=True).failures
    assert tables(root) == before
    assert ("slide", "S2") in FeatureStore(root).withdrawn().names


def test_a_catalog_of_another_version_is_answered_as_by_every_command(copied: Copy) -> None:
    root = copied()
    with duckdb.connect(str(root / layout.CATALOG)) as con:
        con.execute(f"delete from migrations where {NOT_COUNTED} or name like 'views %'")
    for how in ({}, {"repair": True}):
        with pytest.raises(StoreVersionMismatch, match="trephine init"):
            FeatureStore.verify(root, **how)
    FeatureStore.create(root)
    assert names(root) == []


def test_a_folder_of_a_store_that_is_gone_or_a_file_is_told(copied: Copy) -> None:
    root = copied()
    shutil.rmtree(root / "slides")
    assert sum("is missing" in one.fault for one in FeatureStore.verify(root).failures) == 5
    FeatureStore.verify(root, repair=True)
    assert not [one for one in FeatureStore.verify(root).failures if "check" not in one.fault]
    shutil.rmtree(root / "tmp")
    (root / "tmp").write_bytes(b"")
    for how in ({}, {"repair": True}):
        with pytest.raises(StoreDamaged, match="tmp is no folder"):
            FeatureStore.verify(root, **how)
    with pytest.raises(StoreNotFound, match="trephine init"):
        FeatureStore.verify(root / "elsewhere")


@pytest.mark.parametrize("share", [0.3, 0.9, *(longer(share) for share in (0.02, 0.5))])
def test_a_catalog_that_was_cut_is_told_and_mended(copied: Copy, share: float) -> None:
    root = copied()
    before = tables(root)
    os.truncate(root / layout.CATALOG, int((root / layout.CATALOG).stat().st_size * share))
    assert names(root) != []
    assert not FeatureStore.verify(root, repair=True).failures
    assert tables(root) == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_wrong_with_a_catalog_is_said_once(
    copied: Copy, make: Callable[[Path], None]
) -> None:
    root = copied()
    (root / layout.CATALOG).unlink()
    make(root / layout.CATALOG)
    (told,) = (one for one in FeatureStore.verify(root).failures if "cannot be" in one.fault)
    assert told.text().count("trephine verify --rebuild") == 1
    assert ".." not in told.fault
    with pytest.raises(StoreDamaged, match="no regular file"):
        FeatureStore(root).sql("select 1")
    assert not FeatureStore.verify(root, repair=True).failures


@pytest.mark.parametrize("what", [longer("garbage"), "empty", longer("pipe"), "of another"])
def test_what_stands_in_place_of_the_log_of_the_catalog_is_told_and_mended(
    copied: Copy, what: str
) -> None:
    root = copied()
    before, log = tables(root), root / f"{layout.CATALOG}.wal"
    if what == "pipe":
        os.mkfifo(log)
    elif what == "of another":
        other = copied() / layout.CATALOG
        die = "import duckdb, os, sys; con = duckdb.connect(sys.argv[1]);"
        die += "con.execute('delete from slides'); os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", die, str(other)], check=False)
        shutil.copy(f"{other}.wal", log)
    else:
        log.write_bytes(np.random.default_rng(0).bytes(5000) if what == "garbage" else b"")
    assert [one for one in names(root) if one.startswith(layout.CATALOG)]
    assert not FeatureStore.verify(root, repair=True).failures
    assert tables(root) == before
    assert names(root) == []
    assert not log.exists()


def tear(root: Path, *, leave_log: bool = True) -> None:
    """What SIGKILL leaves in the middle of a commit: a block half written, and the log of it."""
    with (root / layout.CATALOG).open("r+b") as file:
        file.seek(12288 + 2000)
        file.write(np.random.default_rng(0).bytes(4096))
    if leave_log:
        log = Path(f"{root / layout.CATALOG}.wal")
        log.write_bytes(bytes(60) + COMMIT)


@pytest.mark.parametrize(
    "how", [longer("sql"), longer("ask"), longer("record"), longer("create"), "cli", "long"]
)
def test_a_catalog_torn_by_a_process_that_was_killed_is_made_anew_by_the_next(
    copied: Copy, how: str
) -> None:
    root = copied()
    before = tables(root)
    store = FeatureStore(root)  # a long command, while another is killed
    tear(root)
    if how == "cli":
        said = CliRunner().invoke(cli.main, ["sql", "from slides", "--store", str(root)])
        assert (said.exit_code, "a process was killed" in said.stderr) == (0, True)
    elif how == "create":
        assert "made anew" in FeatureStore.create(root).older
    elif how == "long":
        store.record([case_row("C0", "P0")])
        assert "a process was killed" in store.set_aside()
    else:
        store = FeatureStore(root)
        assert "a process was killed" in store.set_aside()
        getattr(store, how)(*([] if how == "record" else ["from slides"]))
    assert tables(root) == before
    assert names(root) == []
    assert list((root / "quarantine").rglob(layout.CATALOG))


def test_what_no_killed_process_tore_is_told_and_left_as_it_is(copied: Copy) -> None:
    root = copied()
    tear(root, leave_log=False)
    before = (root / layout.CATALOG).read_bytes()
    with pytest.raises(StoreDamaged, match="verify --rebuild"):
        FeatureStore(root).sql("from slides")
    with pytest.raises(StoreDamaged, match="verify --rebuild"):
        FeatureStore(root).record([case_row("D", "P")])
    assert (root / layout.CATALOG).read_bytes() == before


@pytest.mark.parametrize("n", [3, longer(25)])
def test_a_catalog_that_is_cut_anywhere_within_a_block_is_told(copied: Copy, n: int) -> None:
    root, rng = copied(), np.random.default_rng(0)
    whole = (root / layout.CATALOG).read_bytes()
    for size in [*rng.integers(1, len(whole), n), len(whole) - 1, len(whole) - 4096]:
        (root / layout.CATALOG).write_bytes(whole[:size])
        assert any(one.startswith(layout.CATALOG) for one in names(root)), size
    (root / layout.CATALOG).write_bytes(whole + bytes(1000))  # of who was killed
    assert names(root) == []


def test_a_broken_array_that_was_imported_is_taken_in_by_import(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    made = slide_arrays("a" * 16, 9)
    said = dict(made.provenance["encoder"]) | {"weights": "imported: trident"}
    store.publish(replace(made, provenance={"encoder": said}))
    store.record([case_row("C", "P"), slide_row("S", "C", "a" * 16)])
    flip(next(store.root.glob("slides/*/*/embeddings/*/c/0/0")), np.random.default_rng(0))
    told = FeatureStore.verify(store.root, repair=True).text()
    assert "1 array will be taken in again by: trephine import" in told
    assert "trephine ingest" not in told


def test_no_ingest_is_named_for_what_it_cannot_mend(copied: Copy) -> None:
    root = copied()
    for file in (root / "ledger" / "cases").iterdir():
        file.unlink()
    FeatureStore(root)
    (root / layout.CATALOG).unlink()
    told = FeatureStore.verify(root, repair=True)
    assert "slides_without_case" in told.text()
    assert "trephine ingest" not in told.text()
