"""What the writer publishes, counts and refuses."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from builders.ingest_stores import Recorder, plain, rebuilt, slide, take_in, write

from featurestore import FeatureStore
from featurestore.types import Tiling


def test_seconds_bytes_and_tiles_are_kept_by_stage_and_survive_a_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    write(path, plain(600), mpp=2.0, stated=2.0)
    store = FeatureStore.create(tmp_path / "store")
    began = time.monotonic()
    done = take_in(store, [slide(path)], Recorder(), Tiling())
    wall_s = time.monotonic() - began
    text = "select * from ingest_times join slides using (slide_key) order by stage"
    rows = {row["stage"]: row for row in store.sql(text).iter_rows(named=True)}
    assert rows.keys() == {"open", "read", "embed", "write"}
    assert {row["tiles"] for row in rows.values()} == {4}
    assert all(0 < row["seconds"] < wall_s for row in rows.values())
    size = path.stat().st_size
    assert size <= rows["open"]["bytes"]  # under 6 MiB the fingerprint reads all
    assert 0 < rows["read"]["bytes"] < 3 * size
    assert rows["embed"]["bytes"] == 4 * 224 * 224 * 3
    in_store = sum(f.stat().st_size for f in (store.root / "slides").rglob("*") if f.is_file())
    assert rows["write"]["bytes"] == in_store
    assert done.stages["write"].bytes == in_store
    before = store.sql("from ingest_times order by all").rows()
    store = rebuilt(store)
    assert store.sql("from ingest_times order by all").rows() == before
    take_in(store, [slide(path)], Recorder(), Tiling())
    assert store.sql("from ingest_times order by all").rows() == before


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e6])
def test_a_slide_with_numbers_that_are_none_fails_and_nothing_of_it_is_published(
    tmp_path: Path, wrong: float
) -> None:
    good, bad = tmp_path / "good.svs", tmp_path / "bad.svs"
    write(good, plain(600, 90), mpp=2.0, stated=2.0)
    write(bad, plain(600, 30), mpp=2.0, stated=2.0)

    class Overflows(Recorder):
        def embed(self, tiles: np.ndarray) -> np.ndarray:
            vectors = super().embed(tiles).astype(np.float32)
            is_bad = (vectors[:, 1] > 20) & (vectors[:, 1] < 60)
            vectors[np.flatnonzero(is_bad)[:1], 2] = wrong  # one number of one tile
            with np.errstate(over="ignore"):
                return vectors.astype(np.float16)

    store = FeatureStore.create(tmp_path / "store")
    done = take_in(store, [slide(bad), slide(good)], Overflows())
    assert "1 of 4 embeddings are not finite" in done.failures["bad"]
    assert "--precision float32" in done.failures["bad"]
    assert (done.embedded, done.tiles) == (1, 4)
    assert store.sql("select stage, slide_id from failures").rows() == [("embed", "bad")]
    assert store.sql("select slide_id from slides").rows() == [("good",)]
    assert len(list((store.root / "slides").iterdir())) == 1
    assert take_in(store, [slide(bad)], Overflows("mended")).failures.keys() == {"bad"}
