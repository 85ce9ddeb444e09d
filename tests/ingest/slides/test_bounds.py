"""What a file may take: none hangs, kills or fills the memory of those who look at it."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builders.dicom_series import write_instance, write_series
from builders.longer import longer
from builders.slide_files import write_svs
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import SlideRefused, SlideUnreadable
from ingest.slides.dicom import MOST_READ, groups
from ingest.slides.files import file_stamp, find_slides, fingerprint
from ingest.slides.reader import open_slide
from ingest.slides.tiff import MOST_PICTURES, read_index

# -- files that are none, as parts of a slide ------------------------------------------------------


def mirax(at: Path, name: str) -> Path:
    (at / "x").mkdir()
    (at / "x.mrxs").write_bytes(b"\xff\xd8")
    (at / "x" / "Slidedat.ini").write_text(f"[DATAFILE]\nFILE_0 = {name}\n")
    return at / "x.mrxs"


def hamamatsu(at: Path, name: str) -> Path:
    (at / "x.vms").write_text(f"[Virtual Microscope Specimen]\nImageFile={name}\n")
    return at / "x.vms"


ODD: dict[str, Callable[[Path], None]] = {
    "is a pipe": os.mkfifo,
    "is a device": lambda path: path.symlink_to("/dev/zero"),
    "where nothing is": lambda path: path.symlink_to("gone"),
}


@pytest.mark.timeout(60)
@settings(max_examples=20, deadline=None)
@given(
    make=st.sampled_from([mirax, hamamatsu]),
    odd=st.sampled_from([*ODD, "lies elsewhere"]),
    name=st.sampled_from(["Data0000.dat", "Index.dat", "a b.jpg"]),
)
def test_a_slide_with_a_part_that_is_no_file_is_refused_by_all_who_look(
    make: Callable[[Path, str], Path], odd: str, name: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        part = name
        if odd == "lies elsewhere":
            (at / "secret").touch()
            part = f"../{at.name}/secret" if make is hamamatsu else "../secret"
        path = make(at, part)
        if odd in ODD:
            ODD[odd]((at if make is hamamatsu else at / "x") / name)
        for look in (fingerprint, file_stamp, open_slide):
            with pytest.raises(SlideUnreadable, match=odd) as told:
                look(path)
            assert repr(part) in str(told.value)


@pytest.mark.timeout(60)
def test_a_series_beside_pipes_and_devices_is_read_without_them(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "S", "1.2.3")
    for number, (name, make) in enumerate(ODD.items()):
        make(folder / f"odd{number}.txt")  # no name of DICOM: openslide would open it all the same
        make(folder / f"odd{number}.dcm")
        assert any(name in why for why in find_slides(folder)[1].values())
    assert [one.name for one in find_slides(folder)[0]] == ["S"]
    with pytest.raises(SlideUnreadable, match="cannot be decoded"):  # its pixels are noise
        open_slide(folder)


def test_a_slide_of_several_files_under_another_name_is_not_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    path = hamamatsu(tmp_path, "pipe").rename(tmp_path / "x.svs")
    with pytest.raises(SlideUnreadable, match=r"x\.svs"):
        open_slide(path)
    series = write_instance(tmp_path / "y.dcm", "1.2.3").rename(tmp_path / "y.svs")
    with pytest.raises(SlideUnreadable, match=r"expected a name that ends in \.dcm"):
        open_slide(series)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("vr", [b"OB", b"SQ", longer(b"UN")])
def test_a_dicom_header_as_long_as_the_disk_is_read_for_a_mebibyte(
    tmp_path: Path, vr: bytes
) -> None:
    file = write_instance(tmp_path / "long.dcm", "1.2.3")
    data = file.read_bytes()
    start = data.index(struct.pack("<HH", 8, 8))  # the first element behind the meta header
    endless = struct.pack("<HH", 8, 1) + vr + b"\0\0" + b"\xff" * 4
    file.write_bytes(data[:start] + endless)
    os.truncate(file, 30 * 2**30)
    before = int(Path("/proc/self/io").read_text().split()[1])
    assert groups(tmp_path)["long.dcm"].reason == "has a damaged DICOM header"
    assert int(Path("/proc/self/io").read_text().split()[1]) - before < 2 * MOST_READ


@pytest.mark.parametrize("name", ["a\nb.svs", "a\x1b[2Jb.svs", "tab\tb.svs"])
def test_names_with_control_characters_are_refused_and_never_shown(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).touch()
    (tmp_path / "good.svs").touch()
    slides, refused = find_slides(tmp_path)
    assert [one.name for one in slides] == ["good"]
    ((path, why),) = refused.items()
    assert "control characters" in why
    assert (why + path).isprintable()


# -- TIFF indices ----------------------------------------------------------------------------------


def tiff(*directories: list[tuple[int, int, int, int]], tail: bytes = b"", loop: int = 1) -> bytes:
    """A little-endian TIFF; each directory a list of (tag, type, count, value)."""
    out, place = bytearray(b"II*\0" + struct.pack("<I", 8)), 8
    chain = [*directories] * loop
    for number, entries in enumerate(chain):
        place += 2 + 12 * len(entries) + 4
        out += struct.pack("<H", len(entries))
        out += b"".join(struct.pack("<HHII", *entry) for entry in entries)
        out += struct.pack("<I", place if number + 1 < len(chain) else 0)
    return bytes(out) + tail


SIZE = [(256, 4, 1, 10), (257, 4, 1, 10)]


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiff(SIZE, loop=MOST_PICTURES + 1), "over 1,000 pictures"),
        (tiff([*SIZE, (330, 4, 2000, 60)], tail=np.arange(2000, dtype="<u4").tobytes()), "."),
        (tiff([(324, 4, 2**24, 8), (325, 4, 2**24, 8)], loop=3), "larger than any slide"),
        (tiff([(256, 4, 1, 2**30), (257, 4, 1, 10)]), "damaged"),
        (
            tiff(
                [(324, 4, 500, 38), (325, 4, 500, 2038)],
                tail=np.arange(500, dtype="<u4").tobytes() + np.full(500, 3000, "<u4").tobytes(),
            ),
            "overlap",
        ),
    ],
    ids=["chain", "children", "values", "size", "overlap"],
)
def test_an_index_that_would_fill_the_memory_is_refused(
    tmp_path: Path, data: bytes, said: str
) -> None:
    path = tmp_path / "x.svs"
    path.write_bytes(data)
    os.truncate(path, max(len(data), 2**27 if said.startswith("larger") else 4000))
    with pytest.raises(OSError, match=said):
        read_index(path)


def test_children_that_are_their_own_parents_end(tmp_path: Path) -> None:
    path = tmp_path / "x.svs"
    path.write_bytes(tiff([*SIZE, (330, 4, 1, 8)]))
    (page,) = read_index(path)
    assert page.children == []


def test_one_piece_may_serve_many_places(tmp_path: Path) -> None:
    path = tmp_path / "x.svs"
    tail = np.full(500, 38, "<u4").tobytes() + np.full(500, 3000, "<u4").tobytes()
    path.write_bytes(tiff([(324, 4, 500, 38), (325, 4, 500, 2038)], tail=tail))
    (page,) = read_index(path)
    assert len(page.tags[324]) == 500


def test_an_overview_larger_than_any_glass_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.svs"
    write_svs(path, np.full((400, 400, 3), 240, np.uint8), mpp=0.5)
    with open_slide(path, mpp=2.0) as reader:
        reader.size_px0 = (2**22, 2**22)
        with pytest.raises(SlideRefused, match="larger than any glass"):
            reader.overview()
