"""What learns: a model with its loss, its optimizer and its schedule, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from featurestore import FeatureStore
from featurestore.types import Target
from trainer.adamw import AdamW
from trainer.bags import Sampler
from trainer.config import Loss, TrainConfig
from trainer.draws import TRAIN
from trainer.model import BagModel

STATISTICS_SLIDES = 256  # whose first rows give the mean and standard deviation of Embeddings
HUBER_DELTA = 0.1  # of the Target's range


def bag_loss(loss: Loss, scores: Tensor, values: Tensor, y: Tensor) -> Tensor:
    """Mean loss of a batch.

    Args:
        loss: `interval` is the squared distance to [low, high], zero inside.
        scores: before sigmoid, shape (B,).
        values: after it, shape (B,).
        y: value, low and high of each Label in hundredths of the Target's range, shape (B, 3).
    """
    value, low, high = y.unbind(1)
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(scores, value)
    if loss == "huber":
        return F.huber_loss(values, value, delta=HUBER_DELTA)
    if loss == "interval":
        return (F.relu(low - values) + F.relu(values - high)).square().mean()
    return F.mse_loss(values, value)


def scaled_labels(bags: pl.DataFrame, target: Target) -> np.ndarray:
    """Labels as value, low, high with the Target's low as 0 and high as 1, float32 (N, 3).

    A Label without a range has low = high = value.
    """
    columns = [
        pl.col("value"),
        pl.coalesce("low", "value").alias("low"),
        pl.coalesce("high", "value").alias("high"),
    ]
    y = (bags.select(columns).to_numpy().astype(np.float64) - target.low) / (
        target.high - target.low
    )
    return y.astype(np.float32)


def steps_of(config: TrainConfig, n_slides: int) -> tuple[int, int]:
    """Steps of an epoch over n train Slides, and of the whole training."""
    per_epoch = max(1, round(n_slides / config.batch_size))
    if config.steps is not None:
        return per_epoch, config.steps
    if config.epochs is not None:
        return per_epoch, max(1, round(config.epochs * per_epoch))
    return per_epoch, max(1_000, 20 * per_epoch)


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at a step: it rises evenly, then falls as a cosine to zero."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def new_model(
    store: FeatureStore, train: pl.DataFrame, target: Target, config: TrainConfig
) -> BagModel:
    """Make a model whose first guess is the mean label, with Embeddings standardised.

    Its weights come from torch's generator.
    """
    model = BagModel(
        int(train["dim"][0]),
        config.model,
        hidden=config.hidden,
        projection=config.projection,
        dropout=config.dropout,
        bounded=target.kind != "continuous",
    )
    mean = float(scaled_labels(train, target)[:, 0].mean())
    with torch.no_grad():
        mean = min(max(mean, 0.01), 0.99) if model.bounded else mean
        model.head.bias.fill_(math.log(mean / (1 - mean)) if model.bounded else mean)
        if config.standardise:
            shift, scale = embedding_statistics(store, train, config)
            model.shift.copy_(torch.from_numpy(shift))
            model.scale.copy_(torch.from_numpy(scale))
    return model


def embedding_statistics(
    store: FeatureStore, train: pl.DataFrame, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over tiles of (at most 256) train Slides, float32 (D,) each.

    Every Slide weighs the same. A column without spread gets a standard deviation of 1.
    """
    order = np.random.default_rng([config.seed, 2]).permutation(train.height)
    chosen = train[np.sort(order[:STATISTICS_SLIDES])]
    sampler = Sampler(chosen, config.bag_size, config.seed)
    total = np.zeros((2, int(chosen["dim"][0])))
    with store.rows(chosen) as reader:
        for i, n in enumerate(sampler.lengths.tolist()):
            x = np.empty((n, reader.dim), np.float16)
            sampler.read(reader, i, 0, 0, TRAIN, x)
            x64 = x.astype(np.float64)
            total += [x64.mean(axis=0), (x64**2).mean(axis=0)]
    mean, square = total / chosen.height
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std < 1e-4] = 1
    return mean.astype(np.float32), std.astype(np.float32)


class Learner:
    """A model with what changes it: one step at a time, its state saved and set again.

    Args:
        model: is changed in place.
        loss: see `bag_loss`.
        config: learning rate, weight decay, warm-up, clipping, patience.
        steps: of the whole training, for the schedule.
    """

    def __init__(self, model: BagModel, loss: Loss, config: TrainConfig, steps: int) -> None:
        self.model, self.loss, self.config, self.steps = model, loss, config, steps
        self.optimizer = AdamW(model.parameters(), config.weight_decay)
        self.best: dict[str, Any] = {"loss": math.inf, "step": 0, "waited": 0, "weights": None}

    def step(self, x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
        """Learn from one batch; return its loss, not waiting for a GPU."""
        scores = self.model(x, mask)
        value = bag_loss(self.loss, scores, self.model.value(scores), y)
        self.optimizer.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step(self.lr)
        return value.detach()

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.config.lr * schedule(self.optimizer.steps, self.steps, self.config.warm_up)

    def judge(self, step: int, loss: float) -> None:
        """Keep the weights where the validation loss is the lowest so far."""
        if loss < self.best["loss"]:
            weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.best = {"loss": loss, "step": step, "waited": 0, "weights": weights}
        else:
            self.best["waited"] += 1

    @property
    def stopped(self) -> bool:
        """Whether the validation loss has not improved for too long."""
        return bool(0 < self.config.patience <= self.best["waited"])

    def keep_best(self) -> None:
        """Go back to the best weights, where a validation was large enough to judge."""
        if self.best["weights"] is not None:
            self.model.load_state_dict(self.best["weights"])

    def state(self) -> dict[str, Any]:
        """Everything that decides the steps to come."""
        cuda = self.model.shift.is_cuda
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state(self.model.shift.device) if cuda else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        torch.set_rng_state(state["rng"].cpu())
        if state["rng_cuda"] is not None:
            torch.cuda.set_rng_state(state["rng_cuda"].cpu(), self.model.shift.device)
