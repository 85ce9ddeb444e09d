"""Rows for files of other tools, and bags as they came in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from builders.foreign_files import (
    EVERY,
)

from featurestore import FeatureStore, row_order
from featurestore.types import ArrayIds


def made(n: int = 20, dim: int = 8, dtype: str = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng([n, dim, seed]).normal(size=(n, dim)).astype(dtype)


def bag_of(store: FeatureStore, slide_id: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coords, Embeddings and tissue of a Slide that has one array."""
    query = (
        "select slide_key, tiling_id, encoder_id from embeddings join slides using (slide_key)"
        " where slide_id = $slide_id"
    )
    ids = ArrayIds(*store.sql(query, {"slide_id": slide_id}).row(0))
    tiles = store.tiles(ids.slide_key, ids.tiling_id)
    order = row_order(ids.slide_key, tiles["coords"])
    np.testing.assert_array_equal(order, np.arange(len(order)))  # the store's own
    return tiles["coords"], store.embeddings(*ids), tiles["tissue"]


def by_place(coords: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    order = np.lexsort((coords[:, 0], coords[:, 1]))
    return [one[order] for one in (coords, *others)]


SIZES = [(n, dim, of) for n in (0, 1, 300) for dim in (8, 1_024) for of in ("f4", "f2", "f8")]
CHOSEN = [(kind, *SIZES[5 * n % len(SIZES)]) for n, kind in enumerate(EVERY)]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


WITH_PLACES = [kind for kind in EVERY if "stamp" not in kind and "without" not in kind]
