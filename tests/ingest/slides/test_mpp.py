"""The scale of a slide comes from who may state it, and nonsense from none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from builders.slide_files import speckle, write_tiff
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import SlideRefused
from ingest.slides.mpp import stated_mpp
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


UNITS = {"µm": 1, "μm": 1, "nm": 1e3, "mm": 1e-3, "cm": 1e-4, "m": 1e-6, "pm": 1e6, "Å": 1e4}
UNITS |= {"in": 1 / 25_400, "thou": 1 / 25.4, "pt": 72 / 25_400}


@given(
    unit=st.sampled_from(sorted(UNITS)),
    mpp=st.floats(0.1, 4),
    quote=st.sampled_from("\"'"),
    prefix=st.sampled_from(["", "ome:"]),
    escape=st.sampled_from([str, lambda u: u.encode("ascii", "xmlcharrefreplace").decode()]),
    resolution=st.floats(0.1, 4),
)
def test_ome_states_its_scale_in_any_unit_of_length_and_wins_over_a_printers_resolution(
    unit: str, mpp: float, quote: str, prefix: str, escape: Callable[[str], str], resolution: float
) -> None:
    said = {"PhysicalSizeX": f"{mpp * UNITS[unit]:.9e}", "PhysicalSizeXUnit": escape(unit)}
    said |= {"PhysicalSizeY": said["PhysicalSizeX"], "PhysicalSizeYUnit": escape(unit)}
    words = " ".join(f"{name}={quote}{value}{quote}" for name, value in said.items())
    about = {"description": f"<{prefix}OME><{prefix}Pixels {words} SizeX='9'/>", "x_per_mm": 3.0}
    found = stated_mpp(
        dict.fromkeys(("openslide.mpp-x", "openslide.mpp-y"), str(resolution)), about
    )
    assert found == pytest.approx((mpp, mpp))


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "parsec"])
def test_a_size_that_is_no_length_is_no_scale(unit: str) -> None:
    words = " ".join(f'PhysicalSize{a}="1" PhysicalSize{a}Unit="{unit}"' for a in "XY")
    about = {"description": f"<OME><Pixels {words}/>", "x_per_mm": 3.0, "y_per_mm": 3.0}
    assert stated_mpp({}, about) is None


@given(mpp=st.floats(0, 10), form=st.sampled_from(["{:r}", "{:.4f}", "{:.3e}", "{:g}"]))
def test_an_aperio_header_is_read_to_its_last_digit(mpp: float, form: str) -> None:
    text = repr(mpp) if form == "{:r}" else form.format(mpp)
    for end in ("", "|Left = 3", "\r\n2x2 -> 1x1 - ;Aperio|MPP = 9"):
        about = {"description": f"Aperio Image Library v11\r\n|AppMag = 20|MPP = {text}{end}"}
        assert stated_mpp({}, about) == (float(text), float(text))
        about = {"description": about["description"].replace(".", ",")}
        assert stated_mpp({}, about) == (float(text), float(text))


@pytest.mark.parametrize("text", ["", ",", "1.0.0", "0.5 0.5", "0x1", "half", "0.5e", "1/2"])
def test_an_aperio_header_whose_scale_is_no_number_states_none(text: str) -> None:
    assert stated_mpp({}, {"description": f"Aperio|MPP = {text}|x", "x_per_mm": 1.0}) is None


@given(
    sizes=st.lists(
        st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4, unique=True
    ),
    data=st.data(),
)
def test_of_several_pictures_in_an_ome_header_the_one_of_this_size_states_the_scale(
    sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    mine = data.draw(st.sampled_from(sizes))
    mpp = {size: 0.25 + number for number, size in enumerate(sizes)}
    pixels = "".join(
        f'<Image><Pixels SizeY="{h}" SizeX="{w}" PhysicalSizeX="{mpp[w, h]}" '
        f'PhysicalSizeY="{mpp[w, h]}"/></Image>'
        for w, h in sizes
    )
    about = {"description": f"<OME>{pixels}</OME>", "size_px": mine}
    assert stated_mpp({}, about) == (mpp[mine], mpp[mine])
    other = about | {"size_px": (10, 10)}  # of none of them: who knows which
    assert stated_mpp({}, other) == ((0.25, 0.25) if len(sizes) == 1 else None)


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_slide_without_mpp_that_openslide_reads_says_so(planes: str, tmp_path: Path) -> None:
    """The handle was once closed twice, and the reason lost in a second error."""
    base = speckle(400, 400)[0]
    pixels = base if planes == "contig" else base.transpose(2, 0, 1).copy()
    path = write_tiff(tmp_path / "s.tif", [pixels], mpp=None, planarconfig=planes)
    with pytest.raises(SlideRefused, match="has no mpp"):
        open_slide(path)
    with (
        open_slide(path, mpp=40.0) as reader,
        pytest.raises(SlideRefused, match="coarser than the 2 asked for"),
    ):
        reader.require_mpp(2.0)


@pytest.mark.parametrize(
    ("file", "manifest", "option", "mpp", "source"),
    [
        (0.5, None, None, 0.5, "file"),
        (0.5, 0.25, None, 0.25, "manifest"),
        (0.5, None, 0.25, 0.5, "file"),
        (0.5, 0.3, 0.25, 0.3, "manifest"),
        (None, None, 0.25, 0.25, "option"),
        (None, 0.3, 0.25, 0.3, "manifest"),
        (0.001, 0.3, None, 0.3, "manifest"),
        (0.0, 0.3, None, 0.3, "manifest"),
        (352.8, None, 0.25, 0.25, "option"),
    ],
)
def test_the_manifest_wins_over_the_file_and_the_option_serves_who_states_none(
    file: float | None,
    manifest: float | None,
    option: float | None,
    mpp: float,
    source: str,
    tmp_path: Path,
) -> None:
    path = write_tiff(tmp_path / "s.tif", speckle(400, 400), mpp=file)
    with open_slide(path, mpp=manifest, fallback_mpp=option) as reader:
        assert (reader.mpp, reader.scale.mpp_source) == (mpp, source)
        assert reader.scale.mpp_file == (file if file == 0.5 else None)


@pytest.mark.parametrize("wrong", [0.0, -0.5, 5000.0, float("nan"), float("inf")])
def test_nonsense_is_refused_whoever_states_it(wrong: float, tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "s.tif", speckle(400, 400), mpp=None)
    with pytest.raises(SlideRefused, match="manifest"):
        open_slide(path, mpp=wrong)
    with pytest.raises(SlideRefused, match="--mpp"):
        open_slide(path, fallback_mpp=wrong)
