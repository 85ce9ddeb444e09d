"""What is read is right: levels, colours, glass; the rest is refused with a reason."""

from __future__ import annotations

import math
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import pydicom
import pytest
import tifffile
from builders.slide_files import read_all, speckle, stained, write_tiff
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from featurestore.errors import SlideRefused, SlideUnreadable
from featurestore.types import Tiling
from ingest.slides.files import slide_files
from ingest.slides.reader import open_slide
from ingest.slides.tiling import find_tiles

SCALE = {
    "photometric": "rgb",
    "metadata": None,
    "resolution": (20_000, 20_000),
    "resolutionunit": "CENTIMETER",
}


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


# --- levels

BASE = stained(512, 640)


@pytest.mark.parametrize("tile", [(64, 64), None])
def test_a_macro_that_comes_first_is_refused_and_the_other_picture_named(
    tile: tuple[int, int] | None, tmp_path: Path
) -> None:
    path = tmp_path / "macro.tif"
    with tifffile.TiffWriter(path) as out:
        out.write(stained(128, 300), tile=tile, **SCALE)
        out.write(BASE, tile=(64, 64), **SCALE)
    with pytest.raises(SlideRefused, match=r"macro: a second one is there .*640 x 512 px"):
        open_slide(path, mpp=0.5)


# --- glass


@pytest.mark.parametrize(
    ("name", "tissue_mm2", "tiles"),
    [("plain.mrxs", 0.70, 9), ("photos.mrxs", 0.71, 9), ("lilac.mrxs", 0.70, 7),
     ("two.scn", 0.66, 9), ("dicom_full", 0.706, 5), ("ph.tiff", 0.714, 5)],
)  # fmt: skip
def test_no_bare_glass_is_tissue(name: str, tissue_mm2: float, tiles: int, shared: Path) -> None:
    with open_slide(shared / "data/formats" / name) as reader:
        found = find_tiles(reader, Tiling())
    assert found.tissue_mm2 == pytest.approx(tissue_mm2, rel=0.05)
    assert abs(len(found.coords) - tiles) <= 1


