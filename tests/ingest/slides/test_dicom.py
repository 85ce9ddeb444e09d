"""A DICOM series is one Slide, and what else lies beside it is none."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.dicom_series import write_instance, write_series
from builders.listings import bytes_read, names, paths, refusals, settle
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from featurestore.errors import SlideUnreadable
from ingest.slides import archive
from ingest.slides.files import (
    file_stamp,
    find_slides,
    fingerprint,
    slide_files,
    slide_name,
)
from ingest.slides.reader import open_slide


def test_a_series_is_one_slide_of_its_folders_name(tmp_path: Path) -> None:
    one = write_series(tmp_path / "one", "1.2.1", ("b.dcm", "c.dcm"))
    two = write_series(tmp_path / "two", "1.2.2", ("b.dcm", "c.dcm"))
    assert paths(tmp_path) == names(tmp_path) == ["one", "two"]
    assert fingerprint(one) != fingerprint(two)
    before = fingerprint(one), file_stamp(one)
    write_instance(one / "a.dcm", "1.2.1", seed=7)  # the missing level arrives
    assert paths(tmp_path) == names(tmp_path) == ["one", "two"]
    assert fingerprint(one) != before[0]
    assert file_stamp(one)[0] > before[1][0]
    assert [p.name for p in slide_files(one / "b.dcm")] == ["a.dcm", "b.dcm", "c.dcm"]
    assert fingerprint(one) == fingerprint(one / "c.dcm")
    for path in (one, one / "c.dcm"):
        assert slide_name(path) == archive.read_archive(path).slides[0].slide_id == "one"


def test_a_series_beside_another_is_named_by_its_uid_and_beside_a_file_by_its_folder(
    tmp_path: Path,
) -> None:
    for n in range(3):
        write_instance(tmp_path / f"level{n}.dcm", f"1.2.{n // 2}", seed=n)
    assert names(tmp_path) == ["1.2.0", "1.2.1"]
    with pytest.raises(SlideUnreadable, match=r"2 DICOM series; .*'level0.dcm', 'level2.dcm'"):
        slide_files(tmp_path)
    (tmp_path / "level2.dcm").rename(tmp_path / "x.svs")
    assert names(tmp_path) == sorted([tmp_path.name, "x"])
    assert slide_name(tmp_path / "level1.dcm") == tmp_path.name


def test_folders_of_one_name_leave_it_to_the_uid(tmp_path: Path) -> None:
    for n, place in enumerate(("p1/SM", "p2/SM", "p3/other")):
        write_series(tmp_path / place, f"1.2.{n}")
    assert names(tmp_path) == ["1.2.0", "1.2.1", "other"]
    assert len(archive.read_archive(tmp_path).slides) == 3


def test_a_series_torn_over_folders_is_refused_and_a_copy_is_not(tmp_path: Path) -> None:
    for n in range(2):
        write_instance(tmp_path / f"torn{n}/a.dcm", "1.2.3", seed=n)
        write_series(tmp_path / f"copy{n}", "1.2.4")
    assert names(tmp_path) == ["copy0", "copy1"]
    said = refusals(tmp_path)
    assert said.keys() == {"torn0", "torn1"}
    assert f"series 1.2.3, and {tmp_path / 'torn1'} another" in said["torn0"]
    assert f"series 1.2.3, and {tmp_path / 'torn0'} another" in said["torn1"]


def test_instances_without_a_suffix_are_found_by_what_they_hold(tmp_path: Path) -> None:
    folder = tmp_path / "DICOM"
    for seed, name in enumerate(("IM0001", "1.2.840.17", "I10")):
        write_instance(folder / name, "1.2.9", seed=seed)
    (folder / "VERSION").write_text("no DICOM")
    assert names(tmp_path) == ["DICOM"]
    assert not refusals(tmp_path)
    assert {p.name for p in slide_files(folder / "I10")} == {"IM0001", "1.2.840.17", "I10"}
    marks = set()
    for name in ("IM0001", "1.2.840.17", "I10"):
        write_instance(folder / name, "1.2.9", seed=99)
        marks.add(fingerprint(folder))
    assert len(marks) == 3


CT, DIRECTORY = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.3.10"
FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.dcm": (Path.touch, "is empty"),
    "1.2.840.7": (Path.touch, "is empty"),
    "text.dcm": (lambda p: p.write_text("no picture"), "is no DICOM file"),
    "DICOMDIR": (
        lambda p: write_instance(p, "1.8", sop_class=DIRECTORY, SeriesInstanceUID=None),
        "is no whole slide but Media Storage Directory",
    ),
    "ct.dcm": (lambda p: write_instance(p, "1.9", sop_class=CT, Modality="CT"), "CT Image"),
    "mr.dcm": (lambda p: write_instance(p, "1.10", Modality="MR"), "modality 'MR'"),
    "label.dcm": (lambda p: write_instance(p, "1.11", kind="LABEL"), "only its label"),
    "nameless.dcm": (lambda p: write_instance(p, "1.1", SeriesInstanceUID=None), "(0020,000E)"),
    "implicit.dcm": (
        lambda p: write_instance(p, "1.12", syntax="1.2.840.10008.1.2"),
        "Implicit VR Little Endian, expected Explicit",
    ),
    "deflated.dcm": (
        lambda p: write_instance(p, "1.13", syntax="1.2.840.10008.1.2.1.99"),
        "Deflated Explicit VR Little Endian, expected Explicit",
    ),
    "big.dcm": (
        lambda p: write_instance(p, "1.14", syntax="1.2.840.10008.1.2.2"),
        "Explicit VR Big Endian, expected Explicit",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_foreign_beside_a_series_is_refused_and_no_slide(name: str, tmp_path: Path) -> None:
    make, words = FOREIGN[name]
    write_series(tmp_path / "S-1", "1.2.3")
    mark = fingerprint(tmp_path / "S-1")
    make(tmp_path / "S-1" / name)
    assert names(tmp_path) == ["S-1"]
    said = refusals(tmp_path)
    assert said.keys() == {name}
    assert words in said[name]
    assert fingerprint(tmp_path / "S-1") == mark
    with pytest.raises(SlideUnreadable, match=name):
        open_slide(tmp_path / "S-1" / name)


def test_a_series_of_another_kind_is_refused_once(tmp_path: Path) -> None:
    for n in range(20):
        write_instance(tmp_path / f"ct{n:02}.dcm", "1.9", sop_class=CT, Modality="CT", seed=n)
    said = refusals(tmp_path)
    assert said.keys() == {"ct00.dcm"}
    assert "19 more of its series" in said["ct00.dcm"]
    with pytest.raises(SlideUnreadable, match="without a DICOM slide"):
        slide_files(tmp_path)


def test_parts_of_a_series_split_to_several_files_are_one_slide(tmp_path: Path) -> None:
    for n in range(3):
        about = {"ConcatenationUID": "1.2.77", "InConcatenationNumber": n + 1}
        write_instance(tmp_path / f"part{n}.dcm", "1.2.3", seed=n, **about)
    write_instance(tmp_path / "label.dcm", "1.2.3", kind="LABEL")
    (slide,) = find_slides(tmp_path)[0]
    assert len(slide_files(slide.path)) == 4


@given(
    cut=st.integers(0, 700),
    changes=st.lists(st.tuples(st.integers(132, 699), st.integers(0, 255)), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_no_damage_to_a_header_ends_a_listing(cut: int, changes: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as at:
        root = Path(at).resolve()
        data = bytearray(write_instance(root / "S-1/a.dcm", "1.2.3").read_bytes())
        for place, value in changes:
            data[place % len(data)] = value
        (root / "S-1/a.dcm").write_bytes(data[: len(data) - cut])
        (root / "x.svs").touch()
        slides, refused = find_slides(root)
        assert "x" in {slide.name for slide in slides}
        assert len(slides) + len(refused) == 2
        assert all(slide.name.isprintable() for slide in slides)
        assert all(why.isprintable() for why in refused.values())


def test_a_flat_folder_of_series_is_read_once_and_little_of_each_file(tmp_path: Path) -> None:
    n_series, n_bytes = 40, 300_000
    for n in range(3 * n_series):
        path = tmp_path / f"{n:04}.dcm"
        write_instance(path, f"1.2.{n % n_series}", seed=n, n_bytes=n_bytes)
    find_slides(write_series(tmp_path / "other", "1.3"))  # pydicom's own modules are read now
    settle(tmp_path)
    before = bytes_read()
    listed = find_slides(tmp_path)[0]
    assert len(listed) == n_series + 1
    for slide in listed[:n_series]:
        assert slide_name(slide.path) == slide.name
        assert file_stamp(slide.path)[0] > 3 * n_bytes
    assert bytes_read() - before < 3 * n_series * 10_000


def test_opening_one_series_of_a_flat_folder_reads_little_of_the_others(
    tmp_path: Path, shared: Path
) -> None:
    """openslide alone would read the header of all 60 files for each of the 20 series."""
    alone = tmp_path / "alone"
    shutil.copytree(shared / "data/formats/dicom_full", alone)
    flat = tmp_path / "flat"
    flat.mkdir()
    for n in range(20):
        for name in ("level4.dcm", "label.dcm", "overview.dcm"):
            instance = dcmread(alone / name)
            instance.SeriesInstanceUID = f"1.2.3.{n}"
            instance.save_as(flat / f"{n}-{name}")
    settle(flat)
    total = sum(path.stat().st_size for path in flat.iterdir())
    listed = find_slides(flat)[0]
    before = bytes_read()
    for slide in listed:
        with open_slide(slide.path) as reader:
            assert reader.levels == [(544, 736)]
    assert bytes_read() - before < 1.2 * total
    for slide in listed[:1]:
        with open_slide(slide.path) as reader, open_slide(alone) as other:
            assert (reader.overview()[0] == other.overview()[0]).all()
