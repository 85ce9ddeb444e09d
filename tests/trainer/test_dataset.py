"""Bags for a DataLoader: the same under any number of workers."""

from __future__ import annotations

import pickle

import pytest
import torch

from featurestore import FeatureStore
from trainer.dataset import BagDataset


def _items(dataset: BagDataset, workers: int) -> list[torch.Tensor]:
    loader = torch.utils.data.DataLoader(dataset, batch_size=7, num_workers=workers)
    return [x for batch in loader for x in batch]


def test_the_dataset_gives_the_same_bags_under_any_number_of_workers(
    learnable: FeatureStore,
) -> None:
    dataset = BagDataset(learnable, "all", split="train", bag_size=24)
    dataset[0]  # opens a descriptor that workers must not share
    one, two = _items(dataset, 0), _items(dataset, 2)
    assert all(torch.equal(p, q) for p, q in zip(one, two, strict=True))
    dataset.set_epoch(1)
    assert not torch.equal(_items(dataset, 0)[0], one[0])


def test_the_dataset_pads_to_the_bag_and_pickles(learnable: FeatureStore) -> None:
    dataset = pickle.loads(pickle.dumps(BagDataset(learnable, "all", bag_size=50)))
    lengths = [int(mask.sum()) for _, mask, _ in (dataset[i] for i in range(len(dataset)))]
    assert lengths == [min(50, n) for n in dataset.frame["n_tiles"]]
    assert dataset[0][0].shape == (50, 8)
    with pytest.raises(IndexError):
        dataset[len(dataset)]
