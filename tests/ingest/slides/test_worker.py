"""A slide is read in a process of its own, and fails alone."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from builders import bad_reader
from builders.ingest_stores import Recorder, plain, slide, take_in, write

from featurestore import FeatureStore
from featurestore.bounded_process import Bounds
from featurestore.errors import SlideUnreadable
from featurestore.types import Tiling
from ingest.slides.config import IngestConfig
from ingest.slides.preview import draw_previews
from ingest.slides.worker import Done, ReaderProcess, Request


def test_a_reader_keeps_to_one_thread_and_leaves_the_encoder_its_own(tmp_path: Path) -> None:
    before, store = dict(os.environ), FeatureStore.create(tmp_path / "store")
    reader = ReaderProcess(target=bad_reader.tell_threads)
    request = Request(store=store, slide=slide(tmp_path / "a.svs"), tiling=Tiling(), encoder_id="e")
    (said,) = reader.read(request)
    reader.close()
    assert isinstance(said, Done)
    assert said.stage == "1 {'1'} e"
    assert dict(os.environ) == before


@pytest.mark.proof
def test_a_slide_that_kills_or_hangs_its_reader_fails_alone(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.svs" for name in "abcd"]
    for i, path in enumerate(paths):
        write(path, plain(1000, 60 + 30 * i), mpp=2.0, stated=2.0)
    store = FeatureStore.create(tmp_path / "store")
    done = take_in(
        store,
        [slide(path) for path in paths],
        Recorder(),
        Tiling(),
        IngestConfig(workers=1),
        new_reader=lambda: ReaderProcess(Bounds(silence_s=15.0), bad_reader.serve),
    )
    assert done.failures.keys() == {"b", "c"}
    assert "killed its reader (exit code -9)" in done.failures["b"]
    assert "said nothing for 15 s" in done.failures["c"]
    ok = store.sql("select slide_id from slide_overview where n_tiles = 16 order by 1")
    assert ok["slide_id"].to_list() == ["a", "d"]


@pytest.mark.timeout(120)
def test_a_reader_out_of_time_or_memory_fails_its_slide_alone_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    store = FeatureStore.create(tmp_path / "store")
    for limits, said in (
        (Bounds(cpu_s=0.001), "took its reader over 0.001 s of processor time"),
        (Bounds(memory_bytes=2**20), ""),
    ):
        write(tmp_path / "a.svs", plain(3000), mpp=2.0, stated=0.5)
        reader = ReaderProcess(limits)
        request = Request(
            store=store, slide=slide(tmp_path / "a.svs"), tiling=Tiling(), encoder_id="e" * 16
        )
        *_, last = reader.read(request)
        reader.close()
        assert isinstance(last, Done)
        assert isinstance(last.error, SlideUnreadable)
        assert said in str(last.error)
        assert "a.svs" in str(last.error)
        assert list((tmp_path / "tmp").iterdir()) == []
    a = slide(tmp_path / "a.svs", slide_id="../../x")  # a name, and none of a file
    assert take_in(store, [a], Recorder()).embedded == 1
    draw_previews(store, {a.slide.path}, Tiling(), tmp_path / "in" / "pictures")
    (picture,) = tmp_path.glob("**/*.png")
    assert picture.parent == tmp_path / "in" / "pictures"
