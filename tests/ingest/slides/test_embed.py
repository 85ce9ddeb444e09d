"""The ingest pipeline: the right pixels in the stored order, whatever happens on the way."""

from __future__ import annotations

import io
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from builders import bad_reader
from builders.ingest_stores import TINY, Recorder, plain, slide, take_in, write
from PIL import Image

from featurestore import FeatureStore, row_order
from featurestore.errors import TrephineError
from featurestore.types import Tiling
from ingest.slides.archive import Archive
from ingest.slides.config import IngestConfig
from ingest.slides.embed import ingest_archive
from ingest.slides.encoders import load
from ingest.slides.worker import ReaderProcess
from ingest.slides.writer import IngestSummary
from ingest.synthetic import archive as synthetic


def checkerboard(tile: int, columns: int, rows: int) -> np.ndarray:
    """An image whose tile (i, j) has a colour of its own that counts as tissue."""
    image = np.empty((rows * tile, columns * tile, 3), np.uint8)
    for i in range(rows):
        for j in range(columns):
            image[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile] = (
                150 + 12 * i,
                60,
                90 + 12 * j,
            )
    return np.pad(image, ((0, tile), (0, tile), (0, 0)), constant_values=245)  # some glass


def through_jpeg(colour: np.ndarray) -> np.ndarray:
    """What the slide's JPEG makes of a flat colour; alone it is off by up to 4 grey levels."""
    flat = Image.new("RGB", (64, 64), tuple(colour.tolist()))
    return np.asarray(Image.open(io.BytesIO(synthetic.jpeg(flat)))).mean(axis=(0, 1))


@pytest.mark.parametrize("mpp", [0.2325, 0.5016])
def test_each_stored_vector_is_that_of_the_tile_at_its_coords(tmp_path: Path, mpp: float) -> None:
    # Tiles of 112 px at 2.0 microns; the image is drawn at 2.0 and enlarged to the slide's mpp.
    image = checkerboard(112, 7, 5)
    path = tmp_path / "board.svs"
    write(path, image, mpp=mpp, stated=mpp)
    store = FeatureStore.create(tmp_path / "store")
    tiling = Tiling(tile_px=112)
    done = take_in(store, [slide(path)], Recorder(), tiling)
    assert not done.failures
    key = store.sql("select slide_key from slides").item()
    stored = store.tiles(key, tiling.tiling_id)
    vectors = store.embeddings(key, tiling.tiling_id, Recorder().encoder_id)
    inner = stored["tissue"] > 0.99
    assert inner.sum() >= 20
    column, row = np.rint(stored["coords"] * mpp / 224).astype(int)[inner].T
    expected = np.stack([150 + 12 * row, np.full(len(row), 60), 90 + 12 * column], axis=1)
    np.testing.assert_allclose(vectors[inner], [through_jpeg(c) for c in expected], atol=3)
    order = row_order(key, stored["coords"])
    np.testing.assert_array_equal(order, np.arange(len(order)))


def test_a_second_encoder_embeds_the_stored_coords_in_the_stored_order(tmp_path: Path) -> None:
    path = tmp_path / "board.svs"
    write(path, checkerboard(112, 4, 4), mpp=0.5, stated=0.5)
    store = FeatureStore.create(tmp_path / "store")
    tiling, first, second = Tiling(tile_px=112), Recorder(), Recorder("others")
    for encoder in (first, second):
        take_in(store, [slide(path)], encoder, tiling)
    key = store.sql("select slide_key from slides").item()
    a, b = (store.embeddings(key, tiling.tiling_id, e.encoder_id) for e in (first, second))
    np.testing.assert_array_equal(a, b)
    assert store.sql("from embeddings").height == 2


def test_a_renamed_slide_is_known_and_another_mpp_is_another_slide(tmp_path: Path) -> None:
    path, moved = tmp_path / "board.svs", tmp_path / "sub" / "board.svs"
    write(path, checkerboard(112, 4, 4), mpp=0.5, stated=0.5)
    store = FeatureStore.create(tmp_path / "store")
    encoder, tiling = Recorder(), Tiling(tile_px=112)
    take_in(store, [slide(path)], encoder, tiling)
    moved.parent.mkdir()
    path.rename(moved)
    done = take_in(store, [slide(moved)], encoder, tiling)
    assert done.tiles == 0
    assert store.sql("select path from slides").item() == str(moved)
    done = take_in(store, [slide(moved, mpp=0.4)], encoder, tiling)
    assert done.tiles > 0
    assert len(list((store.root / "slides").iterdir())) == 2
    assert store.sql("from bags").height == 1


