"""What decides the result of a Run, with its help and its limits; light, for `--help` reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from featurestore.config import EngineConfig
from featurestore.errors import ConfigError
from featurestore.fields import Checked, check, setting
from featurestore.types import Device, Precision, Target
from trainer.own_model_name import named

Pooling = Literal["attention", "gated", "mean", "max"]
Sampling = Literal["block", "exact"]
Loss = Literal["bce", "mse", "huber", "interval"]
Weight = Literal["case", "slide"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides the result of a Run; saved beside the weights."""

    cohort: str = setting(help="The Cohort to train on.")
    encoder_id: str | None = setting(
        None, "encoder_id, where the store has several.", option="encoder"
    )
    tiling_id: str | None = setting(
        None, "tiling_id, where the store has several.", option="tiling"
    )
    tiles: str | None = setting(None, 'Condition on tile scores: "tissue > 0.5 and blur < 0.3".')
    bag_size: int = setting(256, "Tiles per bag, drawn without replacement.", at_least=1)
    batch_size: int = setting(8, "Bags per step.", at_least=1)
    steps: int | None = setting(
        None, "Steps.", at_least=1, shown="20 epochs, at most 1,000 steps, at least 2 epochs"
    )
    epochs: float | None = setting(
        None, "Passes over the training slides, instead of steps.", over=0
    )
    lr: float | None = setting(
        None, "Learning rate of AdamW.", over=0, shown="1.15 / D, for embeddings of D numbers"
    )
    seed: int = setting(0, "Of validation cut, bags and weights.", at_least=0)
    model: Pooling | str = setting(
        "attention", "How a bag is pooled, or a model of your own.", also="package.module:Class"
    )
    loss: Loss | None = setting(
        None, "What is made small.", shown="mse, or bce for a binary target"
    )
    weight: Weight = setting("case", "What weighs the same in the loss.")
    balance: bool = setting(False, "Let scarce labels weigh as much together as common ones.")
    resamples: int = setting(10, "Bags per slide at inference.", at_least=1)
    sampling: Sampling = setting(
        "block", "A circular block of the stored random order, or an exact draw."
    )
    fold: str | None = setting(
        None, "The test fold of a cohort split into folds.", shown="each in turn"
    )
    train_patients: int | None = setting(
        None, "Learn from a random choice of so many of train.", at_least=2, shown="all"
    )
    projection: int | None = setting(
        None, "Width of a layer before pooling.", at_least=1, shown="none"
    )
    hidden: int = setting(128, "Width of the attention.", at_least=1)
    dropout: float = setting(0.0, "Share dropped before pooling.", at_least=0, under=1)
    standardise: bool = setting(
        True, "Embeddings, by their mean and standard deviation over train."
    )
    weight_decay: float = setting(0.3, "Of AdamW; not on biases.", at_least=0)
    warm_up: float = setting(
        0.05,
        "Share of the steps with rising --lr, which then falls as a cosine.",
        at_least=0,
        under=1,
    )
    clip: float = setting(1.0, "Largest norm of the gradient.", over=0)
    validation_fraction: float = setting(
        0.1, "Share of the train patients that choose the weights.", at_least=0, under=1
    )
    calibration_fraction: float = setting(
        0.1,
        "Share of the train patients that calibrate intervals; none if under 20 slides.",
        at_least=0,
        under=1,
    )
    patience: int = setting(
        0,
        "Evaluations without a better validation loss before stopping; 0 never stops.",
        at_least=0,
    )
    device: Device = setting("auto", "Where to train.")
    precision: Precision = setting(
        "auto", "Of the wide layers; auto takes bfloat16 where the device computes in it."
    )
    resident: bool = setting(False, "Keep the train embeddings on the device.")

    def __post_init__(self) -> None:
        check(self)
        if named(self.model) and (self.projection, self.hidden, self.dropout) != (None, 128, 0.0):
            raise ConfigError(
                "projection, hidden and dropout are of the poolings that come along. Write those "
                "of your own model as package.module:Class(hidden=64)"
            )
        if self.steps is not None and self.epochs is not None:
            raise ConfigError("give steps or epochs, not both")
        if self.tiles is not None:
            from trainer.tile_filter import tile_filter  # needs polars, which --help must not load

            tile_filter(self.tiles)


@dataclass(frozen=True, kw_only=True)
class SeedsConfig(Checked):
    """How often a configuration is trained."""

    seeds: int = setting(1, "Runs that differ by seed alone, from --seed on.", at_least=1)


@dataclass(frozen=True, kw_only=True)
class SweepConfig(SeedsConfig, EngineConfig):
    """How often each combination of a Sweep is trained, and where."""

    seeds: int = setting(3, "Runs of each, from --seed on.", at_least=1)

    def __post_init__(self) -> None:
        EngineConfig.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class CurveConfig(SweepConfig):
    """On how many Patients a curve is measured."""

    sizes: str | None = setting(
        None, "Train patients: 50,100,200.", shown="all, and halves of them"
    )

    def numbers(self) -> tuple[int, ...]:
        """The sizes, none where they are chosen."""
        words = [word.strip() for word in (self.sizes or "").split(",") if word.strip()]
        if not all(word.isdecimal() and int(word) >= 2 for word in words):
            raise ConfigError(f"sizes are numbers of 2 or more, as 50,100,200, got {self.sizes!r}")
        return tuple(map(int, words))


@dataclass(frozen=True, kw_only=True)
class SettleConfig:
    """How it is measured how many resampled Bags are enough."""

    bag_sizes: tuple[int, ...] = setting(
        (16, 64, 256), "Tiles per bag; may be given several times.", option="bag-size"
    )
    resamples: int = setting(20, "The most bags of a mean.", at_least=1)
    max_slides: int | None = setting(
        None, "A random choice of so many.", at_least=1, option="slides", shown="all"
    )

    def __post_init__(self) -> None:
        check(self)
        if min(self.bag_sizes, default=0) < 1:
            raise ConfigError(f"bag-size must be at least 1, got {list(self.bag_sizes)}")


def loss_of(config: TrainConfig, target: Target) -> Loss:
    """The loss that a configuration means for a Target."""
    if target.kind == "continuous" and config.loss == "bce":
        raise ConfigError(f"loss bce needs a fraction or binary target, {target.name} is neither")
    return config.loss or ("bce" if target.kind == "binary" else "mse")
