"""Stores that are made once: copied for each test that damages them, or imported into."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest
from builders.catalog_rows import case_row, label_row, slide_arrays, slide_row
from builders.copies import copy_of
from builders.damage import Copy, whole_store
from builders.withdrawn import six_slides

from featurestore import FeatureStore


@pytest.fixture(scope="session")
def of_six(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return six_slides(tmp_path_factory.mktemp("six") / "store")


@pytest.fixture
def six(of_six: FeatureStore, tmp_path: Path) -> FeatureStore:
    """A copy of `six_slides` to take things out of."""
    return copy_of(of_six, tmp_path)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One to import into for all of a file: Slides have names of their own."""
    return FeatureStore.create(tmp_path_factory.mktemp("store"))


@pytest.fixture
def new(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "new")


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_store(tmp_path_factory.mktemp("whole") / "store").root


@pytest.fixture
def copied(healthy: Path, tmp_path: Path) -> Copy:
    def copy() -> Path:
        place = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        return Path(shutil.copytree(healthy, place))

    return copy


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Three slides with 0, 1 and 37 tiles: the sizes where bugs live."""
    store = FeatureStore.create(tmp_path_factory.mktemp("made") / "store")
    for i, n in enumerate((0, 1, 37)):
        store.publish(slide_arrays(f"{i:016x}", n))
        day = date(2020, 1, 1 + i)
        rows = [case_row(f"C{i}", f"P{i}"), slide_row(f"S{i}", f"C{i}", f"{i:016x}", day)]
        store.record(rows, fold=False)
    store.record([label_row(f"C{i}", 10.0 * i) for i in range(3)])
    return store
