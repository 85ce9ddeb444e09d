"""Damage is told, never used: whatever is done to a store's files, `verify` names it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from builders.catalog_rows import case_row, slide_arrays, slide_row
from builders.damage import (
    DAMAGES,
    Copy,
    edit_catalog,
    files_of,
    flip,
    is_told,
    names,
    publish_run,
)

from featurestore import FeatureStore, groups, layout
from featurestore.errors import (
    NotFinite,
    StoreDamaged,
    StoreNotFound,
    TrephineError,
)
from featurestore.types import now

LOST = re.compile(r"its rows are lost|could not be written anew")


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