@pytest.mark.parametrize(
    ("mpp", "stated", "side", "message"),
    [
        (3.0, 3.0, 600, "coarser than the 2 asked for"),
        (0.5, None, 600, "has no mpp. Add a column mpp to the manifest, or pass --mpp"),
        (0.5, 0.5, 100, "smaller than one tile of 448 microns"),
    ],
)
def test_a_slide_that_cannot_be_tiled_is_told_and_the_rest_goes_on(
    tmp_path: Path, mpp: float, stated: float | None, side: int, message: str
) -> None:
    bad, good = tmp_path / "bad.svs", tmp_path / "good.svs"
    image = plain(side)
    write(bad, image, mpp=mpp, stated=stated)
    image = plain(600)
    write(good, image, mpp=0.5, stated=0.5)
    store = FeatureStore.create(tmp_path / "store")
    done = take_in(store, [slide(bad), slide(good)], Recorder(), Tiling())
    told = {**done.failures, **done.without_tiles}
    assert message in told["bad"]
    assert store.sql("select n_tiles from slide_overview where slide_id = 'good'").item() == 4
    recorded = (
        store.sql("from failures").height
        + store.sql("from slide_overview where n_tiles = 0").height
    )
    assert recorded == 1


def test_a_failing_slide_is_tried_three_times_and_then_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "torn.svs"
    path.write_bytes(b"II*\0 no slide")
    store = FeatureStore.create(tmp_path / "store")

    def run(**k: bool) -> IngestSummary:
        config = IngestConfig(**k)
        return take_in(store, [slide(path)], Recorder(), Tiling(), config)

    assert [len(run().failures) for _ in range(4)] == [1, 1, 1, 0]
    assert run().given_up == 1
    assert len(run(retry_failed=True).failures) == 1
    write(
        path,
        plain(600),
        mpp=2.0,
        stated=2.0,
    )
    assert run(retry_failed=True).embedded == 1
    assert store.sql("from failures").is_empty()


def test_an_encoder_that_breaks_keeps_what_was_finished(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.svs" for i in range(3)]
    for i, path in enumerate(paths):
        image = plain(1800, 60 + 30 * i)  # 64 tiles: two batches
        write(path, image, mpp=2.0, stated=2.0)

    class Breaks(Recorder):
        calls = 0

        def embed(self, tiles: np.ndarray) -> np.ndarray:
            self.calls += 1
            if self.calls > 4:
                raise RuntimeError("out of memory")
            return super().embed(tiles)

    store = FeatureStore.create(tmp_path / "store")
    with pytest.raises(RuntimeError):
        take_in(store, [slide(p) for p in paths], Breaks(), Tiling(), IngestConfig(workers=1))
    assert 1 <= store.sql("from embeddings").height <= 2
    done = take_in(store, [slide(p) for p in paths], Recorder(), Tiling())
    assert done.known >= 1
    assert store.sql("from embeddings").height == 3


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    image = plain(600)
    write(path, image, mpp=2.0, stated=2.0)
    store = FeatureStore.create(tmp_path / "store")
    shutil.rmtree(store.root / "slides")
    (store.root / "slides").write_text("in the way")
    with pytest.raises(TrephineError, match="run the same command again"):
        take_in(store, [slide(path)], Recorder(), Tiling())


def test_manifest_and_file_that_differ_on_the_scale_are_told(tmp_path: Path) -> None:
    archive = []
    for name, given in (("near", 2.05), ("far", 2.2), ("silent", None)):
        write(tmp_path / f"{name}.svs", plain(600, len(name) * 20), mpp=2.0, stated=2.0)
        archive.append(slide(tmp_path / f"{name}.svs", mpp=given))
    store = FeatureStore.create(tmp_path / "store")
    config = IngestConfig(mpp=9.0)  # for no one: all state a scale
    for _ in range(2):  # as they are read, and as they are known
        done = take_in(store, archive, Recorder(), Tiling(tile_mpp=2.2), config)
        assert done.scales.keys() == {"far"}
        assert "scale: far: the manifest says 2.2" in done.text()
    said = store.sql("select slide_id, mpp, mpp_file, mpp_source from slide_overview order by 1")
    assert said.rows() == [
        ("far", 2.2, 2.0, "manifest"), ("near", 2.05, 2.0, "manifest"), ("silent", 2.0, 2.0, "file")
    ]  # fmt: skip


def test_random_weights_are_named_in_the_store(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    image = plain(600)
    write(path, image, mpp=2.0, stated=2.0)
    store = FeatureStore.create(tmp_path / "store")
    take_in(store, [slide(path)], load(TINY, "random"), Tiling())
    assert store.sql("select weights from encoders").item() == "random"


def test_ctrl_c_ends_an_ingest_whose_readers_hang_and_keeps_what_was_embedded(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{name}.svs" for name in "ac"]
    for i, path in enumerate(paths):
        write(path, plain(1000, 60 + 30 * i), mpp=2.0, stated=2.0)
    store, pressed = FeatureStore.create(tmp_path / "store"), [0.0]

    def press(done: int, total: int, note: object) -> None:
        if done == 1 and not pressed[0]:  # a is published, and c hangs
            pressed[0] = time.monotonic() + 0.2
            threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()

    encoder = Recorder()
    encoder.batch_tiles = 16
    with pytest.raises(KeyboardInterrupt):
        ingest_archive(
            store,
            Archive(slides=[slide(path) for path in paths]),
            encoder,
            Tiling(),
            IngestConfig(workers=1),
            progress=press,
            new_reader=lambda: ReaderProcess(target=bad_reader.serve),
        )
    assert time.monotonic() - pressed[0] < 60  # of the 300 s that a reader may be silent
    assert store.sql("select slide_id from slides").rows() == [("a",)]
    assert store.sql("from failures").is_empty()
