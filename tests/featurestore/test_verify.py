"""Damage is told, never used: whatever is done to a store's files, `verify` names it."""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import duckdb
import google_crc32c
import numpy as np
import pytest
from builders.catalog_rows import case_row, slide_arrays, slide_row
from builders.damage import (
    DAMAGES,
    NOT_COUNTED,
    cut,
    edit_catalog,
    files_of,
    flip,
    publish_run,
    remove,
    stuff,
    whole_store,
)
from click.testing import CliRunner

import cli
from featurestore import FeatureStore, catalog, groups, layout, overview, verify
from featurestore.config import SplitConfig
from featurestore.errors import (
    ConfigError,
    NotFinite,
    StoreDamaged,
    StoreNotFound,
    StoreVersionMismatch,
    TrephineError,
)
from featurestore.sql_child import COMMIT
from featurestore.types import ArrayIds, now

Copy = Callable[[], Path]


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_store(tmp_path_factory.mktemp("whole") / "store").root


@pytest.fixture
def copied(healthy: Path, tmp_path: Path) -> Copy:
    def copy() -> Path:
        place = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        return Path(shutil.copytree(healthy, place))

    return copy


def names(root: Path) -> list[str]:
    return [one.path for one in FeatureStore.verify(root).failures]


def is_told(damaged: str, told: list[str]) -> bool:
    return any(damaged.startswith(one) or one.startswith(damaged) for one in told)


def test_a_healthy_store_is_whole_and_stays_so_when_it_is_made_anew(copied: Copy) -> None:
    root = copied()
    assert names(root) == []
    told = FeatureStore.verify(root, rebuild=True)
    assert list(told.failures) == []
    assert "made anew" in told.text()
    assert told.files > 50
    assert not list(layout.tmp_dir(root).iterdir())


def test_a_deleted_catalog_is_answered_with_its_mend_and_init_makes_it(copied: Copy) -> None:
    root = copied()
    before = FeatureStore(root).sql("from slides order by all")
    (root / layout.CATALOG).unlink()
    with pytest.raises(StoreNotFound, match="trephine verify --rebuild"):
        FeatureStore(root)
    assert names(root) != []
    assert not (root / layout.CATALOG).exists()
    made = FeatureStore.create(root)
    assert "made anew" in made.older
    assert made.sql("from slides order by all").equals(before)
    assert names(root) == []


def damage_some(root: Path, rng: np.random.Generator, n: int) -> list[tuple[str, str]]:
    """Damage files in different folders; return what was done, and to which."""
    done, used = [], set()
    files = files_of(root)
    for i in rng.permutation(len(files)):
        file = files[i]
        if file.parent in used or len(done) == n:
            continue
        used.add(file.parent)
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        damage(file, rng)
        done.append((damage.__name__, file.relative_to(root).as_posix()))
    return done


def check_told(root: Path, rng: np.random.Generator, n: int) -> int:
    done = damage_some(root, rng, n)
    told = names(root)
    for what, file in done:
        where = file.rpartition("/")[0] if what == "strew" else file
        assert is_told(where, told), (what, file, told)
    return len(done)


def check_mended(root: Path) -> None:
    """What is left are links to what is no more: of Cohorts and Runs to arrays.

    Rows that nobody has any more are told once.
    """
    told = FeatureStore.verify(root, repair=True)
    left = [one.fault for one in told.failures if "the check" not in one.fault]
    assert all(LOST.search(fault) for fault in left), told.text()
    told = FeatureStore.verify(root)
    assert not [one for one in told.failures if "the check" not in one.fault], told.text()


def test_random_damage_is_told(copied: Copy) -> None:
    assert check_told(copied(), np.random.default_rng(0), 12) == 12


