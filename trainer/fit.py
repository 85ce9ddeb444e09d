"""Train a Bag model on a Cohort: from the store to a Run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import save_file

from featurestore import FeatureStore, nouns_of
from featurestore.errors import TrainError
from featurestore.fields import to_json
from featurestore.types import Metrics, Prediction, Progress, RunRecord, now, silent
from trainer import conformal, evaluate, floor, runs
from trainer.config import TrainConfig
from trainer.holdout import SPLITS
from trainer.inference import applied
from trainer.model import Scorer
from trainer.training_loop import (
    STATE,
    VERSIONS,
    Course,
    Job,
    ended,
    follow,
    in_words,
    job_of,
    learner_of,
    load,
    out_of_fold,
)


def train(
    store: FeatureStore,
    config: TrainConfig,
    progress: Progress = silent,
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
        progress: gets every evaluation: steps done, of how many, and the line in words.
        model: one of your own instead of `config.model`, see `trainer.own_model.OwnModel`: its
            class, a functools.partial of it, or a made module, which begins with its weights.
        tensorboard: folder in which TensorBoard finds the Run under its run_id.
        draw: whether the Run's folder gets figures of its own; the page draws all of them.

    Raises:
        CohortNotFound, ConfigError, TrainError: the Cohort cannot be trained on as asked.
    """
    began, started_at = time.perf_counter(), now().isoformat()
    job = job_of(store, config, model)
    with _memory_told(), store.workplace(job.key) as work:
        saved = load(work / STATE, job.device) or {"started_at": started_at}
        course = Course(**{f.name: saved[f.name] for f in fields(Course) if f.name in saved})
        course.gone_on, began = course.step, began - course.seconds
        run_id = runs.new_run_id(job.config, datetime.fromisoformat(course.started_at))
        events = tensorboard and tensorboard / run_id
        came = _learn(job, course, work, saved, progress, events) | {"run_id": run_id}
        predicted = came.pop("predicted")
        record = _record(job, course, **came, seconds=time.perf_counter() - began)
        if draw:
            from trainer import plots  # slow to import, and the first step need not wait for it

            plots.save_figures(work, predicted.filter(pl.col("split") == "test"), job.target)
        (work / STATE).unlink(missing_ok=True)
        path = store.publish_run(work, record, nouns_of(Prediction, predicted))
    encoder = store.encoder(record.encoder_id)
    return runs.Run(record=record, path=path, predictions=predicted, encoder=encoder)


@contextmanager
def _memory_told() -> Iterator[None]:
    """Say that memory does not suffice; what was saved stays, and goes on where there is more."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise TrainError(
                "the memory is not enough for this training. Lower --hidden, --projection, "
                "--batch-size or --bag-size, or give it more"
            ) from error
        raise


def _learn(
    job: Job,
    course: Course,
    work: Path,
    saved: Mapping[str, Any],
    progress: Progress,
    events: Path | None,
) -> dict[str, Any]:
    """Fit from `course` on, write the weights, predict; what of this a Run's record has."""
    with ExitStack() as stack:
        boards = [stack.enter_context(runs.tensorboard(events))] if events else []
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(job.config.seed)  # dropout and new weights know no other generator
        learner = learner_of(job)
        if course.gone_on:
            learner.restore(saved)
        for line in stack.enter_context(closing(follow(job, learner, course, work))):
            progress(line["step"], line["steps"], in_words(line))
            for board in boards:
                board(line)
        fit, done = ended(job, learner, course), course.step  # what follows counts as more steps
        weights = {name: x.contiguous().clone() for name, x in learner.model.state_dict().items()}
        save_file(weights, work / "weights.safetensors")
        predicted, metrics = _predict_parts(
            job, learner.model, lambda i, n, note: progress(done + i, done + n, note)
        )
    notes = (*job.notes, *_notes(job, course, predicted))
    return {"fit": fit, "metrics": metrics, "notes": notes, "predicted": predicted}


# -- what came of it -------------------------------------------------------------------------------


def _predict_parts(job: Job, model: Scorer, progress: Progress) -> tuple[pl.DataFrame, Metrics]:
    """Predict validation, calibration and test, and measure each; and the ridge floor on test.

    Where few Slides calibrate, those of train are predicted too, by other models.
    """
    config, parts = job.config, job.parts
    frames: list[pl.DataFrame] = []
    metrics: dict[str, Mapping[str, float | None]] = {}
    for name in SPLITS[1:]:  # test is the last
        bags = parts[name]
        if bags.is_empty():
            continue
        frame = applied(job.store, model, bags, config, job.target)
        metrics[name] = evaluate.measured(frame, job.target)
        frames.append(frame)
    fitted = pl.concat([parts["train"], parts["validation"]])
    metrics |= floor.beside(job.store, fitted, bags, frame, job.target)
    cases = parts["calibration"]["case_id"].n_unique()  # a Case calibrates once
    few = cases < conformal.CROSSES and job.target.kind != "binary"
    if config.calibration_fraction and few and parts["train"].height >= conformal.CROSSED:
        frames += out_of_fold(job, progress)
    return pl.concat(frames), metrics


def _notes(job: Job, course: Course, predicted: pl.DataFrame) -> Iterator[str]:
    """What a reader must know of the course of a training, its Labels and its intervals."""
    if course.gone_on:
        yield f"it was broken off and went on from step {course.gone_on}"
    kind = job.target.kind
    if kind == "binary":
        parts = {k: v["value"].to_numpy() for k, v in job.parts.items() if v.height}
        counts = ((k, evaluate.is_positive(v, job.target).sum(), len(v)) for k, v in parts.items())
        yield f"positive slides: {', '.join(f'{n} of {all_} in {k}' for k, n, all_ in counts)}"
    elif conformal.calibrated_half_width(predicted) is None:
        yield conformal.why_none(predicted, kind)
    labels = job.parts["test"]["value"].to_numpy()
    if known := evaluate.ceiling(job.store, job.config.cohort, labels, job.target):
        yield known


def _record(job: Job, course: Course, **came: Any) -> RunRecord:
    config, target, one = job.config, job.target, job.bags.row(0, named=True)
    n: dict[str, Any] = {f"n_{name}": part.height for name, part in job.parts.items()}
    return RunRecord(
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
        started_at=datetime.fromisoformat(course.started_at),
        key=job.key,
        **n,
        **came,
    )
