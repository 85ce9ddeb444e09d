"""A Slide is found once, under its own name, and known again by what its files hold."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from builders.dicom_series import write_instance, write_series
from builders.ingest_stores import Here, Recorder, plain, take_in, write
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

import cli
from featurestore.errors import ArchiveError, SlideUnreadable
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest.slides import archive
from ingest.slides.config import PlanConfig
from ingest.slides.files import (
    SUFFIXES,
    as_given,
    file_stamp,
    find_slides,
    fingerprint,
    slide_files,
    slide_key,
    slide_name,
)
from ingest.slides.plan import plan_archive
from ingest.slides.reader import open_slide


def names(folder: Path) -> list[str]:
    return [slide.name for slide in find_slides(folder)[0]]


def paths(folder: Path) -> list[str]:
    return [s.path.relative_to(folder).as_posix() for s in find_slides(folder)[0]]


def refusals(folder: Path) -> dict[str, str]:
    """The name of what was refused, to the reason."""
    return {path.rpartition("/")[2]: why for path, why in find_slides(folder)[1].items()}


def settle(folder: Path) -> Path:
    """Let a folder be one that nobody has touched for an hour."""
    os.utime(folder, (time.time() - 3600,) * 2)
    return folder


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


# --- a store is not made among slides


@given(
    where=st.sampled_from([".", "slides", "2019", "a b"]),
    suffix=st.sampled_from(sorted(SUFFIXES)),
    is_upper=st.booleans(),
)
def test_no_store_is_made_where_slides_lie(where: str, suffix: str, is_upper: bool) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "archive"
        (folder / where).mkdir(parents=True)
        (folder / where / f"x{suffix.upper() if is_upper else suffix}").touch()
        rights, before = folder.stat().st_mode, sorted(folder.rglob("*"))
        out = CliRunner().invoke(cli.main, ["init", "--store", str(folder)])
        assert out.exit_code == 1
        assert "expected a folder for the store alone" in out.stderr
        assert f"trephine init --store {folder}-store" in out.stderr
        assert (folder.stat().st_mode, sorted(folder.rglob("*"))) == (rights, before)


def test_a_store_is_made_in_an_empty_folder_and_brought_up_to_date(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").touch()
    for _ in range(2):
        assert CliRunner().invoke(cli.main, ["init", "--store", str(tmp_path)]).exit_code == 0
    (tmp_path / "x.svs").touch()  # a store it is, whatever lies in it
    assert CliRunner().invoke(cli.main, ["init", "--store", str(tmp_path)]).exit_code == 0


# --- names and links


def test_slides_are_found_once_each(tmp_path: Path) -> None:
    for name in ("mirax/Slidedat.ini", "mirax/Data0001.dat", "mirax/inner.tif", "mirax.mrxs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in ("x.SVS", "y.ome.tif", "._x.svs", "notes.txt", "notes", "README.1"):
        (tmp_path / name).touch()
    assert paths(tmp_path) == ["mirax.mrxs", "x.SVS", "y.ome.tif"]
    assert names(tmp_path) == ["mirax", "x", "y.ome"]
    assert not refusals(tmp_path)
    parts = [p.name for p in slide_files(tmp_path / "mirax.mrxs")]
    assert parts == ["mirax.mrxs", "Data0001.dat", "Slidedat.ini"]


def test_a_link_gives_its_own_name_to_a_slide(tmp_path: Path) -> None:
    """As download caches lay them: names are links to blobs, and folders links to snapshots."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/0a1b2c").write_bytes(b"slide")
    (tmp_path / "snap").mkdir()
    (tmp_path / "snap/S-001.tif").symlink_to("../blobs/0a1b2c")
    (tmp_path / "latest").symlink_to("snap")
    assert paths(tmp_path) == ["snap/S-001.tif"]
    assert paths(tmp_path / "latest") == ["S-001.tif"]
    (row,) = archive.read_archive(tmp_path / "latest").slides
    assert (row.slide_id, row.path) == ("S-001", tmp_path / "latest/S-001.tif")
    manifest = tmp_path / "slides.csv"
    manifest.write_text("path\nsnap/../latest/S-001.tif\n")
    (row,) = archive.read_archive(manifest).slides
    assert (row.slide_id, row.path) == ("S-001", tmp_path / "latest/S-001.tif")


