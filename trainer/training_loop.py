"""The course of a training: what it works on, its steps, and where it was broken off."""

from __future__ import annotations

import functools
import json
import math
import os
import pickle
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from featurestore import FeatureStore
from featurestore.device import device_of, precision_of
from featurestore.errors import TrainError
from featurestore.fields import arguments_of, to_json
from featurestore.types import Progress, content_id, silent
from trainer import evaluate, runs
from trainer.bags import Sampler, training_draws
from trainer.config import TrainConfig, loss_of, steps_of
from trainer.conformal import OUT_OF_FOLD
from trainer.draws import TRAIN, VALIDATE
from trainer.feed import MAX_OPEN, resident, streamed
from trainer.holdout import JUDGES, Division, divided, stratified
from trainer.inference import applied, resample
from trainer.learner import Learner, bag_losses, new_model, scaled_labels, slide_weights
from trainer.model import Scorer, compute_threads
from trainer.own_model import State, described

STATE = "state.pt"  # of an unfinished Run
SAVE_S, SAVE_SHARE = 5.0, 0.02  # most seconds of work that a kill costs; most time spent saving
VERSIONS = {"torch": torch.__version__, "numpy": np.__version__}
FOLDS = 5  # in which Slides that a Run learns from are predicted by models that did not


@dataclass(frozen=True, kw_only=True)
class Job(Division):
    """What a training works on."""

    store: FeatureStore
    config: TrainConfig  # with its loss decided
    device: torch.device
    start: State | None = None  # weights of a module that was handed over

    @cached_property
    def key(self) -> str:
        """Name of the work: other code, device, Embeddings or Labels have another."""
        said = [to_json(self.config), to_json(self.target), runs.code_version(), VERSIONS]
        arrays = self.bags.select("encoder_id", "tiling_id").row(0)
        return content_id([said, arrays, str(self.device), self.digest])


def job_of(
    store: FeatureStore, config: TrainConfig, model: Callable[..., Any] | None = None
) -> Job:
    """Decide what a configuration leaves open, and give every Slide its part."""
    division = store.taken(config, lambda: divided(store, config))
    bags, said, start = division.bags, config.model, None
    if model is not None:
        said, start = described(model, int(bags["dim"][0]), config.seed)
    return Job(
        store=store,
        config=replace(
            config,
            model=said,
            loss=loss_of(config, division.target),
            encoder_id=config.encoder_id and bags["encoder_id"][0],
            tiling_id=config.tiling_id and bags["tiling_id"][0],
        ),
        **vars(division),
        device=torch.device(device_of(config.device)),
        start=start,
    )


# -- the loop --------------------------------------------------------------------------------------


def learner_of(job: Job) -> Learner:
    """A new model, and what changes it."""
    model = new_model(job.store, job.parts["train"], job.target, job.config, job.start)
    model.to(job.device)
    model.precision = getattr(torch, precision_of(job.config.precision, job.device.type))
    _, steps = steps_of(job.config, job.parts["train"].height)
    return Learner(model, loss_of(job.config, job.target), job.config, steps)


@dataclass(kw_only=True)
class Course:
    """How far a training is: saved now and then, with what the Learner has."""

    started_at: str  # UTC, ISO
    step: int = 0
    gone_on: int = 0  # step at which a broken-off training went on
    n_bags: int = 0  # learnt from
    spent: float = 0.0  # seconds of steps
    seconds: float = 0.0  # of all until the last evaluation, without the time it lay broken off
    lines: list[str] = field(default_factory=list)  # of metrics.jsonl


