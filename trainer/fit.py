"""Train a Bag model on a Cohort: from the store to a Run."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from featurestore.errors import ConfigError, TrainError
from featurestore.store import FeatureStore
from featurestore.types import Target
from trainer import bags as sampling
from trainer import evaluate, plots, runs
from trainer.model import POOLINGS, BagModel, Pooling, compute_threads
from trainer.predict import predictions, resample

Loss = Literal["bce", "mse", "huber", "interval"]
Progress = Callable[[Mapping[str, Any]], None]

SPLITS = ("train", "validation", "calibration", "test")
JUDGES = 20  # validation Slides, from which on they choose the weights
STATISTICS_SLIDES = 256  # whose first rows give the mean and standard deviation of Embeddings
HUBER_DELTA = 0.1  # of the Target's range


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
    sampling: sampling.Sampling = "block"
    validation_fraction: float = 0.1  # of the train Patients; 0: none
    calibration_fraction: float = 0.1  # of them too; none where that is under 20 Slides
    patience: int = 15  # evaluations without a better validation loss before stopping; 0: never
    device: str = "auto"

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
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                names = ", ".join(str(k) for k in known if k)
                raise ConfigError(f"{name} must be one of {names}, got {getattr(self, name)!r}")
        if self.tiles is not None:
            sampling.tile_filter(self.tiles)


def train(store: FeatureStore, config: TrainConfig, progress: Progress | None = None) -> runs.Run:
    """Train on a Cohort's train Slides, predict its test Slides, publish the Run.

    Reads the store alone, never a whole-slide image. On one machine the same configuration gives
    the same result to the last digit, whatever the number of reading threads.

    Args:
        store: where the Embeddings and the Cohort are.
        config: everything that decides the result.
        progress: is called with each line of metrics.jsonl.

    Raises:
        CohortNotFound: there is no such Cohort.
        ConfigError: several Encoders or Tilings fit and none was named.
        TrainError: the Cohort cannot be trained on.
    """
    began, started = time.perf_counter(), datetime.now(UTC).replace(tzinfo=None)
    target = store.target(store.cohort(config.cohort)["target"])
    loss = loss_of(config, target)
    found = store.bags(config.cohort, config.encoder_id, config.tiling_id)
    bags = sampling.keep_tiles(store, assign_splits(found, config), config.tiles)
    check_trainable(bags, config)
    parts = {name: bags.filter(pl.col("split") == name) for name in SPLITS}
    notes = _notes(found, bags, parts)
    run_id = runs.new_run_id(asdict(config), started)
    work = store.run_dir(run_id)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        model = new_model(store, parts["train"], target, config)
        history = _fit(store, model, parts, target, loss, config, work, progress)
    save_file(model.state_dict(), work / "weights.safetensors")

    predicted, metrics = _predict_parts(store, model, parts, target, config)
    floor = evaluate.ridge_floor(
        store, pl.concat([parts["train"], parts["validation"]]), parts["test"], target
    )
    truth = parts["test"]["value"].to_numpy().astype(np.float64)
    metrics["ridge_test"] = {
        "r2": evaluate.r2(truth, floor),
        "mae": float(np.abs(floor - truth).mean()),
    }
    record = {
        "run_id": run_id,
        "cohort": config.cohort,
        "encoder_id": bags["encoder_id"][0],
        "tiling_id": bags["tiling_id"][0],
        "target": target.name,
        "target_kind": target.kind,
        "target_low": target.low,
        "target_high": target.high,
        "dim": int(bags["dim"][0]),
        "model": config.model,
        "bag_size": config.bag_size,
        "seed": config.seed,
        **{f"n_{name}": part.height for name, part in parts.items()},
        "config": asdict(config) | {"loss": loss},
        "fit": history,
        "notes": notes,
        "code_version": runs.code_version(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "started_at": started.isoformat(),
        "seconds": time.perf_counter() - began,
        "metrics": {split: evaluate.finite(values) for split, values in metrics.items()},
    }
    runs.write_record(work, record, predicted)
    plots.save_figures(work, predicted.filter(pl.col("split") == "test"), target)
    path = store.publish_run(work, run_id)
    return runs.Run(record=record, path=path, predictions=predicted)


# -- splits ----------------------------------------------------------------------------------------


def assign_splits(bags: pl.DataFrame, config: TrainConfig) -> pl.DataFrame:
    """Give every Slide one of `SPLITS`: folds resolved, validation and calibration cut from train.

    Raises:
        TrainError: the split is made of folds and none was named, or has other names.
    """
    names = sorted(bags["split"].unique().to_list())
    known = set(SPLITS)
    if config.fold is not None:
        if config.fold not in names or set(names) & known:
            raise TrainError(
                f"cohort {config.cohort!r} has no fold {config.fold!r}; its splits are "
                f"{', '.join(names)}"
            )
        is_test = pl.col("split") == config.fold
        bags = bags.with_columns(
            pl.when(is_test).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
        )
    elif not set(names) <= known:
        raise TrainError(
            f"cohort {config.cohort!r} is split into {', '.join(names)}. "
            "Name the one to test on with --fold."
        )
    if "validation" not in names:
        chosen = cut_patients(bags, config.validation_fraction, config.seed, 1)
        bags = _assign(bags, chosen, "validation")
    if "calibration" not in names:
        left = 1 - config.validation_fraction * ("validation" not in names)
        chosen = cut_patients(bags, config.calibration_fraction / left, config.seed, 3)
        calibrating = _assign(bags, chosen, "calibration")
        if (calibrating["split"] == "calibration").sum() >= runs.CALIBRATES:
            bags = calibrating
    return bags


def cut_patients(bags: pl.DataFrame, fraction: float, seed: int, stream: int) -> set[str]:
    """Choose a share of the train Patients, spread evenly over the labels; seeded.

    Patients are ordered by mean label and cut into runs of 1 / fraction; one of each is drawn.
    None is chosen where fewer than 10 Patients would leave too little of either side.
    """
    train = bags.filter(pl.col("split") == "train")
    patients = (
        train.group_by("patient_id").agg(pl.col("value").mean()).sort("value", "patient_id")
    )["patient_id"].to_list()
    n = round(len(patients) * fraction)
    if len(patients) < 10 or n < 2 or n >= len(patients):
        return set()
    rng = np.random.default_rng([seed, stream])
    return {str(rng.choice(group)) for group in np.array_split(np.array(patients), n)}


def _assign(bags: pl.DataFrame, patients: set[str], split: str) -> pl.DataFrame:
    cut = (pl.col("split") == "train") & pl.col("patient_id").is_in(sorted(patients))
    return bags.with_columns(
        pl.when(cut).then(pl.lit(split)).otherwise(pl.col("split")).alias("split")
    )


def check_trainable(bags: pl.DataFrame, config: TrainConfig) -> None:
    """Refuse, in one sentence, what cannot be trained or tested.

    Raises:
        TrainError: no test Slides, too few train Slides or Patients, or all labels equal.
    """
    train = bags.filter(pl.col("split") == "train")
    test = bags.filter(pl.col("split") == "test")
    name = f"cohort {config.cohort!r}"
    if test.is_empty():
        raise TrainError(f"{name} has no test slides with tiles. Make one with: trephine cohort")
    if train.height < 2 or train["patient_id"].n_unique() < 2:
        raise TrainError(
            f"{name} has {train.height} train slides of {train['patient_id'].n_unique()} patients; "
            "training needs at least 2 of each. Widen its condition."
        )
    if train["value"].n_unique() < 2:
        raise TrainError(
            f"all {train.height} train slides of {name} have the label {train['value'][0]:g}, so "
            "there is nothing to learn. Widen its condition."
        )
    shared = set(train["patient_id"]) & set(test["patient_id"])
    if shared:
        raise TrainError(
            f"{len(shared)} patients of {name} are in train and test, the first is "
            f"{min(shared)!r}. Make the cohort anew."
        )


def _notes(found: pl.DataFrame, bags: pl.DataFrame, parts: Mapping[str, pl.DataFrame]) -> list[str]:
    notes = []
    if lost := found.height - bags.height:
        notes.append(f"{lost} slides have no tile that passes the tile filter and are left out")
    if parts["validation"].is_empty():
        notes.append("no validation: too few patients, so the last weights are kept")
    elif parts["validation"].height < JUDGES:
        notes.append(
            f"validation has {parts['validation'].height} slides, under {JUDGES}: too few to "
            "choose weights by, so the last are kept"
        )
    if (n := parts["calibration"].height) < runs.CALIBRATES:
        notes.append(f"no intervals: calibration has {n} slides, under {runs.CALIBRATES}")
    return notes


# -- the loop --------------------------------------------------------------------------------------


def loss_of(config: TrainConfig, target: Target) -> Loss:
    """The loss that a configuration means for a Target."""
    if target.kind == "continuous" and config.loss == "bce":
        raise ConfigError(f"loss bce needs a fraction or binary target, {target.name} is neither")
    return config.loss or ("mse" if target.kind == "continuous" else "bce")


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


def new_model(
    store: FeatureStore, train: pl.DataFrame, target: Target, config: TrainConfig
) -> BagModel:
    """Make a seeded model whose first guess is the mean label, with Embeddings standardised."""
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
    return model.to(_device(config.device))


def embedding_statistics(
    store: FeatureStore, train: pl.DataFrame, config: TrainConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over tiles of (at most 256) train Slides, float32 (D,) each.

    Every Slide weighs the same. A column without spread gets a standard deviation of 1.
    """
    order = np.random.default_rng([config.seed, 2]).permutation(train.height)
    chosen = train[np.sort(order[:STATISTICS_SLIDES])]
    sampler = sampling.Sampler(chosen, config.bag_size, config.seed)
    total = np.zeros((2, int(chosen["dim"][0])))
    with store.rows(chosen) as reader:
        for i, n in enumerate(sampler.lengths.tolist()):
            x = np.empty((n, reader.dim), np.float16)
            sampler.read(reader, i, 0, 0, sampling.TRAIN, x)
            x64 = x.astype(np.float64)
            total += [x64.mean(axis=0), (x64**2).mean(axis=0)]
    mean, square = total / chosen.height
    std = np.sqrt(np.maximum(square - mean**2, 0))
    std[std < 1e-4] = 1
    return mean.astype(np.float32), std.astype(np.float32)


