"""Train a Bag model on a Cohort: from the store to a Run."""

from __future__ import annotations

import json
import math
import pickle
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from featurestore.errors import ConfigError, TrainError
from featurestore.store import FeatureStore
from featurestore.types import Target, content_id
from trainer import evaluate, runs
from trainer.adamw import AdamW
from trainer.bags import Sampler, training_plan
from trainer.config import Loss, loss_of, n_steps
from trainer.config import TrainConfig as TrainConfig
from trainer.draws import TRAIN, VALIDATE
from trainer.feed import MAX_OPEN, resident, streamed
from trainer.holdout import JUDGES, SPLITS, assign_splits, check_trainable, notes
from trainer.inference import predictions, resample
from trainer.model import BagModel, compute_threads
from trainer.tile_filter import keep_tiles

Progress = Callable[[Mapping[str, Any]], None]

STATE = "state.pt"  # of an unfinished Run
STATISTICS_SLIDES = 256  # whose first rows give the mean and standard deviation of Embeddings
HUBER_DELTA = 0.1  # of the Target's range


def train(
    store: FeatureStore,
    config: TrainConfig,
    progress: Progress | None = None,
    *,
    tensorboard: Path | None = None,
) -> runs.Run:
    """Train on a Cohort's train Slides, predict its test Slides, publish the Run.

    Reads the store alone, never a whole-slide image. On one machine the same configuration gives
    the same result to the last digit, whatever the number of reading threads. So where a training
    of the same configuration was broken off, this call continues it.

    Args:
        store: where the Embeddings and the Cohort are.
        config: everything that decides the result.
        progress: is called with each line of metrics.jsonl.
        tensorboard: folder in which TensorBoard finds the Run under its run_id.

    Raises:
        CohortNotFound: there is no such Cohort.
        ConfigError: several Encoders or Tilings fit and none was named.
        TrainError: the Cohort cannot be trained on.
    """
    began, started = time.perf_counter(), datetime.now(UTC).replace(tzinfo=None).isoformat()
    target = store.target(store.cohort(config.cohort)["target"])
    loss = loss_of(config, target)
    found = store.bags(config.cohort, config.encoder_id, config.tiling_id)
    bags = keep_tiles(store, assign_splits(found, config), config.tiles)
    check_trainable(bags, config)
    parts = {name: bags.filter(pl.col("split") == name) for name in SPLITS}
    device = device_of(config)
    known = {
        "encoder_id": bags["encoder_id"][0],
        "tiling_id": bags["tiling_id"][0],
        "config": asdict(config) | {"loss": loss},
        "code_version": runs.code_version(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }
    labelled = bags.select("slide_key", "patient_id", "split", "value", "low", "high", "n_tiles")
    key = content_id([known, asdict(target), str(device), labelled.rows()])
    with runs.workplace(store, key) as work, ExitStack() as stack:
        saved = _load(work / STATE, device)
        if saved is not None:
            began -= saved["seconds"]
            started = saved["started_at"]
        run_id = runs.new_run_id(known["config"], datetime.fromisoformat(started))
        shows = [progress] if progress is not None else []
        if tensorboard is not None:
            shows.append(stack.enter_context(runs.tensorboard(tensorboard / run_id)))
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(config.seed)
        model = new_model(store, parts["train"], target, config).to(device)
        model.precision = precision_of(config, device)
        learner = Learner(model, loss, config, _planned(parts["train"], config)[1])
        first = {"started_at": started, "step": 0, "n_bags": 0, "spent": 0.0, "seconds": 0.0}
        state = saved if saved is not None else first | {"lines": []}
        gone_on = state["step"]
        history = _fit(store, learner, parts, target, config, work, state, shows)
        save_file(model.state_dict(), work / "weights.safetensors")
        predicted, metrics = _predict_parts(store, model, parts, target, config)
        record = {
            "run_id": run_id,
            "cohort": config.cohort,
            **known,
            "target": target.name,
            "target_kind": target.kind,
            "target_low": target.low,
            "target_high": target.high,
            "dim": int(bags["dim"][0]),
            "model": config.model,
            "bag_size": config.bag_size,
            "seed": config.seed,
            **{f"n_{name}": part.height for name, part in parts.items()},
            "fit": history,
            "notes": notes(found, bags, parts),
            "started_at": started,
            "seconds": time.perf_counter() - began,
            "metrics": metrics,
        }
        if gone_on:
            record["notes"].append(f"it was broken off and went on from step {gone_on}")
        from trainer import plots  # slow to import, and the first step need not wait for it

        runs.write_record(work, record, predicted)
        tested = predicted.filter(pl.col("split") == "test")
        whose = parts["test"].select("slide_id", "patient_id")
        plots.save_figures(work, tested.join(whose, on="slide_id"), target)
        (work / STATE).unlink()
        path = store.publish_run(work, run_id)
    return runs.Run(record=record, path=path, predictions=predicted)


# -- the loop --------------------------------------------------------------------------------------


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
        self.model, self.loss, self.clip, self.patience = model, loss, config.clip, config.patience
        self.optimizer = AdamW(model.parameters(), config.weight_decay)
        self._rate = lambda step: config.lr * _schedule(step, steps, config.warm_up)
        self.best: dict[str, Any] = {"loss": math.inf, "step": 0, "waited": 0, "weights": None}

    def step(self, x: Tensor, mask: Tensor, y: Tensor) -> Tensor:
        """Learn from one batch; return its loss, not waiting for a GPU."""
        scores = self.model(x, mask)
        value = bag_loss(self.loss, scores, self.model.value(scores), y)
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step(self.lr)
        return value.detach()

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self._rate(self.optimizer.steps)

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
        return 0 < self.patience <= self.best["waited"]

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


def _fit(
    store: FeatureStore,
    learner: Learner,
    parts: Mapping[str, pl.DataFrame],
    target: Target,
    config: TrainConfig,
    work: Path,
    state: dict[str, Any],
    shows: list[Progress],
) -> dict[str, Any]:
    """Fit the model in place from `state` on; return what happened: steps, bags per second."""
    per_epoch, steps = _planned(parts["train"], config)
    every = max(per_epoch, math.ceil(steps / 40))
    model, device = learner.model, learner.model.shift.device
    if state["step"]:
        learner.restore(state)
    y = torch.from_numpy(scaled_labels(parts["train"], target)).to(device)
    sampler = Sampler(parts["train"], config.bag_size, config.seed, config.sampling)
    judges = parts["validation"].height >= JUDGES
    step, n_bags, spent = state["step"], state["n_bags"], state["spent"]
    began = time.perf_counter() - state["seconds"]
    losses: list[Tensor] = []
    with (
        compute_threads(config.batch_size * int(sampler.lengths.max()) * model.shift.numel()),
        (work / "metrics.jsonl").open("w", buffering=1, encoding="utf-8") as log,
        store.rows(parts["train"], MAX_OPEN) as reader,
        _Validation(store, parts["validation"], target, learner.loss, config) as validation,
    ):
        log.writelines(f"{line}\n" for line in state["lines"])
        plan = training_plan(parts["train"].height, config.batch_size, config.seed)
        way = resident if config.resident else streamed
        left = islice(plan, step, steps if not learner.stopped else step)
        for x, mask, slides in way(sampler, reader, left, TRAIN, device):
            if not losses:
                mark = time.perf_counter()
                model.train()
            losses.append(learner.step(x, mask, y[torch.from_numpy(slides).to(device)]))
            n_bags += len(slides)
            step += 1
            if step % every and step < steps:
                continue
            mean_loss = float(torch.stack(losses).mean())
            losses.clear()
            spent += time.perf_counter() - mark
            if not math.isfinite(mean_loss):
                raise TrainError(
                    f"the loss is {mean_loss} at step {step}. Lower --lr. If it is the "
                    "first step's too, some embeddings are not finite: embed into a new store."
                )
            line: dict[str, Any] = {
                "step": step,
                "steps": steps,
                "epoch": step / per_epoch,
                "loss": mean_loss,
                "lr": learner.lr,
                "bags_per_s": n_bags / spent,
                "seconds": time.perf_counter() - began,
                **validation.measure(model),
            }
            if judges:
                learner.judge(step, line["validation_loss"])
            state["lines"].append(json.dumps(line))
            log.write(state["lines"][-1] + "\n")
            state |= {"step": step, "n_bags": n_bags, "spent": spent, "seconds": line["seconds"]}
            _save(work / STATE, state | learner.state())
            for show in shows:
                show(line)
            if learner.stopped:
                break
    if learner.best["weights"] is not None:
        model.load_state_dict(learner.best["weights"])
    return {
        "steps": step,
        "planned_steps": steps,
        "best_step": learner.best["step"] or step,
        "bags_per_s": n_bags / spent,
        "seconds": time.perf_counter() - began,
        "device": str(device),
        "precision": str(model.precision).removeprefix("torch."),
    }


def _planned(train: pl.DataFrame, config: TrainConfig) -> tuple[int, int]:
    """Steps of an epoch, and of the whole training."""
    per_epoch = max(1, round(train.height / config.batch_size))
    return per_epoch, n_steps(config, per_epoch)


def _save(path: Path, state: Mapping[str, Any]) -> None:
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)  # a kill leaves the old state or the new one, never half of one