@pytest.mark.proof
def test_an_edited_row_of_the_catalog_is_told_and_mended(copied: Copy) -> None:
    root = copied()
    edit_catalog(root / layout.CATALOG, np.random.default_rng(1))
    assert names(root) != []
    assert not FeatureStore.verify(root, repair=True).failures


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_thousand_random_damages_are_told_and_a_repair_leaves_a_whole_store(
    copied: Copy,
) -> None:
    n, seed = 0, 0
    while n < 1000:
        root = copied()
        n += check_told(root, np.random.default_rng(seed), 25)
        if seed % 5 == 0:
            check_mended(root)
            FeatureStore(root).sql("from slide_overview")
        shutil.rmtree(root)
        seed += 1


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_edits_of_catalog_rows_are_told(copied: Copy) -> None:
    for seed in range(60):
        root = copied()
        done = edit_catalog(root / layout.CATALOG, np.random.default_rng(seed))
        assert names(root) != [], done
        shutil.rmtree(root)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_flipped_bit_of_the_catalog_is_told_or_changes_no_row(copied: Copy) -> None:
    tables = ("slides", "labels", "cohort_slides", "predictions", "embeddings", "runs")

    def rows(root: Path) -> dict[str, list[tuple[object, ...]]]:
        return {t: FeatureStore(root).ask(f"from {t} order by all").rows() for t in tables}

    before = rows(copied())
    for seed in range(40):
        root = copied()
        flip(root / layout.CATALOG, np.random.default_rng(seed))
        if not names(root):
            assert rows(root) == before
        shutil.rmtree(root)


def test_swapped_renamed_and_copied_folders_are_told(copied: Copy) -> None:
    root, swapped, copies = copied(), list[str](), list[str]()
    for room in ("slides", "runs"):
        one, two = sorted((root / room).iterdir())[-2:]
        one.rename(root / "away")
        two.rename(one)
        (root / "away").rename(two)
        swapped += [f"{room}/{one.name}", f"{room}/{two.name}"]
        copies.append(f"{room}/{'c' * 16}{one.suffix}")
    told = names(root)
    assert all(is_told(one, told) for one in swapped)
    for one, copy in zip(swapped[::2], copies, strict=True):
        shutil.copytree(root / one, root / copy)
    told = names(root)
    assert all(is_told(copy, told) for copy in copies)


def test_what_is_foreign_in_a_group_is_set_aside_alone(copied: Copy) -> None:
    root = copied()
    before = FeatureStore(root).sql("from embeddings order by all").rows()
    everywhere = ("", "*/", "*/tiles/", "*/embeddings/")
    for where in everywhere:
        inner = next((root / "slides" / f"{2:016x}.zarr").glob(f"{where}zarr.json")).parent
        (inner / ".DS_Store").write_bytes(b"x")
        (inner / "a folder" / "of").mkdir(parents=True)
    assert len(names(root)) == 3 * len(everywhere)
    assert FeatureStore.verify(root, repair=True).text().endswith("whole")
    assert FeatureStore(root).sql("from embeddings order by all").rows() == before
    assert len(list((root / "quarantine").rglob(".DS_Store"))) == len(everywhere)


