"""Damage is told, never used: whatever is done to a store's files, `verify` names it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from builders.damage import (
    DAMAGES,
    Copy,
    check_mended,
    edit_catalog,
    files_of,
    flip,
    is_told,
    names,
    publish_run,
)

from featurestore import FeatureStore, layout
from featurestore.errors import StoreDamaged, StoreNotFound, TrephineError
from featurestore.types import now


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


def test_the_newest_run_is_the_last_that_ended_whatever_the_clock_says(copied: Copy) -> None:
    store = FeatureStore(copied())
    publish_run(store, "r0", now() - timedelta(hours=1))
    assert store.run("latest").run_id == "r0"
    assert store.runs()["run_id"].to_list() == ["r0", "r2", "r1"]


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
