"""What decides the result of a Run, with its help and its limits; light, for `--help` reads it."""

import ast
import importlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from featurestore.config import ArraysConfig, EngineConfig
from featurestore.errors import ConfigError
from featurestore.fields import Checked, check, setting
from featurestore.types import Device, Precision, Target

Pooling = Literal["attention", "gated", "mean", "max"]
Sampling = Literal["block", "exact"]
Loss = Literal["bce", "mse", "huber", "interval"]
Weight = Literal["case", "slide"]


WIDEST, MOST_BAGS, MOST = 1 << 16, 1_000_000, 1_000_000_000  # of a layer, a Slide, what is counted
LONGEST, SHORTEST, MOST_STEPS = 20, 2, 1_000  # epochs, epochs, steps: see docs/design.md, Training


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ArraysConfig):
    """Everything that decides the result of a Run; saved beside the weights."""

    cohort: str = setting(help="The Cohort to train on.")
    tiles: str | None = setting(None, 'Condition on tile scores: "tissue > 0.5 and blur < 0.3".')
    bag_size: int = setting(
        256, "Tiles per bag, drawn without replacement.", at_least=1, at_most=MOST
    )
    batch_size: int = setting(8, "Bags per step.", at_least=1, at_most=MOST)
    steps: int | None = setting(
        None,
        "Steps.",
        at_least=1,
        at_most=MOST,
        shown="20 epochs, at most 1,000 steps, at least 2 epochs",
    )
    epochs: float | None = setting(
        None, "Passes over train, instead of steps.", over=0, at_most=MOST
    )
    lr: float | None = setting(
        None, "Rate of AdamW.", over=0, at_most=1e30, shown="1.15 / width of embeddings"
    )
    seed: int = setting(0, "Of validation cut, bags and weights.", at_least=0, at_most=2**63 - 1)
    model: Pooling | str = setting(
        "attention", "How a bag is pooled, or a model of your own.", also="package.module:Class"
    )
    loss: Loss | None = setting(None, "What is made small.", shown="mse, bce of a binary target")
    weight: Weight = setting("case", "What weighs the same in the loss.")
    balance: bool = setting(False, "Let scarce labels weigh as much together as common ones.")
    resamples: int = setting(10, "Bags per slide at inference.", at_least=1, at_most=MOST_BAGS)
    sampling: Sampling = setting("block", "A block of the stored random order, or an exact draw.")
    fold: str | None = setting(None, "The test fold of a cohort of folds.", shown="each in turn")
    train_patients: int | None = setting(None, "Draw so many of train.", at_least=2, shown="all")
    projection: int | None = setting(
        None, "Width of a first layer.", at_least=1, at_most=WIDEST, shown="none"
    )
    hidden: int = setting(128, "Width of the attention.", at_least=1, at_most=WIDEST)
    dropout: float = setting(0.0, "Share dropped before pooling.", at_least=0, under=1)
    standardise: bool = setting(True, "Embeddings, by mean and standard deviation over train.")
    weight_decay: float = setting(0.3, "Of AdamW; not on biases.", at_least=0, at_most=1e30)
    warm_up: float = setting(
        0.05, "Share of steps with rising --lr; it then falls as a cosine.", at_least=0, under=1
    )
    clip: float = setting(1.0, "Largest norm of the gradient.", over=0)
    validation_fraction: float = setting(
        0.1, "Share of the train patients that choose the weights.", at_least=0, under=1
    )
    calibration_fraction: float = setting(
        0.1, "Share of them that calibrates intervals; none under 20 slides.", at_least=0, under=1
    )
    patience: int = setting(
        0, "Evaluations without a lower validation loss before a stop; 0 is never.", at_least=0
    )
    device: Device = setting("auto", "Where to train.")
    precision: Precision = setting("auto", "Of wide layers; auto: bfloat16 where there is any.")
    resident: bool = setting(False, "Keep the train embeddings on the device.")

    def __post_init__(self) -> None:
        super().__post_init__()
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

    seeds: int = setting(1, "Runs, of seeds from --seed on.", at_least=1, at_most=1_000)


@dataclass(frozen=True, kw_only=True)
class SweepConfig(EngineConfig):
    """How often each combination of a Sweep is trained, and where."""

    seeds: int | None = setting(
        None, "Runs of each.", at_least=1, at_most=1_000, shown="3, or each --seed"
    )

    def number(self, factors: Collection[str] = ()) -> int:
        """How many seeds; one where they are among the factors, unless it was said otherwise."""
        return self.seeds or (1 if "seed" in factors else 3)


@dataclass(frozen=True, kw_only=True)
class CurveConfig(SweepConfig):
    """On how many Patients a curve is measured."""

    sizes: str | None = setting(None, "Train patients: 50,100,200.", shown="all, and halves")

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
    resamples: int = setting(20, "The most bags of a mean.", at_least=1, at_most=MOST_BAGS)
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


# -- a model of one's own, by its name -------------------------------------------------------------

# A class in a module, what it is made with, and the hash of weights that it began from.
_FORM = re.compile(
    r"(?P<home>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)(\((?P<options>.*)\))?(@(?P<start>\w+))?",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Named:
    """Where a class is, and what it is made with."""

    home: str  # module
    name: str  # of the class, in it
    options: Mapping[str, Any] = field(default_factory=dict)  # literals
    start: str = ""  # hash of the weights that a made one was handed over with

    @property
    def path(self) -> str:
        """Without options and weights."""
        return f"{self.home}:{self.name}"

    def text(self) -> str:
        """What `named` reads: package.module:Class(option=value)."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return self.path + f"({given})" * bool(given) + f"@{self.start}" * bool(self.start)


def class_of(own: Named) -> type[Any]:
    """Import the class; only one of modules is ever called, whatever a Run's record says."""
    try:
        kind: Any = importlib.import_module(own.home)
        for name in own.name.split("."):
            kind = getattr(kind, name)
    except Exception as error:
        raise ConfigError(
            f"model {own.path} cannot be imported: {type(error).__name__}: {error}. Make it "
            "importable, as with the variable PYTHONPATH set to the folder of its module."
        ) from error
    bases = kind.__mro__ if isinstance(kind, type) else ()  # by name: torch is slow to import
    if ("torch.nn.modules.module", "Module") not in {(b.__module__, b.__name__) for b in bases}:
        raise ConfigError(f"model {own.path} must be a class of torch.nn.Module, got {kind!r}")
    found: type[Any] = kind
    return found


def named(model: str) -> Named | None:
    """Read what --model says of a class of one's own; None for a word, which means one of ours."""
    if ":" not in model:
        return None
    try:
        if (found := _FORM.fullmatch(model)) is None:
            raise ValueError("it names no class of a module")
        call = ast.parse(f"f({found['options'] or ''})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise ValueError("they need names")
        options = {str(one.arg): ast.literal_eval(one.value) for one in call.keywords}
    except (ValueError, SyntaxError) as error:
        raise ConfigError(
            f"model {model!r} cannot be read: {error}. "
            "Write it as package.module:Class(width=64, norm='layer')"
        ) from error
    return Named(
        home=found["home"], name=found["name"], options=options, start=found["start"] or ""
    )


def steps_of(config: TrainConfig, n_slides: int) -> tuple[int, int]:
    """Steps of an epoch over n train Slides, and of the whole training."""
    per_epoch = max(1, round(n_slides / config.batch_size))
    if config.steps is not None:
        return per_epoch, config.steps
    if config.epochs is not None:
        return per_epoch, max(1, round(config.epochs * per_epoch))
    return per_epoch, max(SHORTEST * per_epoch, min(LONGEST * per_epoch, MOST_STEPS))
