"""Train a Bag model on a Cohort: from the store to a Run."""

from __future__ import annotations

import json
import math
import pickle
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

from featurestore import FeatureStore, nouns_of
from featurestore.device import device_of, precision_of
from featurestore.errors import TrainError
from featurestore.fields import to_json
from featurestore.types import Metrics, Prediction, Progress, RunRecord, Target, content_id, now
from trainer import evaluate, runs
from trainer.bags import Sampler, training_draws
from trainer.config import Loss, TrainConfig, loss_of
from trainer.draws import TRAIN, VALIDATE
from trainer.feed import MAX_OPEN, resident, streamed
from trainer.holdout import JUDGES, SPLITS, assign_splits, check_trainable, notes
from trainer.inference import predictions, resample
from trainer.learner import (
    Learner,
    bag_losses,
    new_model,
    scaled_labels,
    slide_weights,
    steps_of,
)
from trainer.model import Scorer, compute_threads
from trainer.own import State, described
from trainer.tile_filter import keep_tiles

STATE = "state.pt"  # of an unfinished Run
VERSIONS = {"torch": torch.__version__, "numpy": np.__version__}


def train(
    store: FeatureStore,
    config: TrainConfig,
    progress: Progress | None = None,
    *,
    model: Callable[..., Any] | None = None,
    tensorboard: Path | None = None,
    draw: bool = True,
) -> runs.Run:
    """Train on a Cohort's train Slides, predict its test Slides, publish the Run.

    Reads the store alone, never a slide. On one machine the same configuration gives the same
    result to the last digit. So where a training of it was broken off, this call continues it.

    Args:
        store: where the Embeddings and the Cohort are.
        config: everything that decides the result.
        progress: is called at every evaluation: steps done, of how many, and the line in words.
        model: one of your own instead of `config.model`, see `trainer.own.OwnModel`: its class, a
            functools.partial of it, or a made module, which begins with the weights it has.
        tensorboard: folder in which TensorBoard finds the Run under its run_id.
        draw: whether the Run's folder gets its figures; the page draws its own.

    Raises:
        CohortNotFound: there is no such Cohort.
        ConfigError: several Encoders or Tilings fit and none was named.
        TrainError: the Cohort cannot be trained on.
    """
    began, started_at = time.perf_counter(), now().isoformat()
    job = job_of(store, config, model)
    with store.workplace(job.key) as work, ExitStack() as stack:
        saved = _load(work / STATE, job.device) or {"started_at": started_at}
        course = Course(**{f.name: saved[f.name] for f in fields(Course) if f.name in saved})
        course.gone_on, began = course.step, began - course.seconds
        run_id = runs.new_run_id(job.config, datetime.fromisoformat(course.started_at))
        shows = [_in_words(progress)] if progress is not None else []
        if tensorboard is not None:
            shows.append(stack.enter_context(runs.tensorboard(tensorboard / run_id)))
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(config.seed)  # dropout and new weights know no other generator
        learner = _learner(job)
        if course.gone_on:
            learner.restore(saved)
        fit = _fit(job, learner, course, work, shows)
        weights = {name: x.contiguous().clone() for name, x in learner.model.state_dict().items()}
        save_file(weights, work / "weights.safetensors")
        predicted, metrics = _predict_parts(job, learner.model)
        seconds = time.perf_counter() - began
        record = _record(job, course, run_id, fit=fit, metrics=metrics, seconds=seconds)
        if draw:
            from trainer import plots  # slow to import, and the first step need not wait for it

            patients = job.parts["test"].select("slide_id", "patient_id")
            plots.save_figures(work, predicted.join(patients, on="slide_id"), job.target)
        (work / STATE).unlink()
        path = store.publish_run(work, record, nouns_of(Prediction, predicted))
    return runs.Run(record=record, path=path, predictions=predicted)