def _fit(
    store: FeatureStore,
    model: BagModel,
    parts: Mapping[str, pl.DataFrame],
    target: Target,
    loss: Loss,
    config: TrainConfig,
    work: Path,
    progress: Progress | None,
) -> dict[str, Any]:
    """Fit `model` in place; return what happened: steps, best step, bags per second."""
    per_epoch = max(1, round(parts["train"].height / config.batch_size))
    steps = n_steps(config, per_epoch)
    every = max(per_epoch, math.ceil(steps / 40))
    device = model.shift.device
    y = torch.from_numpy(scaled_labels(parts["train"], target)).to(device)
    optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _schedule(step, steps, config.warm_up)
    )
    best = _Best(config.patience) if parts["validation"].height >= JUDGES else None
    losses: list[Tensor] = []
    began, spent = time.perf_counter(), 0.0
    n_bags, step = 0, 0
    elements = config.batch_size * min(config.bag_size, int(parts["train"]["n_tiles"].max()))  # type: ignore[arg-type]
    with (
        compute_threads(elements * model.shift.numel()),
        (work / "metrics.jsonl").open("w", encoding="utf-8") as log,
        store.rows(parts["train"], sampling.MAX_OPEN) as reader,
        _Validation(store, parts["validation"], target, loss, config) as validation,
    ):
        for batch in _training_batches(parts["train"], reader, config, steps):
            if step % every == 0:
                mark = time.perf_counter()
                model.train()
            x, mask = torch.from_numpy(batch.x), torch.from_numpy(batch.mask)
            scores = model(x.to(device).float(), mask.to(device))
            picked = y[torch.from_numpy(batch.slides).to(device)]
            value = bag_loss(loss, scores, model.value(scores), picked)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            schedule.step()
            losses.append(value.detach())
            n_bags += len(batch.slides)
            step += 1
            if step % every and step < steps:
                continue
            spent += time.perf_counter() - mark
            line: dict[str, Any] = {
                "step": step,
                "steps": steps,
                "epoch": step / per_epoch,
                "loss": float(torch.stack(losses).mean()),
                "lr": schedule.get_last_lr()[0],
                "bags_per_s": n_bags / spent,
                "seconds": time.perf_counter() - began,
            }
            losses.clear()
            if not math.isfinite(line["loss"]):
                raise TrainError(
                    f"the loss is {line['loss']} at step {step}. Lower --lr, or check the "
                    "embeddings with: trephine verify"
                )
            line |= validation.measure(model)
            log.write(json.dumps(line) + "\n")
            if progress is not None:
                progress(line)
            if best is not None and best.update(model, step, line["validation_loss"]):
                break
    if best is not None:
        best.restore(model)
    return {
        "steps": step,
        "planned_steps": steps,
        "best_step": best.step if best is not None else step,
        "bags_per_s": n_bags / spent,
        "seconds": time.perf_counter() - began,
    }


