"""Full and read-only disks, broken pipes and Ctrl-C: one sentence, and what was there stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from builders.command_line import cli_store, run

import cli
from featurestore.errors import (
    DISK,
    FileUnwritable,
    StoreUnwritable,
    disk_fault,
    write_beside,
    writing,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a Cohort `all` and a Run."""
    root = cli_store(tmp_path_factory.mktemp("disks") / "store")
    run("train", "all", "--bag-size", 8, "--steps", 5, "--resamples", 2, "--store", root)
    return root


def started(*arguments: str | Path, out: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command line as its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", *map(str, arguments)],
        cwd=Path(cli.__file__).parent,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
    )


def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", *options, str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def full(store: Path, tmp_path: Path) -> Iterator[Path]:
    """The store on a disk with no room left."""
    for disk in mounted(tmp_path / "full", "-t", "tmpfs", "-o", "size=64m", "tmpfs"):
        shutil.copytree(store, disk / "store")
        (disk / "older.html").write_text("older")
        with (disk / "filler").open("wb", buffering=0) as filler:
            for block in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        filler.write(bytes(block))
        yield disk


@pytest.fixture
def read_only(store: Path, tmp_path: Path) -> Iterator[Path]:
    """The store on a disk that is read-only."""
    disk = tmp_path / "disk"
    shutil.copytree(store, disk / "store")
    (disk / "older.html").write_text("older")
    for folder in mounted(tmp_path / "mounted", "--bind", str(disk)):
        remount = ["mount", "-o", "remount,ro,bind", str(folder)]
        subprocess.run(remount, check=True)
        yield folder


WRITERS = {
    "train": ("train", "all", "--bag-size", "8", "--steps", "6", "--resamples", "2"),
    "report": ("report", "latest", "-o", "{disk}/older.html"),
    "review export": ("review", "export", "{disk}/todo.csv"),
    "cohort create": ("cohort", "create", "more", "--where", "true"),
    **{
        f"export {tool}": ("export", tool, "all", "-o", "{disk}/out")
        for tool in ("trident", "clam", "stamp", "slide2vec", "parquet")
    },
}


@pytest.mark.proof
@pytest.mark.parametrize("disk", ["full", "read_only"])
def test_a_disk_that_takes_nothing_is_told_by_every_writer(
    disk: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(disk)
    word = {"full": "No space left", "read_only": "Read-only file system"}[disk]
    for arguments in WRITERS.values():
        words = [one.format(disk=folder) for one in arguments]
        out = run(*words, "--store", folder / "store", code=1)
        assert word in out.stderr, out.stderr
        assert out.stderr.startswith("trephine: ")
        assert len(out.stderr.splitlines()) == 1, out.stderr
    assert (folder / "older.html").read_text() == "older"
    assert {one.name for one in folder.iterdir()} <= {"store", "older.html", "filler", "out"}
    assert not [one for one in (folder / "out").rglob("*") if one.is_file()]  # nor half of one
    for reader in (("sql", "select 1"), ("cohort", "list"), ("runs",), ("status",)):
        run(*reader, "--store", folder / "store")


@pytest.mark.parametrize("way", ["a file", "a file/x", "/proc/nothing", "n" * 300, "a loop/x"])
def test_a_folder_that_cannot_be_made_is_told(way: str, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("kept")
    (tmp_path / "a loop").symlink_to(tmp_path / "a loop")
    said = run("demo", tmp_path / way, code=1).stderr.splitlines()[-1]
    assert said.startswith("trephine: "), said
    code = 2 if way == "a file" else 1
    assert run("init", "--store", tmp_path / way, code=code).stderr
    assert (tmp_path / "a file").read_text() == "kept"


def test_a_full_output_is_told(store: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        asked = started("sql", "from slides", "--store", store, out=full)
        _, said = asked.communicate(timeout=60)
    finally:
        os.close(full)
    assert asked.returncode == 1
    assert said.splitlines()[-1].startswith("trephine: the disk refused: No space left on device")
    assert "Traceback" not in said
    assert (
        "No space left"
        in run("report", "latest", "-o", "/dev/full", "--store", store, code=1).stderr
    )


def test_a_reader_that_went_away_is_no_fault(store: Path) -> None:
    asked = started("sql", "from range(200000)", "--store", store)
    assert asked.stdout is not None
    asked.stdout.close()
    assert asked.stderr is not None
    assert "Traceback" not in asked.stderr.read()
    assert asked.wait(60) in (0, 1)
    asked.stderr.close()


@pytest.mark.proof  # it waits until the query runs
def test_ctrl_c_ends_a_heavy_query_at_once_with_a_line(store: Path) -> None:
    heavy = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"
    asked = started("sql", heavy, "--store", store)
    time.sleep(6)
    asked.send_signal(signal.SIGINT)
    stopped = time.monotonic()
    _, said = asked.communicate(timeout=60)
    assert time.monotonic() - stopped < 30  # of hours
    assert said.splitlines() == [
        "trephine: sql was stopped. Nothing is lost: give the same command again."
    ]
    assert asked.returncode == 130


@pytest.mark.parametrize("number", DISK)
def test_what_a_disk_refuses_is_told_with_the_place_where_it_is_known(number: int) -> None:
    said = os.strerror(number)
    library = RuntimeError(f"IO Error: cannot write: {said}")
    for error, place in ((OSError(number, said, "a/b"), ": a/b"), (OSError(number, said), "")):
        with pytest.raises(StoreUnwritable) as told, writing(Path("x")):
            raise error
        assert f"store x: {said}{place}. What is finished" in str(told.value)
    assert disk_fault(library) == said


# -- files for people ------------------------------------------------------------------------------


def test_a_file_is_replaced_when_it_is_whole_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("older")
    path.chmod(0o640)
    with suppress(KeyboardInterrupt), write_beside(path) as work:
        work.write_text("half")
        raise KeyboardInterrupt
    assert [one.name for one in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == "older"
    with write_beside(path) as work:
        work.write_text("newer")
        assert path.read_text() == "older"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("newer", 0o640)


def test_a_link_stays_a_link_and_folders_are_made(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("older")
    (tmp_path / "link.html").symlink_to("real.html")
    for path in (tmp_path / "link.html", tmp_path / "new" / "page.html"):
        with write_beside(path) as work:
            work.write_text("newer")
        assert path.read_text() == "newer"
    assert (tmp_path / "link.html").is_symlink()


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    page = tmp_path / "file" / "page.html"
    with pytest.raises(FileUnwritable, match=r"cannot write .*page\.html"), write_beside(page):
        pass


def test_help_into_a_full_disk_gets_a_sentence() -> None:
    with Path("/dev/full").open("w") as full:
        running = started("--help", out=full.fileno())
    said = running.communicate()[1]
    assert running.returncode == 1
    assert said.startswith("trephine: the disk refused: No space left on device")
    assert said.count("\n") == 1


def test_rows_that_find_no_room_are_told_with_tmpdir(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for disk in mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "tmpfs"):
        monkeypatch.setenv("TMPDIR", str(disk))
        text = "select i, hash(i) from range(50000) t(i)"
        _, said = started("sql", text, "--store", store).communicate(timeout=60)
        assert said.startswith("trephine: the SQL finds no room for its rows"), said
        assert "TMPDIR" in said
        assert len(said.splitlines()) == 1
