"""Folders of unfinished work: a refusal takes nothing away, and leaves nothing empty."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest
from builders.catalog_rows import slide_arrays
from builders.damage import whole_store
from builders.longer import longer

from featurestore import FeatureStore, layout, overview, workplaces
from featurestore.catalog_file import NotOpened, opened
from featurestore.errors import (
    ConfigError,
    NotFinite,
    StoreUnwritable,
    TrainError,
    TrephineError,
)


@pytest.mark.parametrize("refusal", [ConfigError, TrainError, NotFinite])
def test_work_that_is_refused_leaves_no_empty_folder(
    tmp_path: Path, refusal: type[TrephineError]
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    with pytest.raises(refusal), store.workplace("a"):
        raise refusal("no")
    assert list((store.root / "tmp").iterdir()) == []


def test_a_refusal_keeps_what_a_killed_call_did(tmp_path: Path) -> None:
    """As of a training on a device that is not there for once: it goes on when it is again."""
    store = FeatureStore.create(tmp_path / "store")
    with store.workplace("a") as work:
        (work / "state").write_text("step 1500")
    with pytest.raises(ConfigError), store.workplace("a"):
        raise ConfigError("there is no CUDA device here")
    with store.workplace("a") as again:
        assert (again / "state").read_text() == "step 1500"


@pytest.mark.parametrize("fault", [errno.ENOLCK, longer(errno.ENOTSUP), longer(errno.ENOSYS)])
def test_where_a_file_system_has_no_locks_nobody_takes_what_may_be_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """The system itself is told to have none; file systems without are not at hand."""

    def none(fd: int, how: int) -> None:
        raise OSError(fault, os.strerror(fault))

    store = whole_store(tmp_path / "store")
    monkeypatch.setattr(fcntl, "flock", none)
    with store.workplace("a") as work, store.workplace("a") as other:
        assert work != other
        (work / "state").write_text("step 1500")
    store.publish(slide_arrays("5" * 16, 3))  # by who is killed now
    told = FeatureStore.verify(store.root)
    assert (list(told.failures), told.waiting) == ([], 1)
    week_old = time.time() - 8 * 86400
    for path in (work / "state", work):
        os.utime(path, (week_old, week_old))
    assert overview.clean(store).data["removed"] == [work.name]


def test_a_turn_that_lasts_for_hours_is_nobodys_to_remove(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    tmp = store.root / "tmp"
    with store.turn("held"):
        for name in ("turn-held", "turn-of-the-killed", "other"):
            (tmp / name).mkdir(exist_ok=True)
            os.utime(tmp / name, (1e9, 1e9))
        left = [path.name for path in workplaces.left_over(tmp)]
    assert left == ["other", "turn-of-the-killed"]
    assert not (tmp / "turn-held").exists()


def test_a_turn_that_ends_as_another_comes_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder goes, between the making and the opening of who comes."""
    store, make, gone = FeatureStore.create(tmp_path / "store"), layout.make, list[Path]()

    def made_and_gone(folder: Path) -> None:
        make(folder)
        if folder.name == "turn-a" and not gone:
            gone.append(folder)
            folder.rmdir()

    monkeypatch.setattr(layout, "make", made_and_gone)
    with store.turn("a"):
        assert [path.name for path in (store.root / "tmp").iterdir()] == ["turn-a"]
    assert gone


def test_a_catalog_on_a_file_system_without_locks_is_told_at_once(tmp_path: Path) -> None:
    def refused() -> None:
        raise NotOpened(f"Could not set lock on file: {os.strerror(errno.ENOLCK)}")

    with pytest.raises(StoreUnwritable, match="has no locks"):
        opened(tmp_path / "catalog.duckdb", refused)
