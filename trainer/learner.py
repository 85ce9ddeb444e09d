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
from trainer.feed import begin
from trainer.model import BagModel, Scorer
from trainer.own_model import OwnModel, State, model_of

STATISTICS_SLIDES = 256  # whose first rows give the mean and standard deviation of Embeddings
HUBER_DELTA = 0.1  # of the Target's range
ATTENTION, ATTENTION_SHARE = ("tanh.", "gate.", "weight."), 0.1  # its part of the learning rate
RATE, LARGEST_RATE = 1.15, 0.05


def bag_losses(loss: Loss, scores: Tensor, values: Tensor, y: Tensor) -> Tensor:
    """Loss of each Bag of a batch, (B,); `interval` is the squared distance to [low, high].

    Scores, (B,), are before sigmoid, values after it; y, (B, 3 or more), is value, low and high of
    each Label as shares of the Target's range.
    """
    value, low, high = y[:, :3].unbind(1)
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(scores, value, reduction="none")
    if loss == "huber":
        return F.huber_loss(values, value, delta=HUBER_DELTA, reduction="none")
    if loss == "interval":
        return (F.relu(low - values) + F.relu(values - high)).square()
    return (values - value).square()


def scaled_labels(bags: pl.DataFrame, target: Target) -> np.ndarray:
    """Labels as value, low, high with the Target's low as 0 and high as 1, float32 (N, 3).

    A Label without a range has low = high = value.
    """
    y = bags.select("value", pl.coalesce("low", "value"), pl.coalesce("high", "value")).to_numpy()
    y = (y.astype(np.float64) - target.low) / (target.high - target.low)
    return y.astype(np.float32)


def slide_weights(bags: pl.DataFrame, config: TrainConfig, labels: np.ndarray) -> np.ndarray:
    """What each Slide weighs in the loss, 1 on average: a share of its Case, or 1; float32 (N,).

    Balanced, that is divided by how many labels, weighed so, lie near its own: a Gaussian kernel of
    a tenth of the Target's range, of which the labels, (N,), are shares.
    """
    weights = np.ones(bags.height)
    if config.weight == "case":
        weights /= bags.select(pl.len().over("case_id"))["len"].to_numpy()
    if config.balance:
        place, hundredths = (labels.clip(0, 1) * 100).round().astype(np.int64), np.arange(101)
        near = np.exp(-0.5 * (np.subtract.outer(hundredths, hundredths) / 10) ** 2)
        weights /= (near @ np.bincount(place, weights, 101))[place]
    return np.asarray(weights / weights.mean(), np.float32)


def rate_of(config: TrainConfig, dim: int) -> float:
    """The largest learning rate of a training on Embeddings of `dim` numbers.

    A step of Adam moves every weight by about the rate, and so the value of a Bag by rate x dim:
    a rate of 1 / dim learns as fast from narrow Embeddings as from wide (Yang and Hu 2021).
    """
    return config.lr or min(LARGEST_RATE, RATE / dim)


def schedule(step: int, steps: int, warm_up: float) -> float:
    """Share of the learning rate at a step: it rises evenly, then falls as a cosine to zero."""
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def new_model(
    store: FeatureStore,
    train: pl.DataFrame,
    target: Target,
    config: TrainConfig,
    start: State | None = None,
) -> Scorer:
    """Make a model with Embeddings standardised; ours first guesses the mean label.

    Its weights come from torch's generator, or from `start` for a module that was handed over.
    """
    model = model_of(config, int(train["dim"][0]), target.kind)
    mean = float(scaled_labels(train, target)[:, 0].mean())
    with torch.no_grad():
        if isinstance(model, OwnModel):
            model.begin(start)
        elif isinstance(model, BagModel):
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
    """A model with what changes it, in place: one step at a time, its state saved and set again.

    The schedule is that of a whole training of `steps`.
    """

    def __init__(self, model: Scorer, loss: Loss, config: TrainConfig, steps: int) -> None:
        self.model, self.loss, self.config, self.steps = model, loss, config, steps
        names = (name for name, _ in model.named_parameters())
        shares = [ATTENTION_SHARE if name.startswith(ATTENTION) else 1.0 for name in names]
        self.optimizer = AdamW(model.parameters(), config.weight_decay, shares)
        self.best: dict[str, Any] = {"loss": math.inf, "step": 0, "waited": 0, "weights": None}
        self.last: Tensor | None = None  # losses at the last evaluation

    def step(self, x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
        """Learn from one batch, as of `BagModel`; return its loss, not waiting for a GPU.

        `y` is value, low, high and weight of each Bag, (B, 4).
        """
        scores = self.model(x, mask)
        value = (bag_losses(self.loss, scores, self.model.value(scores), y) * y[:, 3]).mean()
        self.optimizer.zero_grad()
        begin(self.model.meanwhile)  # if the model had no moment for it
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step(self.lr)
        return value.detach()

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        share = schedule(self.optimizer.steps, self.steps, self.config.warm_up)
        return rate_of(self.config, self.model.shift.numel()) * share

    def judge(self, step: int, losses: Tensor) -> None:
        """Keep the weights where the mean of `losses`, (N,) in one order, is the lowest so far."""
        loss, self.last = float(losses.mean()), losses
        if loss < self.best["loss"]:
            weights = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.best = {"loss": loss, "step": step, "waited": 0, "weights": weights}
            self.best["losses"] = losses
        else:
            self.best["waited"] += 1

    @property
    def stopped(self) -> bool:
        """Whether the validation loss has not improved for too long."""
        return bool(0 < self.config.patience <= self.best["waited"])

    def keep_best(self, step: int) -> int:
        """Go back to the best weights, if they are clearly better than the last; return their step.

        The last ones are the annealed ones, and the best of many evaluations looks good by luck. So
        they go only if the others are better by more than a standard error of the paired
        difference, or if training was stopped before its end.
        """
        if self.best["weights"] is None or self.last is None:
            return step
        gain = self.last - self.best["losses"]
        if self.stopped or float(gain.mean()) > float(gain.std()) / math.sqrt(len(gain)):
            self.model.load_state_dict(self.best["weights"])
            return int(self.best["step"])
        return step

    def state(self) -> dict[str, Any]:
        """Everything that decides the steps to come."""
        cuda = self.model.shift.is_cuda
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "last": self.last,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state(self.model.shift.device) if cuda else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best, self.last = state["best"], state["last"]
        torch.set_rng_state(state["rng"].cpu())
        if state["rng_cuda"] is not None:
            torch.cuda.set_rng_state(state["rng_cuda"].cpu(), self.model.shift.device)
