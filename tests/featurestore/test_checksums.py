"""A run's folder has the sha256 of each of its files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from builders.damage import Copy, flip
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.checksums import check_sealed, seal
from featurestore.errors import StoreDamaged


@pytest.mark.parametrize("file", ["weights.safetensors", "run.json", "predictions.parquet"])
def test_a_changed_file_of_a_run_is_refused(copied: Copy, file: str) -> None:
    root = copied()
    flip(root / "runs" / "r1" / file, np.random.default_rng(0))
    with pytest.raises(StoreDamaged, match=f"{file} .*trephine verify --repair"):
        FeatureStore(root).run("r1")
    assert FeatureStore(root).run("r2").run_id == "r2"


@given(data=st.data(), sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_a_seal_tells_every_file_that_is_changed_gone_or_new(
    data: st.DataObject, sizes: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "inner").mkdir()
        files = [folder / ("inner/" * (i % 2) + f"f{i}") for i in range(len(sizes))]
        for file, size in zip(files, sizes, strict=True):
            file.write_bytes(bytes(size))
        digest = seal(folder)
        assert check_sealed(folder, digest) == digest
        other, how = (
            data.draw(st.sampled_from(files)),
            data.draw(st.sampled_from(["+", "-", "new"])),
        )
        if how == "-":
            other.unlink()
        else:
            (other if how == "+" else folder / "new").write_bytes(b"x" * 50)
        with pytest.raises(StoreDamaged, match=r"changed|is missing|no part"):
            check_sealed(folder, digest)


def test_a_seal_that_was_written_anew_is_not_the_one_of_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"a")
    digest = seal(tmp_path)
    (tmp_path / "weights").write_bytes(b"b")
    assert check_sealed(tmp_path, seal(tmp_path)) != digest
    with pytest.raises(StoreDamaged, match="SHA256SUMS was changed"):
        check_sealed(tmp_path, digest)
