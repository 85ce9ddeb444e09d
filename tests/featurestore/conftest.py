"""A whole store of every kind of thing, copied for each test that damages it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from builders.damage import Copy, whole_store


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole_store(tmp_path_factory.mktemp("whole") / "store").root


@pytest.fixture
def copied(healthy: Path, tmp_path: Path) -> Copy:
    def copy() -> Path:
        place = tmp_path / f"copy-{len(list(tmp_path.iterdir()))}"
        return Path(shutil.copytree(healthy, place))

    return copy
