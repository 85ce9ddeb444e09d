"""Bags of a Cohort as a dataset for torch's DataLoader, for a model of your own."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from featurestore import FeatureStore, RowReader
from featurestore.errors import TrainError
from trainer.bags import Draw, Sampler
from trainer.config import Sampling
from trainer.draws import TRAIN
from trainer.tile_filter import keep_tiles

if TYPE_CHECKING:  # at run time the base would be torch's only part in it, and takes seconds
    import torch

    Items = torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
else:
    Items = object


class BagDataset(Items):
    """Bags of a Cohort for your own model: a map-style dataset, for torch's DataLoader.

    Item i is (x float32 (bag_size, D), mask bool (bag_size,), y float32 ()) of row i of `frame`;
    y is the Label in the Target's own units. Each process opens its own files, and draws depend on
    seed, epoch and Slide alone, so any number of DataLoader workers gives the same Bags. Call
    `set_epoch` before each epoch for new draws.

    Without `split` it has all of them. Slides smaller than a Bag are padded with zeros and masked;
    `tiles` is a condition on scores, see `tile_filter`.
    """

    def __init__(
        self,
        store: FeatureStore,
        cohort: str,
        *,
        split: str | None = None,
        bag_size: int = 256,
        encoder_id: str | None = None,
        tiling_id: str | None = None,
        tiles: str | None = None,
        sampling: Sampling = "block",
        seed: int = 0,
    ) -> None:
        from trainer.feed import MAX_OPEN  # torch, which is there when bags are used

        bags = store.bags(cohort, encoder_id, tiling_id)
        if split is not None:
            bags = bags.filter(pl.col("split") == split)
        self.frame = keep_tiles(store, bags, tiles)
        self.sampler = Sampler(self.frame, bag_size, seed, sampling)
        if self.frame.is_empty():
            raise TrainError(f"cohort {cohort!r} has no slides with tiles in split {split!r}")
        self.dim = int(self.frame["dim"][0])
        self.epoch = 0
        self._values = self.frame["value"].to_numpy().astype(np.float32)
        # Workers copy this unopened reader: polars, which made it, must not run after a fork.
        self._unopened = store.rows(self.frame, MAX_OPEN)
        self._reader: RowReader | None = None
        self._pid = -1

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: the next items are those of this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"item {i} of {len(self)} bags")
        import torch

        i %= len(self)
        x = np.empty((1, self.sampler.bag_size, self.dim), np.float16)
        draw = Draw(slides=np.array([i]), draws=np.array([self.epoch]))
        mask = torch.from_numpy(self.sampler.fill(self._open(), draw, TRAIN, x))
        return torch.from_numpy(x)[0].float(), mask[0], torch.tensor(self._values[i])

    def _open(self) -> RowReader:
        if self._reader is None or self._pid != os.getpid():  # a forked worker has its own
            self._reader, self._pid = copy.deepcopy(self._unopened), os.getpid()
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None, "_pid": -1}
