"""The files of a slide's group: none missing, other or foreign."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from builders.catalog_rows import case_row, slide_arrays, slide_row
from builders.damage import Copy, is_told, names

from featurestore import FeatureStore, groups
from featurestore.errors import NotFinite


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


def test_rows_that_are_no_numbers_are_named_with_their_slide(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    made = slide_arrays("a" * 16, 9)
    made.embeddings[3] = np.nan
    store.publish(made)
    store.record([case_row("C", "P"), slide_row("S", "C", "a" * 16)])
    with store.rows(store.bags_where("true")) as reader, pytest.raises(NotFinite, match="row 3"):
        reader.read_blocks([0], [0], [1], np.empty((1, 1, 8), np.float16))
    assert "a" * 16 in FeatureStore.verify(store.root).text()
