"""What a repair sets aside, takes in and clears."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from builders.catalog_rows import slide_arrays
from builders.damage import Copy, check_mended, flip, names

from featurestore import FeatureStore, layout


def chunk(root: Path, slide: int) -> Path:
    return next((root / "slides" / f"{slide:016x}.zarr").glob(f"*/embeddings/{'e' * 16}/c/0/0"))


def test_a_repair_takes_in_what_is_published_and_not_yet_told(copied: Copy) -> None:
    root = copied()
    made = slide_arrays(f"{2:016x}", 7, encoder="b" * 16)
    store = FeatureStore(root)
    store.publish(made)  # and killed
    assert FeatureStore.verify(root, repair=True).text().endswith("whole")
    assert store.has(made.slide_key, made.tiling.tiling_id, "b" * 16)
    assert store.sql("from embeddings where encoder_id = repeat('b', 16)").height == 1


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