def fitted(job: Job) -> Scorer:
    """Train as `train` does, and keep the model alone."""
    with tempfile.TemporaryDirectory() as work, torch.random.fork_rng():
        torch.manual_seed(job.config.seed)
        learner = _learner(job)
        _fit(job, learner, Course(started_at=""), Path(work), [])
    return learner.model


# -- what is to do ---------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a training works on."""

    store: FeatureStore
    config: TrainConfig  # with its loss decided
    loss: Loss
    target: Target
    bags: pl.DataFrame  # of `FeatureStore.bags`, with the split and the rows that may be drawn
    parts: Mapping[str, pl.DataFrame]  # the same by split
    notes: tuple[str, ...]
    device: torch.device
    start: State | None = None  # weights of a module that was handed over

    @cached_property
    def key(self) -> str:
        """Name of the work: other code, device, Embeddings or Labels have another."""
        labelled = ["slide_key", "patient_id", "split", "value", "low", "high", "n_tiles"]
        said = [to_json(self.config), to_json(self.target), runs.code_version(), VERSIONS]
        arrays = self.bags.select("encoder_id", "tiling_id").row(0)
        return content_id([said, arrays, str(self.device), self.bags[labelled].write_csv()])


def job_of(
    store: FeatureStore, config: TrainConfig, model: Callable[..., Any] | None = None
) -> Job:
    """Decide what a configuration leaves open, and give every Slide its part.

    Raises:
        CohortNotFound, ConfigError, TrainError: as `train` does.
    """
    target = store.target(store.cohort(config.cohort).target)
    loss = loss_of(config, target)
    found = store.bags(config.cohort, config.encoder_id, config.tiling_id)
    split = assign_splits(found, config)
    bags = keep_tiles(store, split, config.tiles)
    check_trainable(bags, config)
    parts = {name: bags.filter(pl.col("split") == name) for name in SPLITS}
    said, start = config.model, None
    if model is not None:
        said, start = described(model, int(bags["dim"][0]), config.seed)
    return Job(
        store=store,
        config=replace(
            config,
            model=said,
            loss=loss,
            encoder_id=config.encoder_id and bags["encoder_id"][0],
            tiling_id=config.tiling_id and bags["tiling_id"][0],
        ),
        loss=loss,
        target=target,
        bags=bags,
        parts=parts,
        notes=tuple(notes(split, bags, parts)),
        device=torch.device(device_of(config.device)),
        start=start,
    )


def _learner(job: Job) -> Learner:
    model = new_model(job.store, job.parts["train"], job.target, job.config, job.start)
    model.to(job.device)
    model.precision = getattr(torch, precision_of(job.config.precision, job.device.type))
    return Learner(model, job.loss, job.config, steps_of(job.config, job.parts["train"].height)[1])


# -- the loop --------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Course:
    """How far a training is: saved, with what the Learner has, at every evaluation."""

    started_at: str  # UTC, ISO
    step: int = 0
    gone_on: int = 0  # step at which a broken-off training went on
    n_bags: int = 0  # learnt from
    spent: float = 0.0  # seconds of steps
    seconds: float = 0.0  # of all until the last evaluation, without the time it lay broken off
    lines: list[str] = field(default_factory=list)  # of metrics.jsonl


Show = Callable[[Mapping[str, Any]], None]


