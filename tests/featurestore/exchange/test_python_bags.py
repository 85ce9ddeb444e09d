"""Bags from Python: arrays, labels and splits go in, and a Run comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.errors import CohortError, ConfigError, FeaturesRefused
from featurestore.types import Target
from trainer import TrainConfig, train

MUSK = Target(name="musk", kind="binary", low=0, high=1)


def musk(n: int = 20, dim: int = 166) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Molecules of 2 to 12 conformers, as whole numbers; one conformer makes it a musk."""
    rng = np.random.default_rng(0)
    bags, labels = {}, {}
    for i in range(n):
        x = rng.integers(-300, 300, (int(rng.integers(2, 13)), dim))
        labels[f"M-{i}"] = float(i % 2)
        if i % 2:
            x[0, :40] = 280
        bags[f"M-{i}"] = x
    return bags, labels


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def test_bags_of_a_binary_target_in_folds_are_trained_on(store: FeatureStore) -> None:
    bags, labels = musk()
    folds = {name: i // 2 % 10 for i, name in enumerate(bags)}
    told = store.add_bags("musk1", bags, labels=labels, target=MUSK, splits=folds)
    assert (told.imported, told.tiles) == (20, sum(map(len, bags.values())))
    frozen = store.bags("musk1")
    assert dict(frozen["slide_id", "value"].iter_rows()) == labels
    assert set(frozen["split"]) == {str(n) for n in range(10)}
    for row in frozen.head(3).iter_rows(named=True):
        rows = store.embeddings(row["slide_key"], row["tiling_id"], row["encoder_id"])
        at = store.tiles(row["slide_key"], row["tiling_id"])["coords"]
        given = bags[row["slide_id"]]
        np.testing.assert_array_equal(rows[np.argsort(at[:, 0])], given.astype(np.float16))
    run = train(store, TrainConfig(cohort="musk1", fold="3", steps=100, bag_size=16))
    assert run.record.target_kind == "binary"
    assert run.record.n_test == 2
    assert store.add_bags("musk1", bags, labels=labels, target=MUSK).known == 20


def test_patients_keep_their_bags_on_one_side(store: FeatureStore) -> None:
    bags, labels = musk(6)
    sides = {name: "test" if i > 3 else "train" for i, name in enumerate(bags)}
    patients = {"M-0": "P", "M-5": "P"}
    with pytest.raises(CohortError, match="more than one side"):
        store.add_bags("m", bags, labels=labels, target=MUSK, splits=sides, patients=patients)
    given = {name: np.arange(2 * len(x)).reshape(-1, 2) * 224 for name, x in bags.items()}
    told = store.add_bags("n", bags, labels=labels, target=MUSK, splits=sides, coords=given)
    assert (told.unplaced, store.bags("n", "n").height) == (0, 6)


def test_the_label_that_was_given_last_holds(store: FeatureStore) -> None:
    bags = {"a": np.ones((2, 3))}
    for value in (10, 20, 10, 10, np.float32(20), True, 10):
        store.add_bags("m", bags, labels={"a": value})
        assert store.labels()["value"].to_list() == [float(value)]


@pytest.mark.parametrize(
    ("change", "said", "error"),
    [
        ({"bags": {"a": np.full((2, 3), 7e4)}}, "float16", FeaturesRefused),
        ({"bags": {"a": np.full((2, 3), np.nan)}}, "no numbers", FeaturesRefused),
        ({"bags": {"a": np.zeros(3)}}, "a row a tile", FeaturesRefused),
        ({"bags": {"a": np.zeros((2, 3)), "b": np.ones((2, 4))}}, "one width", FeaturesRefused),
        ({"bags": {"a": np.array([["x"]])}}, "numbers", FeaturesRefused),
        ({"coords": {"a": np.zeros((3, 2))}}, "coordinates", FeaturesRefused),
        ({"labels": {"a": 2.0}}, "0 or 1", ConfigError),
        ({"labels": {"a": None}}, "Leave out what has no label", ConfigError),
        ({"labels": {"a": "1"}}, "0 or 1", ConfigError),
        ({"labels": {"z": 1.0}}, "no bag", ConfigError),
        ({"splits": {"a": "train"}}, "no split", ConfigError),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    change: dict[str, object], said: str, error: type[Exception], store: FeatureStore
) -> None:
    some = {"bags": {"a": np.ones((2, 3)), "b": np.zeros((1, 3))}, "labels": {"a": 1.0}}
    with pytest.raises(error, match=said):
        store.add_bags("m", target=MUSK, **some | change)  # type: ignore[arg-type]
    assert store.sql("from slides").is_empty()
    assert not [*(store.root / "slides").iterdir()]


def test_classes_are_not_taken_for_percentages(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    bags = {name: np.ones((2, 3)) * i for i, name in enumerate("ab", 1)}
    with pytest.raises(ConfigError, match=r"0 or 1, and cellularity is 0 to 100.*kind=.binary"):
        store.add_bags("m", bags, labels={"a": 0, "b": 1})
    assert store.sql("from slides").is_empty()
    store.add_bags("m", bags, labels={"a": 0, "b": 1}, target=MUSK)
    store.add_bags("n", {"c": np.ones((2, 3)), "d": np.zeros((2, 3))}, labels={"c": 0, "d": 2})
