"""The blocks of Python in the README, on a small store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from builders import embedding_stores as es

from featurestore import FeatureStore

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def adults(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Thirty Slides, every sixth without a Label; Cohort `adults`."""
    x, values = es.planted(30, list(range(10, 40)), dim=4)
    labels = [None if i % 6 == 0 else v for i, v in enumerate(values)]
    store = es.build(tmp_path_factory.mktemp("adults") / "store", x, labels)
    es.freeze(store, "adults")
    return store


@pytest.fixture
def here(adults: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """The same, as `store` in the current folder."""
    monkeypatch.chdir(adults.root.parent)
    return adults


def _run(holds: str, replace: tuple[str, str] = ("", "")) -> tuple[dict[str, Any], list[Any]]:
    """Run the one block that holds a word; return its names and what it printed."""
    blocks = [part.split("```")[0] for part in README.split("```python\n")[1:]]
    (block,) = [block for block in blocks if holds in block]
    assert len([line for line in block.splitlines() if line]) <= 10
    assert replace[0] in block
    printed: list[Any] = []
    names: dict[str, Any] = {"print": lambda *values: printed.append(values)}
    exec(block.replace(*replace) if replace[0] else block, names)
    return names, printed


def test_to_import_from_the_trainer_does_not_wait_for_torch() -> None:
    code = """
import pickle, sys
from trainer import BagDataset, TrainConfig, predict, train, write_page
assert pickle.loads(pickle.dumps([train, BagDataset])) == [train, BagDataset]
print("torch" in sys.modules, predict.__name__, train.__module__)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == "False predict trainer\n"


def test_train_and_predict_as_the_readme_has_them(here: FeatureStore) -> None:
    names, ((r2, low, high), (frame,)) = _run("from trainer import TrainConfig, predict, train")
    assert low <= r2 <= high
    assert r2 == names["run"].metric("r2")
    assert frame.height == 30  # those without a label too
    assert frame["label"].null_count() == 5
    assert frame["mean"].is_between(0, 100).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_dataset_as_the_readme_has_it_gives_equal_bags_under_any_number_of_workers(
    here: FeatureStore,
) -> None:
    shown = {}
    for n in (0, 1, 2, 3):
        torch.manual_seed(0)  # of the loader's shuffling
        names, printed = _run("BagDataset(", ("num_workers=2", f"num_workers={n}"))
        bags = names["bags"]
        loader = torch.utils.data.DataLoader(bags, batch_size=5, num_workers=n)
        shown[n] = [printed, [tensor for batch in loader for tensor in batch]]
    train = here.bags("adults").filter(pl.col("split") == "train")
    assert len(shown[0][0]) == 2 * -(-train.height // 4)  # two epochs
    for n in (1, 2, 3):
        for (shape, tiles, y), (shape_0, tiles_0, y_0) in zip(
            shown[n][0], shown[0][0], strict=True
        ):
            assert shape == shape_0 == (len(y), 16, 4)
            assert torch.equal(tiles, tiles_0)
            assert torch.equal(y, y_0)
        assert all(torch.equal(a, b) for a, b in zip(shown[n][1], shown[0][1], strict=True))
    seen = np.sort(np.concatenate([y.numpy() for _, _, y in shown[0][0][: len(shown[0][0]) // 2]]))
    assert seen == pytest.approx(np.sort(train["value"].to_numpy()), abs=1e-4)