def test_a_flip_anywhere_in_a_file_of_several_blocks_is_told(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    store.publish(slide_arrays("a" * 16, 20_000))
    store.record()
    (chunk,) = (store.root / "slides").glob(f"*/*/embeddings/{'e' * 16}/c/0/0")
    whole, block = chunk.read_bytes(), groups.BLOCK
    assert block < len(whole) < 2 * block
    for place in (0, block - 1, block, len(whole) - 5, len(whole) - 4, len(whole) - 1):
        raw = bytearray(whole)
        raw[place] ^= 1
        chunk.write_bytes(raw)
        assert is_told(chunk.relative_to(store.root).as_posix(), names(store.root)), place
    chunk.write_bytes(whole)
    assert names(store.root) == []


def test_an_array_copied_under_another_name_is_told_and_never_taken_in(copied: Copy) -> None:
    root = copied()
    before = FeatureStore(root).sql("from embeddings").height
    array = next((root / "slides" / f"{2:016x}.zarr").glob(f"*/embeddings/{'e' * 16}"))
    tiling = next((root / "slides" / f"{3:016x}.zarr").glob("*/tiles")).parent
    copies = [one.with_name("a" * 16) for one in (array, tiling)]
    for one, copy in zip((array, tiling), copies, strict=True):
        shutil.copytree(one, copy)
    told = names(root)
    assert all(is_told(copy.relative_to(root).as_posix(), told) for copy in copies)
    assert FeatureStore.verify(root, repair=True).text().endswith("whole")
    assert not any(copy.exists() for copy in copies)
    assert FeatureStore(root).sql("from embeddings").height == before


def bags_of(root: Path, **how: bool) -> np.ndarray:
    store = FeatureStore(root, **how)
    bags = store.bags("all", "e" * 16)
    out = np.empty((1, 1, 8), np.float16)
    with store.rows(bags) as reader:
        for i in range(bags.height):
            reader.read_blocks([i], [0], [1], out)
    return out


def chunk(root: Path, slide: int) -> Path:
    return next((root / "slides" / f"{slide:016x}.zarr").glob(f"*/embeddings/{'e' * 16}/c/0/0"))


def test_a_swapped_chunk_is_refused_when_it_is_first_opened_and_trust_skips_it(
    copied: Copy,
) -> None:
    root = copied()
    bags_of(root)
    one, two = chunk(root, 2), chunk(root, 3)
    raw = one.read_bytes()
    one.write_bytes(two.read_bytes())
    with pytest.raises(StoreDamaged, match="another slide"):
        bags_of(root)
    bags_of(root, trust=True)
    one.write_bytes(raw)
    bags_of(root)
    flip(two, np.random.default_rng(0))
    with pytest.raises(StoreDamaged, match="checksum"):
        bags_of(root)


def test_what_verify_found_whole_is_not_read_again_within_a_week(copied: Copy) -> None:
    root = copied()
    assert names(root) == []
    assert FeatureStore(root).sql("select count(*) from checked_arrays").item() == 5


def test_rows_that_are_no_numbers_are_named_with_their_slide(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    made = slide_arrays("a" * 16, 9)
    made.embeddings[3] = np.nan
    store.publish(made)
    store.record([case_row("C", "P"), slide_row("S", "C", "a" * 16)])
    with store.rows(store.bags_where("true")) as reader, pytest.raises(NotFinite, match="row 3"):
        reader.read_blocks([0], [0], [1], np.empty((1, 1, 8), np.float16))
    assert "a" * 16 in FeatureStore.verify(store.root).text()


def test_a_repair_takes_in_what_is_published_and_not_yet_told(copied: Copy) -> None:
    root = copied()
    made = slide_arrays(f"{2:016x}", 7, encoder="b" * 16)
    store = FeatureStore(root)
    store.publish(made)  # and killed
    assert FeatureStore.verify(root, repair=True).text().endswith("whole")
    assert store.has(made.slide_key, made.tiling.tiling_id, "b" * 16)
    assert store.sql("from embeddings where encoder_id = repeat('b', 16)").height == 1


@pytest.mark.parametrize("file", ["weights.safetensors", "run.json", "predictions.parquet"])
def test_a_changed_file_of_a_run_is_refused(copied: Copy, file: str) -> None:
    root = copied()
    flip(root / "runs" / "r1" / file, np.random.default_rng(0))
    with pytest.raises(StoreDamaged, match=f"{file} .*trephine verify --repair"):
        FeatureStore(root).run("r1")
    assert FeatureStore(root).run("r2").run_id == "r2"


@pytest.mark.proof
def test_a_repair_queues_the_slide_of_a_broken_array(copied: Copy) -> None:
    root = copied()
    flip(chunk(root, 2), np.random.default_rng(0))
    made = slide_arrays(f"{2:016x}", 7)
    check_mended(root)
    store = FeatureStore(root)
    assert not store.has(made.slide_key, made.tiling.tiling_id, "e" * 16)
    assert store.has(made.slide_key, made.tiling.tiling_id)
    assert list((root / "quarantine").rglob("0"))
    store.publish(made)
    store.record()
    assert "S2" in store.sql("from bags")["slide_id"].to_list()
    assert names(root) == []


def test_the_newest_run_is_the_last_that_ended_whatever_the_clock_says(copied: Copy) -> None:
    store = FeatureStore(copied())
    publish_run(store, "r0", now() - timedelta(hours=1))
    assert store.run("latest").run_id == "r0"
    assert store.runs()["run_id"].to_list() == ["r0", "r2", "r1"]


def test_what_was_left_in_tmp_is_told_and_cleared_but_not_what_is_at_work(copied: Copy) -> None:
    root = copied()
    tmp = layout.tmp_dir(root)
    for name, hours in (("old", 2), ("young", 0), ("run-x", 2)):
        (tmp / name).mkdir()
        (tmp / name / "file").write_text("half")
        then = time.time() - 3600 * hours
        for path in (tmp / name / "file", tmp / name):
            os.utime(path, (then, then))
    assert names(root) == ["tmp/old"]
    assert not FeatureStore.verify(root, repair=True).failures
    assert sorted(path.name for path in tmp.iterdir()) == ["run-x", "young"]


def test_no_command_ends_in_a_traceback_over_damage(copied: Copy) -> None:
    root = copied()
    damage_some(root, np.random.default_rng(3), 20)
    try:
        store = FeatureStore(root)
        store.record()
        store.bags("all", "e" * 16)
        for run in store.runs()["run_id"]:
            store.run(run)
    except TrephineError:
        pass


LOST = re.compile(r"its rows are lost|could not be written anew")
DAMAGED = (remove, cut, stuff)
KINDS_WITH_ROWS = (
    "cases",
    "cohorts",
    "embeddings",
    "failures",
    "golden_tiles",
    "ingest_times",
    "labels",
    "reports",
    "slides",
)


def tables(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that people ask, but for when files were folded."""
    names = (*KINDS_WITH_ROWS, "cohort_slides", "targets", "best_labels", "runs", "tombstones")
    store = FeatureStore(root)
    found = {name: store.ask(f"from {name} order by all").rows() for name in names}
    found["failures"] = store.ask("select item, stage, reason from failures order by all").rows()
    text = "select * exclude (embedded_at) from embeddings order by all"
    return found | {"embeddings": store.ask(text).rows()}


@pytest.mark.parametrize("how", ["repair", pytest.param("rebuild", marks=pytest.mark.proof)])
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


def replaced(file: Path) -> None:
    """As whole as the file of another Slide is: other bytes, with their own checksum."""
    data = bytes(255 - byte for byte in file.read_bytes()[: -layout.CHECKSUM_BYTES])
    file.write_bytes(data + google_crc32c.value(data).to_bytes(layout.CHECKSUM_BYTES, "little"))


@pytest.mark.parametrize(
    ("inner", "read"),
    [
        ("*/tiles/coords/c/0/0", FeatureStore.tiles),
        ("*/tiles/tissue/c/0", FeatureStore.tiles),
        ("thumbnail/c/0/0/0", lambda store, key, _: store.thumbnail(key)),
        (f"*/embeddings/{'e' * 16}/c/0/0", lambda store, *ids: store.embeddings(*ids, "e" * 16)),
    ],
)
def test_the_file_of_another_slide_is_refused_by_whoever_reads_it(
    copied: Copy, inner: str, read: Callable[[FeatureStore, str, str], object]
) -> None:
    root = copied()
    key, tiling_id = f"{2:016x}", next((root / "slides").glob("*2.zarr/*/tiles")).parent.name
    read(FeatureStore(root), key, tiling_id)
    (file,) = (root / "slides" / f"{key}.zarr").glob(inner)
    replaced(file)
    with pytest.raises(StoreDamaged, match=r"another slide or time.*verify --repair"):
        read(FeatureStore(root), key, tiling_id)


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


@pytest.mark.parametrize(
    "share", [0.3, 0.9, *(pytest.param(share, marks=pytest.mark.proof) for share in (0.02, 0.5))]
)
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


@pytest.mark.parametrize("what", ["garbage", "empty", "pipe", "of another"])
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


@pytest.mark.parametrize("how", ["sql", "ask", "record", "create", "cli", "long"])
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


def test_a_catalog_that_is_cut_anywhere_within_a_block_is_told(copied: Copy) -> None:
    root, rng = copied(), np.random.default_rng(0)
    whole = (root / layout.CATALOG).read_bytes()
    for size in [*rng.integers(1, len(whole), 25), len(whole) - 1, len(whole) - 4096]:
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


def write_as_an_ingest_does(root: Path, encoder: str, n: int) -> None:
    """Publish arrays of new Slides and of known ones; the catalog follows in batches."""
    store, rows, waiting = FeatureStore(root), [], []
    for i in range(n):
        key = f"{ord(encoder):08x}{i:08x}" if i % 2 else f"{2 + i % 3:016x}"
        made = slide_arrays(key, 9 if i % 2 else (7, 7, 9)[i % 3], encoder=encoder * 16)
        if i % 2 == 0:
            made = replace(made, encoder_id=f"{ord(encoder):08x}{i:08x}")
        store.publish(made)
        waiting.append(ArrayIds(key, made.tiling.tiling_id, made.encoder_id))
        case = f"C-{encoder}-{i}"
        rows += [case_row(case, case), slide_row(case, case, key)] if i % 2 else []
        if i % 4 == 3:
            store.record(rows, published=waiting, wait_s=float("inf"))
            rows, waiting = [], []
    store.record(rows, published=waiting, wait_s=float("inf"))


@pytest.mark.parametrize(
    "how", [pytest.param({}, marks=pytest.mark.proof), {"repair": True}], ids=["plain", "repair"]
)
def test_a_healthy_store_is_whole_while_an_ingest_writes(
    copied: Copy, how: dict[str, bool]
) -> None:
    root, n = copied(), 12
    other = get_context("spawn").Process(target=write_as_an_ingest_does, args=(root, "b", n))
    own = threading.Thread(target=write_as_an_ingest_does, args=(root, "a", n))
    for one in (other, own):
        one.start()
    while own.is_alive() or other.is_alive():
        told = FeatureStore.verify(root, **how)
        assert told.text().endswith("whole"), told.text()
    assert other.exitcode == 0
    told = FeatureStore.verify(root, **how)
    assert told.text().endswith("whole")
    assert not told.waiting
    assert not (root / "quarantine" / "slides").exists()
    assert FeatureStore(root).ask("select count(*) from embeddings").item() == 6 + 2 * n
    assert not list((root / "quarantine").rglob("*.zarr"))


@pytest.mark.parametrize("during", ["check_group", "_known", "_look", "_by_key"])
@pytest.mark.parametrize("records", [True, False])
def test_what_is_published_during_the_second_look_is_no_finding(
    copied: Copy, monkeypatch: pytest.MonkeyPatch, during: str, records: bool
) -> None:
    root = copied()
    store, key, todo = FeatureStore(root), f"{2:016x}", list("bcdef")
    inner, waiting = getattr(verify, during), list[ArrayIds]()

    def late(*given: object, **named: object) -> object:
        if todo:
            made = replace(slide_arrays(key, 7), encoder_id=todo.pop() * 16)
            store.publish(made)
            waiting.append(ArrayIds(key, made.tiling.tiling_id, made.encoder_id))
        if waiting and records:
            store.record(published=waiting)
            waiting.clear()
        return inner(*given, **named)

    store.publish(replace(slide_arrays(key, 7), encoder_id="a9" * 8))  # a first look is not enough
    monkeypatch.setattr(verify, during, late)
    told = FeatureStore.verify(root)
    assert len(todo) < 5
    assert told.text().endswith("whole"), told.text()


def test_what_a_killed_ingest_left_is_told_and_no_stranger_is_called_its_work(copied: Copy) -> None:
    root = copied()
    FeatureStore(root).publish(slide_arrays("a" * 16, 5))  # and killed: nobody claims it
    (left,) = FeatureStore.verify(root).failures
    assert left.text().endswith("trephine ingest --adopt-only")
    at_work = FeatureStore(root)
    at_work.publish(slide_arrays("b" * 16, 5))
    shutil.copytree(root / "slides" / f"{1:016x}.zarr", root / "slides" / f"{'c' * 16}.zarr")
    told = FeatureStore.verify(root)
    assert told.waiting == 2
    assert [one.path for one in told.failures] == [f"slides/{'c' * 16}.zarr"]
    chunks = (root / "slides" / f"{'b' * 16}.zarr").rglob("c/0/0")
    flip(next(path for path in chunks if path.is_file()), np.random.default_rng(0))
    assert is_told(f"slides/{'b' * 16}.zarr", names(root))
    del at_work


@pytest.mark.parametrize("how", ["repair", pytest.param("rebuild", marks=pytest.mark.proof)])
def test_a_run_whose_folder_is_gone_is_told_and_its_mend_says_that_it_is_lost(
    copied: Copy, how: str
) -> None:
    root = copied()
    shutil.rmtree(root / "runs" / "r1")
    assert "runs/r1" in names(root)
    (lost,) = FeatureStore.verify(root, **{how: True}).failures
    assert lost.path == "runs/r1"
    assert "lost" in lost.fault
    assert names(root) == []
    assert FeatureStore(root).runs()["run_id"].to_list() == ["r2"]


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


@pytest.mark.parametrize("words", [["sql", "from cases limit 1"], ["cohort", "list"], ["status"]])
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


WRITES = """
import sys
from builders.catalog_rows import case_row
from featurestore import FeatureStore
store, n = FeatureStore(sys.argv[1]), 0
while True:
    print(n, flush=True)
    store.record([case_row(f"D{n}-{i}", "P") for i in range(2000)])
    n += 1
"""


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_writer_that_is_killed_at_any_time_locks_nobody_out(copied: Copy) -> None:
    root, rng, logs = copied(), np.random.default_rng(0), 0
    log = root / f"{layout.CATALOG}.wal"
    for n in range(50):
        word = [sys.executable, "-c", WRITES, str(root)]
        places = os.pathsep.join(sys.path)
        with subprocess.Popen(
            word, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": places}
        ) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while n % 2 and not log.exists():
                time.sleep(0.0005)
            time.sleep(rng.uniform(0, 0.01 if n % 2 else 0.3))
            writer.kill()
        logs += log.exists()
        assert FeatureStore(root).sql("from slides").height
        assert FeatureStore(root).ask("from slides").height
    assert logs > 5  # it was killed while it wrote
    FeatureStore(root).record()
    assert FeatureStore.verify(root, rebuild=True).failures == []


@pytest.mark.parametrize("what", ["garbage", "of another", "with migrations", "folder"])
@pytest.mark.parametrize("is_alone", [True, pytest.param(False, marks=pytest.mark.proof)])
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


def test_ctrl_c_is_no_damage(copied: Copy) -> None:
    root = copied()

    def stopped() -> None:
        with catalog.reader(root) as con:
            threading.Timer(0.2, con.interrupt).start()
            con.execute("select count(*) from range(10_000_000_000) where random() > 2").fetchall()

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert names(root) == []


def test_a_rebuild_and_an_erasure_at_once_lose_no_cohort(copied: Copy) -> None:
    root = copied()
    FeatureStore(root).create_cohort("other", "from bags", split=SplitConfig(method="random"))
    acts: list[Callable[[], object]] = [
        lambda: FeatureStore.verify(root, rebuild=True),
        lambda: FeatureStore(root).withdraw("P2", erase=True),
    ]
    with ThreadPoolExecutor(len(acts)) as pool:
        for done in [pool.submit(act) for act in acts]:
            done.result()
    store = FeatureStore(root)
    assert {store.cohort(name).dropped["erased"] for name in ("all", "other")} == {1}
    assert store.ask("select count(*) from cohort_slides where case_id = 'C2'").item() == 0
    assert store.ask("select count(*) from cohort_slides").item() > 0
    left = [one for one in FeatureStore.verify(root).failures if "the check" not in one.fault]
    assert not left


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


def test_a_repair_makes_the_catalog_anew_only_where_something_of_it_changes(copied: Copy) -> None:
    root = copied()
    (root / "ledger" / "labels" / "mine.txt").write_text("mine")
    flip(next(root.glob("slides/*/*/embeddings/*/c/0/0")), np.random.default_rng(0))
    inode = (root / layout.CATALOG).stat().st_ino
    done = FeatureStore.verify(root, repair=True)
    assert sum("is in" in one for one in done.mended) == 2
    assert (root / layout.CATALOG).stat().st_ino == inode
    assert all("the check" in one.fault for one in done.failures), done.text()
    next(root.glob("runs/*/weights.safetensors")).write_bytes(b"other")
    FeatureStore.verify(root, repair=True)
    assert (root / layout.CATALOG).stat().st_ino != inode


@pytest.mark.parametrize("stopped", [False, True])
def test_several_processes_find_what_one_does_also_where_they_are_stopped(
    copied: Copy, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    root = copied()
    flip(
        next(path for path in root.glob("slides/*/*/embeddings/*/c/0/0")), np.random.default_rng(0)
    )
    alone = FeatureStore.verify(root)
    monkeypatch.setattr(verify, "MANY", 1)
    monkeypatch.setattr(verify, "PART", 1)
    monkeypatch.setattr(verify, "processors", lambda: 3)
    monkeypatch.setattr(verify, "SILENCE_S", 0.3 if stopped else 20)
    ended = threading.Event()

    def stop() -> None:
        while stopped and not ended.wait(0.001):
            for one in multiprocessing.active_children():
                os.kill(one.pid or 0, signal.SIGSTOP)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(stop)
        try:
            together = FeatureStore.verify(root)
        finally:
            ended.set()
    assert together.seconds < 10 or not stopped
    assert (together.failures, together.bytes) == (alone.failures, alone.bytes)
    assert len(alone.failures) == 1