def _fit(
    job: Job, learner: Learner, course: Course, work: Path, shows: list[Show]
) -> dict[str, Any]:
    """Fit the model in place from `course` on; return what happened: steps, bags per second."""
    began = time.perf_counter() - course.seconds
    per_epoch, steps = steps_of(job.config, job.parts["train"].height)
    judges = job.parts["validation"].height >= JUDGES
    with (
        (work / "metrics.jsonl").open("w", buffering=1, encoding="utf-8") as log,
        _validating(job) as measure,
        closing(_steps(job, learner, course)) as losses,
    ):
        log.writelines(f"{line}\n" for line in course.lines)
        for loss in losses:
            course.seconds = time.perf_counter() - began
            judged, measured = measure(learner.model)
            line: dict[str, Any] = {
                "step": course.step,
                "steps": steps,
                "epoch": course.step / per_epoch,
                "loss": loss,
                "lr": learner.lr,
                "bags_per_s": course.n_bags / course.spent,
                "seconds": course.seconds,
                **measured,
            }
            if judges:
                learner.judge(course.step, judged)
            course.lines.append(json.dumps(line))
            log.write(course.lines[-1] + "\n")
            _save(work / STATE, asdict(course) | learner.state())
            for show in shows:
                show(line)
    best_step = learner.keep_best(course.step)
    return {
        "steps": course.step,
        "planned_steps": steps,
        "best_step": best_step,
        "bags_per_s": course.n_bags / course.spent,
        "seconds": time.perf_counter() - began,
        "device": str(job.device),
        "precision": str(learner.model.precision).removeprefix("torch."),
    }


def _steps(job: Job, learner: Learner, course: Course) -> Generator[float]:
    """Take the steps that are left; yield the mean loss of those since, where to evaluate."""
    config, bags = job.config, job.parts["train"]
    per_epoch, steps = steps_of(config, bags.height)
    every = max(per_epoch, math.ceil(steps / 40))
    labels = scaled_labels(bags, job.target)
    weights = slide_weights(bags, config, labels[:, 0])
    y = torch.from_numpy(np.column_stack([labels, weights])).to(job.device)
    sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
    numbers = config.batch_size * int(sampler.lengths.max()) * learner.model.shift.numel()
    drawn = training_draws(bags.height, config.batch_size, config.seed)
    left = islice(drawn, course.step, course.step if learner.stopped else steps)
    way = resident if config.resident else streamed
    losses: list[Tensor] = []
    with compute_threads(numbers), job.store.rows(bags, MAX_OPEN) as reader:
        for x, mask, slides in way(sampler, reader, left, TRAIN, job.device):
            if not losses:
                mark = time.perf_counter()
                learner.model.train()
            losses.append(learner.step(x, mask, y[torch.from_numpy(slides).to(job.device)]))
            course.n_bags += len(slides)
            course.step += 1
            if course.step % every and course.step < steps:
                continue
            loss = float(torch.stack(losses).mean())
            losses.clear()
            course.spent += time.perf_counter() - mark
            if not math.isfinite(loss):
                _refuse_not_finite(job)
                raise TrainError(f"the loss is {loss} at step {course.step}. Lower --lr.")
            yield loss
            if learner.stopped:
                return


def _refuse_not_finite(job: Job) -> None:
    """Name the Slides whose Embeddings hold values that are no numbers, as older stores may.

    Raises:
        TrainError: there are some.
    """
    columns = ("slide_id", "slide_key", "tiling_id", "encoder_id")
    bad = [
        slide_id
        for slide_id, *ids in job.bags.select(columns).iter_rows()
        if not np.isfinite(job.store.embeddings(*ids)).all()
    ]
    if bad:
        raise evaluate.not_finite(bad)


