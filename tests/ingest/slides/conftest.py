"""A small slide, and every reader that may read it."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.slide_files import speckle, write_tiff

from ingest.slides import sources
from ingest.slides.tile_reader import Unsupported


@pytest.fixture
def speckled(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A slide of 1,300 x 900 pixels at 0.5 mpp, levels 1 and 4, random blots."""
    path = tmp_path / "speckled.svs"
    name = request.getfixturevalue("reader_name") if "reader_name" in request.fixturenames else ""
    return write_tiff(path, speckle(900, 1300), jpeg="444" if name == "simplejpeg" else "")


@pytest.fixture(params=["imagecodecs", "openslide", "simplejpeg"])
def reader_name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test that asks for it runs through all readers."""
    if request.param == "openslide":

        def refuse(*_: object) -> None:
            raise Unsupported("switched off for the test")

        monkeypatch.setattr(sources, "TiffSource", refuse)
    return str(request.param)