def follow(
    job: Job, learner: Learner, course: Course, work: Path | None = None
) -> Generator[dict[str, Any]]:
    """Fit the model in place from `course` on; yield what every evaluation found.

    How far it is stands in the folder `work`, if there is one, as of an evaluation `SAVE_S` ago, or
    longer where saving takes over `SAVE_SHARE` of that.
    """
    began = time.perf_counter() - course.seconds
    due = time.perf_counter() + SAVE_S
    per_epoch, steps = steps_of(job.config, job.parts["train"].height)
    judges = job.parts["validation"].height >= JUDGES
    file = work / "metrics.jsonl" if work else Path(os.devnull)
    with (
        file.open("w", buffering=1, encoding="utf-8") as log,
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
            if work is not None and (at := time.perf_counter()) >= due:
                save(work / STATE, asdict(course) | learner.state())
                due = time.perf_counter()
                due += max(SAVE_S, (due - at) / SAVE_SHARE)
            yield line
    course.seconds = time.perf_counter() - began


def ended(job: Job, learner: Learner, course: Course) -> dict[str, Any]:
    """Keep the best weights, and say what happened: steps, bags per second."""
    return {
        "steps": course.step,
        "planned_steps": steps_of(job.config, job.parts["train"].height)[1],
        "best_step": learner.keep_best(course.step),
        "bags_per_s": course.n_bags / course.spent,
        "seconds": course.seconds,
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
    model = learner.model
    way = resident if config.resident else functools.partial(streamed, later=model.meanwhile)
    shift = model.shift.cpu() if model.centres and model.precision != torch.float32 else None
    losses: list[Tensor] = []
    with compute_threads(numbers), job.store.rows(bags, MAX_OPEN) as reader:
        for x, mask, slides in way(sampler, reader, left, TRAIN, job.device, shift):
            if not losses:
                mark = time.perf_counter()
                model.train()
            losses.append(learner.step(x, mask, y[torch.from_numpy(slides).to(job.device)]))
            course.n_bags += len(slides)
            course.step += 1
            if course.step % every and course.step < steps:
                continue
            loss = float(torch.stack(losses).mean())
            losses.clear()
            course.spent += time.perf_counter() - mark
            if not math.isfinite(loss):
                given = [one for one in ("--lr", "--weight-decay") if one in arguments_of(config)]
                lower = f"Lower {' and '.join(given) or '--lr'}"
                lower += ", and leave out --trust" * job.store.trust
                raise TrainError(f"the loss is {loss} at step {course.step}. {lower}.")
            yield loss
            if learner.stopped:
                return


@contextmanager
def _validating(job: Job) -> Iterator[Callable[[Scorer], tuple[Tensor, dict[str, float]]]]:
    """Give what measures a model on the same Bags every time: losses; their mean and a score."""
    bags, config, loss = job.parts["validation"], job.config, loss_of(job.config, job.target)
    if bags.is_empty():
        yield lambda model: (torch.zeros(0), {})
        return
    y = torch.from_numpy(scaled_labels(bags, job.target))
    sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
    resamples = int(np.clip(256 // bags.height, 1, config.resamples))
    labels, alone = bags["value"].to_numpy(), np.zeros(bags.height)  # one Patient: no intervals
    low, size = job.target.low, job.target.high - job.target.low
    name, _, _ = runs.scores_of(job.target)[0]

    def measure(model: Scorer) -> tuple[Tensor, dict[str, float]]:
        mean, _, _ = resample(model, sampler, reader, resamples, VALIDATE)
        values = torch.from_numpy(mean).float()
        scores = torch.logit(values, eps=1e-6) if loss == "bce" else values
        score = float(evaluate.drawn(labels, low + size * mean, alone, job.target)[name][0])
        losses = bag_losses(loss, scores, values, y)
        measured = {"validation_loss": float(losses.mean())}
        return losses, measured | ({f"validation_{name}": score} if math.isfinite(score) else {})

    with job.store.rows(bags, MAX_OPEN) as reader:
        yield measure


def in_words(line: Mapping[str, Any]) -> str:
    """What an evaluation found, for a person."""
    scores = {"R2": line.get("validation_r2"), "AUC": line.get("validation_auc")}
    said = "".join(f", validation {k} {v:.3f}" for k, v in scores.items() if v is not None)
    note = f"epoch {line['epoch']:.0f}, loss {line['loss']:.4f}{said}"
    return f"{note}, {line['bags_per_s']:,.0f} bags/s"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write what `load` reads."""
    new = path.with_suffix(".new")
    torch.save(state, new)
    new.replace(path)  # a kill leaves the old state or the new one, never half of one


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """What `save` wrote; None where there is nothing, or a power cut spoilt it."""
    try:
        return dict(torch.load(path, map_location=device, weights_only=True))
    except (FileNotFoundError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None


def fitted(job: Job) -> Scorer:
    """Train from the beginning, and keep the model alone."""
    with torch.random.fork_rng():
        torch.manual_seed(job.config.seed)
        learner = learner_of(job)
        for _ in follow(job, learner, course := Course(started_at="")):
            pass
        learner.keep_best(course.step)
    return learner.model


def out_of_fold(job: Job, progress: Progress = silent) -> list[pl.DataFrame]:
    """Predict the train Slides by models of the same configuration without their Patients.

    Each of `FOLDS` models learns from the other folds and from validation, so from nearly as many
    Slides as the Run's own; its last weights are kept, as the Run's own nearly always are.

    Returns:
        Frames of `inference.applied`, their split `OUT_OF_FOLD`; none of a single Patient.
    """
    train, validation = job.parts["train"], job.parts["validation"]
    n, frames = min(FOLDS, train["patient_id"].n_unique()), []
    fold = stratified(train, n, job.config.seed)
    for i in range(n) if n > 1 else ():
        rest = pl.concat([train.filter(fold != i), validation])
        own = replace(job, parts={**job.parts, "train": rest, "validation": validation.clear()})
        one = applied(job.store, fitted(own), train.filter(fold == i), job.config, job.target)
        frames.append(one.with_columns(split=pl.lit(OUT_OF_FOLD)))
        progress(i + 1, n, "models without the slides they judge")
    return frames
