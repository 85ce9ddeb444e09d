"""What decides the result of a Run, checked where it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from featurestore.errors import ConfigError
from featurestore.types import Target
from trainer.bags import Sampling
from trainer.model import POOLINGS, Pooling
from trainer.tile_filter import tile_filter

Loss = Literal["bce", "mse", "huber", "interval"]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result of a Run; saved beside the weights."""

    cohort: str
    encoder_id: str | None = None  # None: the only one that the Cohort has
    tiling_id: str | None = None
    fold: str | None = None  # which fold is test, where the Cohort is split into folds
    tiles: str | None = None  # condition on the tiles' scores: tissue > 0.5 and blur < 0.3
    bag_size: int = 256  # tiles per Bag, drawn without replacement
    batch_size: int = 8  # Bags per step
    steps: int | None = None  # None, and no epochs: the longer of 1,000 steps and 20 epochs
    epochs: float | None = None
    lr: float = 3e-3
    weight_decay: float = 1e-2  # not on biases
    warm_up: float = 0.05  # share of the steps with rising learning rate; then cosine to zero
    clip: float = 1.0  # norm of the gradient
    seed: int = 0  # of the validation cut, the Bags and the weights
    model: Pooling = "attention"
    hidden: int = 128  # width of the attention
    projection: int | None = None  # width of a layer before pooling
    dropout: float = 0.0
    standardise: bool = True  # Embeddings, by mean and standard deviation over train
    loss: Loss | None = None  # None: bce, or mse where the Target is continuous
    resamples: int = 10  # Bags per Slide at inference
    sampling: Sampling = "block"
    validation_fraction: float = 0.1  # of the train Patients; 0: none
    calibration_fraction: float = 0.1  # of them too; none where that is under 20 Slides
    patience: int = 15  # evaluations without a better validation loss before stopping; 0: never
    device: str = "auto"  # cuda where there is one, else cpu
    precision: Precision = "auto"  # bfloat16 where the device computes in it, else float32
    resident: bool = False  # keep the train Embeddings on the device and sample there

    def __post_init__(self) -> None:
        for name in ("bag_size", "batch_size", "resamples", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("steps", "epochs", "projection"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be over 0, got {value}")
        if self.steps is not None and self.epochs is not None:
            raise ConfigError("give steps or epochs, not both")
        for name in ("lr", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be over 0, got {getattr(self, name)}")
        for name in ("validation_fraction", "calibration_fraction", "dropout", "warm_up"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        for name in ("weight_decay", "patience", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        choices = {
            "model": POOLINGS,
            "loss": (None, "bce", "mse", "huber", "interval"),
            "sampling": ("block", "exact"),
            "device": ("auto", "cpu", "cuda"),
            "precision": ("auto", "float32", "bfloat16"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                names = ", ".join(str(k) for k in known if k)
                raise ConfigError(f"{name} must be one of {names}, got {getattr(self, name)!r}")
        if self.tiles is not None:
            tile_filter(self.tiles)


def loss_of(config: TrainConfig, target: Target) -> Loss:
    """The loss that a configuration means for a Target."""
    if target.kind == "continuous" and config.loss == "bce":
        raise ConfigError(f"loss bce needs a fraction or binary target, {target.name} is neither")
    return config.loss or ("mse" if target.kind == "continuous" else "bce")


def n_steps(config: TrainConfig, per_epoch: int) -> int:
    """Steps of the whole training."""
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return max(1, round(config.epochs * per_epoch))
    return max(1_000, 20 * per_epoch)