def _load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `_save` wrote; None where there is nothing, or a power cut spoilt it."""
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None


def _schedule(step: int, steps: int, warm_up: float) -> float:
    rising = max(1, round(warm_up * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


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
        self.sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
        self.reader = store.rows(bags, MAX_OPEN)
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
        mean, _, _ = resample(model, self.sampler, self.reader, self.resamples, VALIDATE)
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
) -> tuple[pl.DataFrame, dict[str, dict[str, float | None]]]:
    """Predict validation, calibration and test, and measure each; and the ridge floor on test."""
    frames: list[pl.DataFrame] = []
    metrics: dict[str, dict[str, float]] = {}
    for name in SPLITS[1:]:
        bags = parts[name]
        if bags.is_empty():
            continue
        sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
        with store.rows(bags) as reader:
            frame = predictions(bags, target, *resample(model, sampler, reader, config.resamples))
        truth, mean = frame["truth"].to_numpy(), frame["mean"].to_numpy()
        metrics[name] = evaluate.metrics(truth, mean, bags["patient_id"].to_numpy(), target)
        frames.append(frame)
    truth = parts["test"]["value"].to_numpy().astype(np.float64)
    fitted = pl.concat([parts["train"], parts["validation"]])
    floor = evaluate.ridge_floor(store, fitted, parts["test"], target)
    patients = parts["test"]["patient_id"].to_numpy()
    metrics["ridge_test"] = evaluate.metrics(truth, floor, patients, target)
    return pl.concat(frames), {split: evaluate.finite(values) for split, values in metrics.items()}


def device_of(config: TrainConfig) -> torch.device:
    """The device that a configuration means here."""
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here. Pass --device cpu.")
    return torch.device(config.device)


def precision_of(config: TrainConfig, device: torch.device) -> torch.dtype:
    """The precision of the wide layers: bfloat16 only where the device computes in it natively."""
    if config.precision != "auto":
        return getattr(torch, config.precision)
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can = torch.cpu.get_capabilities()
        native = any(can.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return torch.bfloat16 if native else torch.float32
