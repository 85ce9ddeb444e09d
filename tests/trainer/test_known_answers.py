"""Bags whose answer is known: positive where one row, the witness, is of its own kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.types import Target
from trainer import TrainConfig, train

MIL = {"projection": 64, "dropout": 0.5, "validation_fraction": 0.0}  # the line of docs/limits.md
POSITIVE = Target(name="positive", kind="binary", low=0, high=1)


def witnesses(n: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Bags of 2 to 8 raw rows: columns of sizes 0.01 to 200, some of them the same everywhere."""
    rng = np.random.default_rng(seed)
    size = np.geomspace(0.01, 200, 40)
    size[::7] = 0
    bags, labels = {}, {}
    for i in range(n):
        x = rng.normal(size=(int(rng.integers(2, 9)), 40))
        if i % 2:
            x[rng.integers(len(x)), 10:22] += 2.5
        bags[f"B{i:03}"], labels[f"B{i:03}"] = 30 + size * x, float(i % 2)
    return bags, labels


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    bags, labels = witnesses(200, seed=0)
    store = FeatureStore.create(tmp_path_factory.mktemp("witness") / "store")
    sides = {name: "train" if i < 140 else "test" for i, name in enumerate(bags)}
    store.add_bags("witness", bags, labels=labels, target=POSITIVE, splits=sides)
    return store


@pytest.mark.proof  # two hundred bags are written, each flushed to disk
@pytest.mark.parametrize("options", [{}, MIL], ids=["defaults", "the line for bags"])
def test_the_class_of_a_bag_is_found_by_its_witness(
    options: dict[str, Any], store: FeatureStore
) -> None:
    run = train(store, TrainConfig(cohort="witness", **options), draw=False)
    auc, accuracy = run.metric("auc"), run.metric("accuracy")
    assert auc is not None
    assert accuracy is not None
    assert (auc > 0.9, accuracy > 0.8) == (True, True), (auc, accuracy)