def n_steps(config: TrainConfig, per_epoch: int) -> int:
    """Steps of the whole training."""
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return max(1, round(config.epochs * per_epoch))
    return max(1_000, 20 * per_epoch)


def _training_batches(
    train: pl.DataFrame, reader: Any, config: TrainConfig, steps: int
) -> Iterator[sampling.Batch]:
    sampler = sampling.Sampler(train, config.bag_size, config.seed, config.sampling)
    plan = sampling.training_plan(train.height, config.batch_size, config.seed)
    return sampling.batches(sampler, reader, islice(plan, steps), sampling.TRAIN)


def _schedule(step: int, steps: int, warm_up: float) -> float:
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def _parameter_groups(model: BagModel, weight_decay: float) -> list[dict[str, Any]]:
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": weights, "weight_decay": weight_decay},
        {"params": biases, "weight_decay": 0.0},
    ]


class _Best:
    """Keeps the weights of the lowest validation loss, and says when to stop."""

    def __init__(self, patience: int) -> None:
        self.patience, self.waited, self.step = patience, 0, 0
        self.loss = math.inf
        self.weights: dict[str, Tensor] | None = None

    def update(self, model: BagModel, step: int, loss: float) -> bool:
        if loss < self.loss:
            self.loss, self.step, self.waited = loss, step, 0
            self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
            return False
        self.waited += 1
        return 0 < self.patience <= self.waited

    def restore(self, model: BagModel) -> None:
        if self.weights is not None:
            model.load_state_dict(self.weights)


