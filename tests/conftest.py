"""Shared fixtures: real files where they are at hand, and small stores of ready embeddings."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings

# a slow or busy machine is no fault of the code; laws that need more examples say so themselves
settings.register_profile("calm", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("wide", max_examples=2_000, deadline=None)  # looks for what is new
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "calm"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test waits for a hub
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C
MEMORY = Path("/dev/shm")  # every publish flushes some forty files: costly on a disk, free here
ROOT = "PYTEST_DEBUG_TEMPROOT"
HAS_ROOM = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 8 << 30
if HAS_ROOM and ROOT not in os.environ:
    os.environ[ROOT] = tempfile.mkdtemp(prefix="trephine-", dir=MEMORY)  # this session's alone
    atexit.register(shutil.rmtree, os.environ[ROOT], ignore_errors=True)

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """Real slides and marrow; a fresh clone elsewhere has none."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder ../shared")
    return SHARED


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good slides of five patients, three broken ones, three clot slides."""
    from ingest.synthetic import archive as synthetic

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # drawn once: the workers share it
        folder = folder.parent
    folder.joinpath("archive.lock").touch()
    with folder.joinpath("archive.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "archive").exists():
            synthetic.make_archive(folder / "drawn", n_slides=6, n_patients=5, seed=1)
            (folder / "drawn").rename(folder / "archive")
    return folder / "archive"


@pytest.fixture(scope="module")
def one_reader() -> Iterator[None]:
    """Let a file's imports share the process that reads files: each would load torch anew."""
    from featurestore.exchange import files

    with closing(files.Apart()) as apart, pytest.MonkeyPatch.context() as patch:

        class Kept:
            call, peek = apart.call, apart.peek

            def close(self) -> None:
                """Not before the tests of this file end."""

        patch.setattr(files, "Apart", Kept)
        yield
