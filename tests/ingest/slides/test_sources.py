"""What is read is right: levels, colours, glass; the rest is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders.slide_files import read_all, speckle, write_tiff
from PIL import Image

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides.reader import open_slide


def test_ome_pyramid_in_sub_ifds_is_read_at_its_own_scale(tmp_path: Path) -> None:
    xml = (
        '<?xml version="1.0"?><OME><Image><Pixels SizeC="3" PhysicalSizeX="500" '
        'PhysicalSizeY="500" PhysicalSizeXUnit="nm" PhysicalSizeYUnit="nm"/></Image></OME>'
    )
    levels = speckle(800, 1200)
    path = write_tiff(tmp_path / "s.ome.tif", levels, description=xml, subifds=True)
    with open_slide(path) as reader:
        assert reader.mpp == 0.5
        assert reader.levels == [(1200, 800), (300, 200)]
        tile = read_all(reader, np.array([[240, 160]]), 32, 2.0)[0]
    assert np.abs(tile - levels[1][40:72, 60:92].astype(int)).max() <= 1


def test_alpha_is_laid_on_white(tmp_path: Path) -> None:
    rgba = np.full((512, 512, 4), 100, np.uint8)
    rgba[..., 3] = 0
    rgba[:256, :, 3] = 255
    path = write_tiff(tmp_path / "a.tif", [rgba], extrasamples=["UNASSALPHA"])
    with open_slide(path) as reader:
        whole = read_all(reader, np.zeros((1, 2)), 256, 1.0)[0]
    assert (whole[:127] == 100).all()
    assert (whole[129:] == 255).all()


@pytest.mark.parametrize("kind", ["16 bit", "grey"])
def test_other_than_8_bit_colour_is_refused(kind: str, tmp_path: Path) -> None:
    rgb = speckle(400, 400)[0]
    if kind == "grey":
        path = write_tiff(tmp_path / "g.tif", [rgb[..., 0]], photometric="minisblack")
    else:
        path = write_tiff(tmp_path / "d.tif", [rgb.astype(np.uint16) * 257])
    with pytest.raises(SlideRefused, match="expected 8-bit colour"):
        open_slide(path)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_slide_is_refused(orientation: int, tmp_path: Path) -> None:
    path = write_tiff(
        tmp_path / "a.svs", speckle(600, 800), extratags=[(274, 3, 1, orientation, True)]
    )
    with pytest.raises(SlideRefused, match=rf"turned .*{orientation}\)"):
        open_slide(path)


def test_a_truncated_slide_is_unreadable(tmp_path: Path, speckled: Path) -> None:
    data = speckled.read_bytes()
    for share in (0.02, 0.5, 0.9):
        cut = tmp_path / f"cut{share}.svs"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(SlideUnreadable) as caught:
            read_all(open_slide(cut), np.zeros((1, 2)), 64, 2.0)
        assert "cut" in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_slide_is_unreadable_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.svs").touch()
    (tmp_path / "text.svs").write_text("not a slide" * 100)
    Image.new("RGB", (300, 300)).save(tmp_path / "photo.tif", format="jpeg")
    for name in ("empty.svs", "text.svs", "photo.tif", "nowhere.svs"):
        with pytest.raises(SlideUnreadable) as caught:
            open_slide(tmp_path / name)
        assert name in str(caught.value)
        assert str(caught.value).endswith(".")
        assert len(str(caught.value).splitlines()) == 1