def test_two_dots_after_a_link_lead_where_the_system_goes(tmp_path: Path) -> None:
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to(tmp_path / "far/deep")
    for folder in ("far", "near"):
        (tmp_path / folder / "x.svs").write_text(folder)
    for given_path in ("near/link/../x.svs", "near/../far/x.svs", "near/./x.svs"):
        path = tmp_path / given_path
        assert as_given(path).read_text() == path.read_text()


@given(
    n=st.integers(1, 5),
    links=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_every_folder_is_listed_once_however_they_are_linked(
    n: int, links: list[tuple[int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as at:
        root = Path(at).resolve()
        folders = [root, *(root / f"f{i}" for i in range(n))]
        for i, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            (folder / f"s{i}.svs").touch()
        before = paths(root)
        for number, (here, there) in enumerate(links):
            (folders[here % len(folders)] / f"a{number}").symlink_to(folders[there % len(folders)])
        assert paths(root) == before
        assert sorted(names(root)) == sorted(f"s{i}" for i in range(n + 1))
        assert sorted(names(folders[-1]))[-1] == f"s{n}"


# --- what is no file


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder of one slide among names that lead to no file."""
    folder = tmp_path / "odd"
    folder.mkdir()
    write(folder / "good.svs", plain(300), 0.5, 0.5)
    os.mkfifo(folder / "pipe.svs")
    os.mkfifo(folder / "pipe")
    (folder / "device.tif").symlink_to("/dev/zero")
    (folder / "nowhere.ndpi").symlink_to(folder / "gone")
    (folder / "scans").symlink_to("/mnt/gone/scans")
    (folder / "self.dcm").symlink_to("self.dcm")
    (folder / os.fsdecode(b"caf\xe9.svs")).touch()
    (folder / os.fsdecode(b"n\xe4chste")).mkdir()
    here = Path.cwd()
    os.chdir(folder)  # a socket's path may be no longer than 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.scn")
    finally:
        os.chdir(here)
    return folder


ODD = {
    "pipe.svs": "is a pipe",
    "pipe": "is a pipe",
    "socket.scn": "is a socket",
    "device.tif": "is a device",
    "nowhere.ndpi": "is a link to",
    "scans": "is a link to '/mnt/gone/scans', where nothing is",
    "self.dcm": "symbolic links",
    "caf\\xe9.svs": "not UTF-8",
    "n\\xe4chste": "not UTF-8",
}


@pytest.mark.timeout(60)
def test_what_is_no_file_is_refused_with_a_reason_and_nothing_hangs(odd: Path) -> None:
    assert names(odd) == ["good"]
    said = refusals(odd)
    assert said.keys() == ODD.keys()
    for name, words in ODD.items():
        assert words in said[name]
        assert repr(name) in said[name]
    for name in ("pipe.svs", "socket.scn", os.fsdecode(b"caf\xe9.svs")):
        (row,) = archive.read_archive(odd / name).slides
        assert row.refused == said[row.slide_id.rpartition("/")[2]]
    for name in ("pipe.svs", "socket.scn", "device.tif", "nowhere.ndpi", "self.dcm"):
        for touch in (open_slide, fingerprint, slide_files, file_stamp):
            with pytest.raises(SlideUnreadable, match=name):
                touch(odd / name)


@pytest.mark.timeout(60)
def test_what_is_no_file_becomes_one_failure_each(odd: Path, tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    listed = archive.read_archive(odd)
    planned = plan_archive(store, listed, Tiling(), PlanConfig(measure_s=0), new_reader=Here)
    assert planned.new == 1
    assert len(planned.refused) == len(ODD)
    for attempt in (1, 2):
        done = take_in(store, listed.slides, Recorder())
        assert done.failures == planned.refused
        found = store.sql("select item, stage, reason, attempts from failures").rows()
        assert len(found) == len(ODD)
        assert {row[1] for row in found} == {"archive"}
        assert {row[3] for row in found} == {attempt}
    assert store.sql("select slide_id from slides").rows() == [("good",)]


def test_a_folder_that_may_not_be_read_is_refused() -> None:
    with tempfile.TemporaryDirectory() as at:
        root = Path(at).resolve()
        (root / "shut").mkdir()
        (root / "x.svs").touch()
        root.chmod(0o755)
        (root / "shut").chmod(0)
        is_root = os.geteuid() == 0
        try:
            if is_root:  # whom no mode stops
                os.seteuid(65534)
            assert names(root) == ["x"]
            assert refusals(root) == {"shut": "'shut' cannot be listed: Permission denied."}
            for path in (root / "shut", root / "shut/x.svs", root / "shut/a.dcm"):
                with pytest.raises(SlideUnreadable, match="Permission denied"):
                    fingerprint(path)
                assert slide_name(path) == path.stem
            with pytest.raises(ArchiveError, match="Permission denied"):
                archive.read_archive(root / "shut/x.svs")
        finally:
            if is_root:
                os.seteuid(0)
            (root / "shut").chmod(0o755)


# --- DICOM


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


# --- identity


def test_fingerprints_of_single_files_are_those_of_older_stores(tmp_path: Path) -> None:
    (tmp_path / "small.svs").write_bytes(bytes(range(256)) * 1000)
    (tmp_path / "large.ndpi").write_bytes(b"".join(i.to_bytes(4, "little") for i in range(2**21)))
    assert fingerprint(tmp_path / "small.svs") == "413a6e4e12c30141251dbe23c693aa94"
    assert fingerprint(tmp_path / "large.ndpi") == "04ebebf37fc16bab9034c8281f53da79"


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("dicom_full", "3d0101cf5496784572ae0e9a296ebb22"),
        ("plain.mrxs", "46014de262d490ae86cf2cc1ff1c78bf"),
        ("two.scn", "ef90f434654707c421299cebc5b04c5d"),
        ("ph.tiff", "77c671e6077d931abfa66f1ce9c43d92"),
    ],
)
def test_fingerprints_of_real_formats_are_those_of_older_stores(
    name: str, mark: str, shared: Path
) -> None:
    assert fingerprint(shared / "data/formats" / name) == mark


def test_vms_slides_of_the_same_text_are_two(shared: Path) -> None:
    a, b = (shared / f"data/formats/vms_{x}/slide.vms" for x in "ab")
    assert a.read_bytes() == b.read_bytes()
    assert fingerprint(a) != fingerprint(b)
    assert len(slide_files(a)) == 5


@given(
    key=st.sampled_from(["ImageFile", "ImageFile(1,0)", "MapFile", "MacroImage", "Optimisation"]),
    name=st.sampled_from(["a_0.jpg", "a b.jpg", "ä.jpg", "a.opt", "noch eins.ngr"]),
    end=st.sampled_from(["\n", "\r\n"]),
    suffix=st.sampled_from([".vms", ".vmu", ".VMS"]),
)
@settings(max_examples=40, deadline=None)
def test_every_file_that_a_vms_names_counts(key: str, name: str, end: str, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as at:
        slide = Path(at, f"slide{suffix}")
        lines = ("[Virtual Microscope Specimen]", "NoLayers=1", f"{key}={name}", "Other=../x.jpg")
        slide.write_bytes(end.join((*lines, f"Long={'x' * 9000}", "Nul=\0", "")).encode())
        marks = {fingerprint(slide)}
        for content in ("one", "two"):
            Path(at, name).write_text(content)
            marks.add(fingerprint(slide))
        assert len(marks) == 3
        Path(at, "stray.jpg").touch()
        assert fingerprint(slide) in marks


def test_a_mirax_slide_without_its_folder_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "x.mrxs").touch()
    for touch in (open_slide, fingerprint):
        with pytest.raises(SlideUnreadable, match=r"its folder .x. is not there.*Slidedat\.ini"):
            touch(tmp_path / "x.mrxs")


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


# --- cost


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


def test_listing_opens_no_slide(tmp_path: Path) -> None:
    for n in range(1000):
        (tmp_path / f"S-{n:04}.svs").touch()
    before = bytes_read()
    assert len(find_slides(tmp_path)[0]) == 1000
    assert bytes_read() - before < 1000


@pytest.mark.proof
def test_a_folder_of_100_000_slides_is_listed_in_ten_seconds(tmp_path: Path) -> None:
    for n in range(100_000):
        (tmp_path / f"S-{n:06}.svs").touch()
    began = time.process_time()
    assert len(archive.read_archive(tmp_path).slides) == 100_000
    assert time.process_time() - began < 10
