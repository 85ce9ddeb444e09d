"""Rows read by position: a block is the circular slice, a damaged chunk none."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import RowReader
from featurestore.errors import StoreDamaged


@given(
    n=st.integers(1, 60),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_block_read_by_position_is_the_circular_slice(
    tmp_path_factory: pytest.TempPathFactory, n: int, data: st.DataObject
) -> None:
    start, k = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n))
    rows = data.draw(st.lists(st.integers(0, n - 1), max_size=n, unique=True).map(sorted))
    path = tmp_path_factory.mktemp("rows") / "chunk"
    values = np.arange(n * 3, dtype="<f2").reshape(n, 3)
    path.write_bytes(values.tobytes() + b"crc4")
    with RowReader([path], [n], 3, checked=None) as reader:
        out = np.empty((k, 3), np.float16)
        reader.read_blocks([0], [start], [len(out)], out[None])
        np.testing.assert_array_equal(out, values[(start + np.arange(k)) % n])
        assert reader.bytes_read == k * 6
        out = np.empty((len(rows), 3), np.float16)
        reader.read_rows(0, np.array(rows, np.int64), out)
        np.testing.assert_array_equal(out, values[np.array(rows, np.int64)])


@pytest.mark.parametrize("change", [-1, 1, -7])
def test_a_chunk_of_another_size_is_refused_at_open(tmp_path: Path, change: int) -> None:
    path = tmp_path / "chunk"
    path.write_bytes(bytes(5 * 6 + 4 + change))
    with (
        RowReader([path], [5], 3) as reader,
        pytest.raises(StoreDamaged, match="expected 34"),
    ):
        reader.read_blocks([0], [0], [2], np.empty((1, 2, 3), np.float16))


def test_many_slides_are_read_through_few_descriptors(tmp_path: Path) -> None:
    paths = [tmp_path / str(i) for i in range(300)]
    for i, path in enumerate(paths):
        path.write_bytes(np.full((2, 3), i, "<f2").tobytes() + b"crc4")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with RowReader(paths, [2] * 300, 3, checked=None) as reader:
            out = np.empty((2, 3), np.float16)
            for i in [*range(300), *range(300)]:
                reader.read_blocks([i], [1], [len(out)], out[None])
                assert (out == i).all()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