class _Validation:
    """Measures a model on the same validation Bags every time."""

    def __init__(
        self,
        store: FeatureStore,
        bags: pl.DataFrame,
        target: Target,
        loss: Loss,
        config: TrainConfig,
    ) -> None:
        self.n = bags.height
        if self.n == 0:
            return
        self.loss = loss
        self.y = torch.from_numpy(scaled_labels(bags, target))
        self.sampler = sampling.Sampler(bags, config.bag_size, config.seed, config.sampling)
        self.reader = store.rows(bags, sampling.MAX_OPEN)
        self.resamples = int(np.clip(256 // self.n, 1, config.resamples))

    def __enter__(self) -> _Validation:
        return self

    def __exit__(self, *_: object) -> None:
        if self.n:
            self.reader.close()

    def measure(self, model: BagModel) -> dict[str, float]:
        """Loss and R2 of mean Predictions; nothing where there is no validation."""
        if self.n == 0:
            return {}
        mean, _, _ = resample(model, self.sampler, self.reader, self.resamples, sampling.VALIDATE)
        values = torch.from_numpy(mean).float()
        scores = torch.logit(values, eps=1e-6) if self.loss == "bce" else values
        r2 = evaluate.r2(self.y[:, 0].double().numpy(), mean)
        return {
            "validation_loss": float(bag_loss(self.loss, scores, values, self.y)),
            **({"validation_r2": r2} if math.isfinite(r2) else {}),
        }


def _predict_parts(
    store: FeatureStore,
    model: BagModel,
    parts: Mapping[str, pl.DataFrame],
    target: Target,
    config: TrainConfig,
) -> tuple[pl.DataFrame, dict[str, dict[str, float]]]:
    """Predict validation, calibration and test, and measure each."""
    frames, metrics = [], {}
    for name in SPLITS[1:]:
        bags = parts[name]
        if bags.is_empty():
            continue
        sampler = sampling.Sampler(bags, config.bag_size, config.seed, config.sampling)
        with store.rows(bags) as reader:
            frame = predictions(bags, target, *resample(model, sampler, reader, config.resamples))
        truth, mean = frame["truth"].to_numpy(), frame["mean"].to_numpy()
        metrics[name] = evaluate.metrics(truth, mean, bags["patient_id"].to_numpy(), target)
        frames.append(frame)
    return pl.concat(frames), metrics


def _device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here. Pass --device cpu.")
    return torch.device(device)
