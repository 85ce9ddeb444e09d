"""The scale of a slide comes from who may state it, and nonsense from none."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.slide_files import speckle, write_tiff

from featurestore.errors import SlideRefused
from ingest.slides.reader import open_slide


@pytest.mark.parametrize(
    ("mpp", "words"),
    [(None, "has no mpp. Add a column mpp"), (0.01, "0.01"), (352.8, "352.8")],
)
def test_missing_and_nonsense_mpp_are_refused(
    mpp: float | None, words: str, tmp_path: Path
) -> None:
    path = write_tiff(tmp_path / "s.tif", speckle(400, 400), mpp=mpp)
    with pytest.raises(SlideRefused) as caught:
        open_slide(path)
    assert words in str(caught.value)
    assert "Add a column mpp to the manifest, or pass --mpp." in str(caught.value)
    with open_slide(path, mpp=0.5) as reader:
        assert reader.mpp == 0.5


def test_tiff_resolution_counts_only_with_a_unit(tmp_path: Path) -> None:
    levels = speckle(400, 400)
    cm = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with open_slide(write_tiff(tmp_path / "cm.tif", levels, mpp=None, **cm)) as reader:
        assert reader.mpp == pytest.approx(0.5)
    none = {"resolution": (20_000, 20_000), "resolutionunit": "NONE"}
    with pytest.raises(SlideRefused, match="no mpp"):
        open_slide(write_tiff(tmp_path / "none.tif", levels, mpp=None, **none))
    uneven = {"resolution": (20_000, 22_000), "resolutionunit": "CENTIMETER"}
    with pytest.raises(SlideRefused, match="across"):
        open_slide(write_tiff(tmp_path / "uneven.tif", levels, mpp=None, **uneven))
