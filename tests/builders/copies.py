"""A store made once and copied for each test: making one flushes files and asks DuckDB much."""

from __future__ import annotations

import shutil
from pathlib import Path

from featurestore import FeatureStore


def copy_of(store: FeatureStore, folder: Path) -> FeatureStore:
    """The same store in a folder of one test's own."""
    return FeatureStore(Path(shutil.copytree(store.root, folder / "store")))
