"""The store format: what is written is read, by us, by plain Zarr, and by position."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from builders.catalog_rows import slide_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import arrays, layout
from featurestore.errors import StoreDamaged
from featurestore.store import FeatureStore
from featurestore.types import SCORES, Tiling


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return FeatureStore.create(tmp_path / "store").root


@pytest.mark.parametrize("n", [0, 1, 37, 1500])
def test_plain_zarr_reads_what_was_published(root: Path, n: int) -> None:
    made = slide_arrays("a" * 16, n)
    arrays.publish(root, made)
    group = zarr.open_group(str(layout.group_dir(root, made.slide_key)), mode="r")
    tiling = made.tiling.tiling_id
    np.testing.assert_array_equal(group[f"{tiling}/embeddings/{'e' * 16}"][...], made.embeddings)
    np.testing.assert_array_equal(group[f"{tiling}/tiles/coords"][...], made.coords)
    np.testing.assert_array_equal(group[f"{tiling}/tiles/blur"][...], made.scores["blur"])
    np.testing.assert_array_equal(group["thumbnail"][...], made.thumbnail)
    assert group.attrs["format_version"] == layout.FORMAT_VERSION
    assert not any(layout.tmp_dir(root).iterdir())


def test_the_chunk_file_is_a_plain_buffer_and_a_checksum(root: Path) -> None:
    made = slide_arrays("a" * 16, 37)
    arrays.publish(root, made)
    path = layout.embedding_dir(root, "a" * 16, made.tiling.tiling_id, "e" * 16)
    raw = layout.chunk(path, 2).read_bytes()
    assert raw[: -layout.CHECKSUM_BYTES] == made.embeddings.astype("<f2").tobytes()


def test_coords_that_equal_the_fill_value_are_still_written(root: Path) -> None:
    made = slide_arrays("a" * 16, 1)
    made.coords[:] = 0
    made.embeddings[:] = np.nan
    arrays.publish(root, made)
    ids = ("a" * 16, made.tiling.tiling_id, "e" * 16)
    assert layout.chunk(layout.embedding_dir(root, *ids), 2).exists()
    np.testing.assert_array_equal(arrays.read_tiles(root, *ids[:2])["coords"], [[0, 0]])


def test_a_second_encoder_and_tiling_are_added_beside_and_nothing_is_rewritten(root: Path) -> None:
    first = slide_arrays("a" * 16, 5)
    arrays.publish(root, first)
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}
    arrays.publish(root, slide_arrays("a" * 16, 5, dim=4, encoder="d" * 16))
    arrays.publish(root, slide_arrays("a" * 16, 3, tiling=Tiling(tile_px=112)))
    arrays.publish(root, slide_arrays("a" * 16, 5))  # again: discarded
    assert sorted(arrays.published(root)) == sorted(
        [
            ("a" * 16, Tiling().tiling_id, "d" * 16),
            ("a" * 16, Tiling().tiling_id, "e" * 16),
            ("a" * 16, Tiling(tile_px=112).tiling_id, "e" * 16),
        ]
    )
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert not any(layout.tmp_dir(root).iterdir())


def test_a_flipped_bit_and_a_lost_chunk_are_damage_never_data(root: Path) -> None:
    made = slide_arrays("a" * 16, 37)
    arrays.publish(root, made)
    ids = ("a" * 16, made.tiling.tiling_id, "e" * 16)
    chunk = layout.chunk(layout.embedding_dir(root, *ids), 2)
    data = bytearray(chunk.read_bytes())
    data[100] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(StoreDamaged, match="trephine verify --repair"):
        arrays.read_embeddings(root, *ids)
    chunk.unlink()
    with pytest.raises(StoreDamaged, match="cannot be read"):
        arrays.read_embeddings(root, *ids)


@given(st.integers(0, 400), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_the_row_order_is_a_permutation_that_ignores_the_order_it_is_given(
    n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    coords = np.unique(rng.integers(0, 50_000, (n, 2)), axis=0).astype(np.int32)
    ordered = coords[arrays.row_order("0123456789abcdef", coords)]
    shuffled = rng.permutation(coords)
    again = shuffled[arrays.row_order("0123456789abcdef", shuffled)]
    np.testing.assert_array_equal(ordered, again)
    assert sorted(map(tuple, ordered)) == sorted(map(tuple, coords))


def test_a_block_of_rows_is_a_fair_sample_of_the_slide() -> None:
    coords = np.stack(np.meshgrid(np.arange(40), np.arange(50)), -1).reshape(-1, 2).astype(np.int32)
    firsts = [
        coords[arrays.row_order(f"{key:016x}", coords)[:200]].mean(axis=0) for key in range(40)
    ]
    # the mean of 200 of 2,000 tiles, 40 slides: standard error 0.12 and 0.15
    np.testing.assert_allclose(np.mean(firsts, axis=0), [19.5, 24.5], atol=0.6)


def test_tiles_of_an_older_version_have_unknown_scores_where_it_measured_none(root: Path) -> None:
    made = slide_arrays("a" * 16, 7)
    arrays.publish(root, made)
    tiles = layout.tiles_dir(root, "a" * 16, made.tiling.tiling_id)
    shutil.rmtree(tiles / "marrow")
    ids = ("a" * 16, made.tiling.tiling_id)
    for scores in (arrays.read_tiles(root, *ids), arrays.read_scores(root, *ids, 7, SCORES)):
        assert np.isnan(scores["marrow"]).all()
        np.testing.assert_array_equal(scores["tissue"], made.scores["tissue"])
    shutil.rmtree(tiles / "tissue")  # every version measured this one
    with pytest.raises(StoreDamaged, match="tissue"):
        arrays.read_scores(root, *ids, 7, SCORES)