@contextmanager
def _validating(job: Job) -> Iterator[Callable[[Scorer], tuple[Tensor, dict[str, float]]]]:
    """Give what measures a model on the same validation Bags every time: losses; their mean, R2."""
    bags, config = job.parts["validation"], job.config
    if bags.is_empty():
        yield lambda model: (torch.zeros(0), {})
        return
    y = torch.from_numpy(scaled_labels(bags, job.target))
    sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
    resamples = int(np.clip(256 // bags.height, 1, config.resamples))

    def measure(model: Scorer) -> tuple[Tensor, dict[str, float]]:
        mean, _, _ = resample(model, sampler, reader, resamples, VALIDATE)
        values = torch.from_numpy(mean).float()
        scores = torch.logit(values, eps=1e-6) if job.loss == "bce" else values
        r2 = evaluate.r2(y[:, 0].double().numpy(), mean)
        losses = bag_losses(job.loss, scores, values, y)
        measured = {"validation_loss": float(losses.mean())}
        return losses, measured | ({"validation_r2": r2} if math.isfinite(r2) else {})

    with job.store.rows(bags, MAX_OPEN) as reader:
        yield measure


def _in_words(progress: Progress) -> Show:
    def show(line: Mapping[str, Any]) -> None:
        r2 = f", validation R2 {line['validation_r2']:.3f}" if "validation_r2" in line else ""
        note = f"epoch {line['epoch']:.0f}, loss {line['loss']:.4f}{r2}"
        progress(line["step"], line["steps"], f"{note}, {line['bags_per_s']:,.0f} bags/s")

    return show


def _save(path: Path, state: Mapping[str, Any]) -> None:
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)  # a kill leaves the old state or the new one, never half of one


def _load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `_save` wrote; None where there is nothing, or a power cut spoilt it."""
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None
    return state


# -- what came of it -------------------------------------------------------------------------------


def _predict_parts(job: Job, model: Scorer) -> tuple[pl.DataFrame, Metrics]:
    """Predict validation, calibration and test, and measure each; and the ridge floor on test."""
    config, parts = job.config, job.parts
    frames: list[pl.DataFrame] = []
    metrics: dict[str, dict[str, float]] = {}
    for name in SPLITS[1:]:
        bags = parts[name]
        if bags.is_empty():
            continue
        sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
        with job.store.rows(bags) as reader:
            found = resample(model, sampler, reader, config.resamples)
        if not np.isfinite(found[0]).all():
            _refuse_not_finite(job)
        frame = predictions(bags, job.target, *found)
        patients = bags["patient_id"].to_numpy()
        label, mean = frame["truth"].to_numpy(), frame["mean"].to_numpy()
        metrics[name] = evaluate.metrics(label, mean, patients, job.target)
        frames.append(frame)
    cases = evaluate.by_case(frame.join(bags["slide_id", "case_id", "patient_id"], on="slide_id"))
    if cases.height < bags.height:  # the last ones are those of test
        label, mean, patients = (cases[c].to_numpy() for c in ("truth", "mean", "patient_id"))
        metrics["test_cases"] = evaluate.metrics(label, mean, patients, job.target)
    label = parts["test"]["value"].to_numpy().astype(np.float64)
    fitted = pl.concat([parts["train"], parts["validation"]])
    floor = evaluate.ridge_floor(job.store, fitted, parts["test"], job.target)
    patients = parts["test"]["patient_id"].to_numpy()
    metrics["ridge_test"] = evaluate.metrics(label, floor, patients, job.target)
    return pl.concat(frames), {split: evaluate.finite(values) for split, values in metrics.items()}


def _record(
    job: Job,
    course: Course,
    run_id: str,
    *,
    fit: Mapping[str, Any],
    metrics: Metrics,
    seconds: float,
) -> RunRecord:
    config, target, one = job.config, job.target, job.bags.row(0, named=True)
    notes = list(job.notes)
    if course.gone_on:
        notes.append(f"it was broken off and went on from step {course.gone_on}")
    n = {f"n_{name}": part.height for name, part in job.parts.items()}
    return RunRecord(
        run_id=run_id,
        cohort=config.cohort,
        encoder_id=one["encoder_id"],
        tiling_id=one["tiling_id"],
        config=to_json(config),
        code_version=runs.code_version(),
        versions=VERSIONS,
        target=target.name,
        target_kind=target.kind,
        target_low=target.low,
        target_high=target.high,
        dim=one["dim"],
        model=config.model,
        bag_size=config.bag_size,
        seed=config.seed,
        **n,
        fit=fit,
        notes=tuple(notes),
        started_at=datetime.fromisoformat(course.started_at),
        seconds=seconds,
        metrics=metrics,
        key=job.key,
    )