@pytest.mark.parametrize(
    "name",
    ["formats/plain.mrxs", "formats/photos.mrxs", "formats/lilac.mrxs", "formats/two.scn",
     "formats/dicom_full", "formats/ph.tiff", "formats/vms_a/slide.vms",
     "slides/CMU-1-Small-Region.svs", "slides/cmu_region_jpeg2000.svs"],
)  # fmt: skip
def test_tiles_are_level_0_shrunk_by_area_within_3_grey_levels(name: str, shared: Path) -> None:
    path, apart = shared / "data" / name, []
    with open_slide(path) as reader, openslide.OpenSlide(str(slide_files(path)[0])) as slide:
        pitch = 2.0 / reader.mpp
        coords = find_tiles(reader, Tiling(min_tissue=0.3)).coords
        tiles = read_all(reader, coords, 224, 2.0)
        for corner, tile in zip(np.rint(coords / pitch) * pitch, tiles, strict=True):
            first = np.floor(corner).astype(int)
            frame = (*(corner - first), *(corner - first + 224 * pitch))
            plain = slide.read_region(tuple(first.tolist()), 0, (math.ceil(224 * pitch) + 1,) * 2)
            if plain.getchannel("A").getextrema()[0] == 255:
                box = plain.convert("RGB").resize((224, 224), Image.Resampling.BOX, box=frame)
                apart.append(tile.astype(int) - np.asarray(box, int))
    blocks = np.stack(apart).reshape(-1, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    assert np.abs(blocks).mean(axis=(1, 2, 3)).max() < 3
    assert np.abs(blocks.mean(axis=(1, 2, 3))).max() < 1


# --- colours


SYNTAX = {"raw": "1", "jpeg2000": "4.90", "sparse": "4.50", "jpegls": "4.80"}


def written_again(source: Path, folder: Path, kind: str) -> Path:
    """Two levels of a DICOM series, in another coding or without every third tile."""
    folder.mkdir()
    for file in (source / "level2.dcm", source / "level4.dcm"):
        made = pydicom.dcmread(file)
        kept = list(range(int(made.NumberOfFrames)))
        tiles = list(generate_frames(made.PixelData, number_of_frames=len(kept)))
        pixels = [imagecodecs.jpeg_decode(tile) for tile in tiles]
        made.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.{SYNTAX[kind]}"
        if kind == "sparse":
            kept = [i for i in kept if i % 3]
            made.DimensionOrganizationType, made.NumberOfFrames = "TILED_SPARSE", len(kept)
            made.PerFrameFunctionalGroupsSequence = pydicom.Sequence()
            across = -(-int(made.TotalPixelMatrixColumns) // int(made.Columns))
            for i in kept:
                place, about = pydicom.Dataset(), pydicom.Dataset()
                place.ColumnPositionInTotalImagePixelMatrix = 1 + i % across * int(made.Columns)
                place.RowPositionInTotalImagePixelMatrix = 1 + i // across * int(made.Rows)
                about.PlanePositionSlideSequence = pydicom.Sequence([place])
                made.PerFrameFunctionalGroupsSequence.append(about)
        else:
            made.PhotometricInterpretation = "YBR_RCT" if kind == "jpeg2000" else "RGB"
        if kind == "jpeg2000":
            how = {"level": 0, "codecformat": "j2k", "mct": True, "reversible": True}
            tiles = [imagecodecs.jpeg2k_encode(one, **how) for one in pixels]
        elif kind == "jpegls":
            tiles = [imagecodecs.jpegls_encode(one) for one in pixels]
        made.PixelData = encapsulate([tiles[i] for i in kept])
        if kind == "raw":
            made.PixelData = b"".join(one.tobytes() for one in pixels)
        made["PixelData"].is_undefined_length = kind != "raw"
        made.save_as(folder / file.name)
    return folder


@pytest.mark.parametrize("kind", ["raw", "jpeg2000", "sparse"])
def test_dicom_in_another_coding_shows_the_same(kind: str, shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "formats" / "dicom_full"
    with (
        open_slide(source / "level2.dcm") as whole,
        open_slide(written_again(source, tmp_path / kind, kind)) as again,
    ):
        assert again.levels == whole.levels[1:]
        corners = np.array([[x, y] for y in range(0, 1280, 256) for x in range(0, 1024, 256)])
        ours = read_all(again, corners, 256, again.mpp)
        theirs = read_all(whole, 2 * corners, 256, again.mpp)
    there = np.ones(len(corners), bool)
    if kind == "sparse":
        there = (corners[:, 0] // 256 + corners[:, 1] // 256 * -(-1088 // 256)) % 3 > 0
    assert np.abs(ours[there].astype(int) - theirs[there]).mean() < 1.5
    bare = ours[~there]
    assert (bare == bare[:1, :1, :1]).all()  # glass of one colour
    assert bare.min(initial=255) > 200


def test_a_coding_that_no_reader_knows_is_refused_by_the_files_own_name(
    shared: Path, tmp_path: Path
) -> None:
    source = shared / "data" / "formats" / "dicom_full"
    folder = written_again(source, tmp_path / "s", "jpegls")
    with pytest.raises(SlideUnreadable, match=r"Reading level\d.dcm: Unsupported transfer syntax"):
        open_slide(folder)


def test_a_fourth_channel_is_alpha_only_where_it_is_declared(tmp_path: Path) -> None:
    rgba = np.dstack([BASE, np.full(BASE.shape[:2], 255, np.uint8)])
    path = write_tiff(tmp_path / "a.tif", [rgba], extrasamples=["UNSPECIFIED"])
    with pytest.raises(SlideRefused, match=r"fourth channel .* not declare"):
        open_slide(path)


def test_colours_multiplied_by_alpha_are_laid_on_white(tmp_path: Path) -> None:
    alpha = np.full((512, 512, 1), 128, np.uint8)
    rgba = np.concatenate([np.full((512, 512, 3), 50, np.uint8), alpha], axis=2)
    for name, kind, colour in (("a", "ASSOCALPHA", 177), ("u", "UNASSALPHA", 152)):
        for planes in ("contig", "separate"):
            pixels = rgba if planes == "contig" else np.ascontiguousarray(rgba.transpose(2, 0, 1))
            path = write_tiff(
                tmp_path / f"{name}.tif", [pixels], extrasamples=[kind], planarconfig=planes
            )
            with open_slide(path) as reader:
                tile = read_all(reader, np.zeros((1, 2)), 256, 1.0)[0]
            assert np.abs(tile.astype(int) - colour).max() <= 1


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


def test_a_mirax_slide_without_its_folder_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "S1.mrxs").write_bytes(b"thumbnail")
    with pytest.raises(SlideUnreadable, match=r"'S1' is not there\. .* Slidedat\.ini"):
        open_slide(tmp_path / "S1.mrxs")
