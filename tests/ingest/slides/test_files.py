"""A Slide is found once, under its own name, and known again by what its files hold."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import pytest
from builders.ingest_stores import Here, Recorder, plain, take_in, write
from builders.listings import bytes_read, names, paths, refusals
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

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
