"""A Slide is found once, under its own name, and known again by what its files hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ingest.slides.files import find_slides, fingerprint, slide_files, slide_key


def test_fingerprint_follows_content_and_not_the_name(tmp_path: Path) -> None:
    slide = tmp_path / "slide.svs"
    slide.write_bytes(os.urandom(300_000))
    name = fingerprint(slide)
    moved = tmp_path / "elsewhere.svs"
    shutil.copy(slide, moved)
    assert fingerprint(moved) == name
    with moved.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))
    assert fingerprint(moved) != name
    assert len(name) == 32
    assert len(slide_key(name, 0.5)) == 16
    assert slide_key(name, 0.5) != slide_key(name, 0.25)


def test_fingerprint_of_a_large_file_reads_little_of_it(tmp_path: Path) -> None:
    large = tmp_path / "large.svs"
    with large.open("wb") as stream:
        stream.truncate(2 * 2**30)
    name = fingerprint(large)
    for place in (10, 2**30 * 2 - 10, 2**20 + 100):
        with large.open("r+b") as stream:
            stream.seek(place)
            stream.write(b"x")
        name, before = fingerprint(large), name
        assert name != before


def test_slides_are_found_once_each(tmp_path: Path, shared: Path) -> None:
    real = shared / "data/slides"
    series = tmp_path / "series"
    series.mkdir()
    for name in ("b.dcm", "a.dcm", "c.dcm"):
        shutil.copy(real / "camelyon16_overview_jpeg.dcm", series / name)
    other = (series / "a.dcm").read_bytes()
    at = other.rfind(b"\x20\x00\x0e\x00UI") + 12
    (series / "other.dcm").write_bytes(other[:at] + b"9" + other[at + 1 :])
    (tmp_path / "mirax").mkdir()
    (tmp_path / "mirax.mrxs").touch()
    (tmp_path / "mirax/Data0001.dat").touch()
    (tmp_path / "mirax/inner.tif").touch()
    for name in ("x.SVS", "._x.svs", "notes.txt"):
        (tmp_path / name).touch()
    found = [p.relative_to(tmp_path).as_posix() for p in find_slides(tmp_path)]
    assert found == ["mirax.mrxs", "series/a.dcm", "series/other.dcm", "x.SVS"]
    assert [p.name for p in slide_files(series / "b.dcm")] == ["a.dcm", "b.dcm", "c.dcm"]
    assert len(slide_files(tmp_path / "mirax.mrxs")) == 3
    assert fingerprint(series / "a.dcm") == fingerprint(series / "c.dcm")
