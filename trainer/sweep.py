"""Train a grid of Runs, reading the store once, and compare them: Table 1 of the paper."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from featurestore import FeatureStore
from featurestore.config import EngineConfig
from featurestore.errors import ConfigError
from featurestore.fields import to_json
from featurestore.types import Progress, Sweep, content_id, silent
from trainer import fit, runs
from trainer.config import TrainConfig
from trainer.helper import train_here
from trainer.holdout import SPLITS
from trainer.shared_store import Shared
from trainer.table_one import Planned, SweepResult, gathered, option
from trainer.training_loop import job_of


def sweep(
    store: FeatureStore,
    config: TrainConfig,
    factors: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: int = 1,
    engine: EngineConfig | None = None,
    progress: Progress = silent,
) -> SweepResult:
    """Train every combination of the factors' values, with several seeds and on every fold.

    Runs that the store has are not made again, and one that was broken off goes on; one that
    another process makes is waited for. Whatever the factors, all Runs are tested on the same
    Slides, so they are compared by paired differences.

    Factors are values by field of TrainConfig; those of `seed` and `fold` say which to take, else
    there are so many seeds from that of `config` on. Progress is called as Runs are made: how many
    are done, of how many, and which is at work.

    Raises:
        CohortNotFound, ConfigError, TrainError: a Run cannot be made as asked; none was begun.
    """
    began, shared = time.perf_counter(), Shared.of(store)
    plans = planned(shared, config, factors or {}, seeds)
    noun, n_new, failures = _noun(config, plans), 0, list[str]()
    if shared.ask("from sweeps where sweep_id = $id", {"id": noun.sweep_id}).is_empty():
        shared.record([noun], published=())
    known = shared.runs_of(plan.key for plan in plans)
    todo = {plan.key: plan for plan in plans if plan.key not in known}
    configs, n_known = {key: plan.config for key, plan in todo.items()}, len(known)
    if engine and engine.engine == "ray" and todo:
        from trainer.engines import train_on_ray

        making = train_on_ray(shared, configs, engine.address)
    else:
        making = train_here(
            shared, configs, lambda key, n: _within(progress, n_known + n, len(plans), todo[key])
        )
    with closing(making):
        for key, outcome in making:
            if isinstance(outcome, tuple):
                known[key], is_new = outcome
                n_new += is_new
            else:
                failures.append(f"{_words(todo[key])}: {outcome}")
            progress(len(known) + len(failures), len(plans), "")
    found, spent = gathered(shared, noun, plans, known), time.perf_counter() - began
    return replace(found, n_new=n_new, seconds=spent, failures=tuple(failures))


def train(
    store: FeatureStore,
    config: TrainConfig,
    seeds: int = 1,
    progress: Progress = silent,
    *,
    tensorboard: Path | None = None,
) -> runs.Run | SweepResult:
    """Train one Run; or one a fold, where the Cohort is split into folds; each with every seed."""
    if seeds == 1 and _folds(store, config) == [config.fold]:
        return fit.train(store, config, progress, tensorboard=tensorboard)
    if tensorboard:
        raise ConfigError("tensorboard shows one run: pass --fold of a cohort of folds, no --seeds")
    return sweep(store, config, seeds=seeds, progress=progress)


def planned(
    store: FeatureStore, config: TrainConfig, factors: Mapping[str, Sequence[Any]], seeds: int
) -> list[Planned]:
    """Lay out a grid: each Run's configuration as it will be recorded, and its key."""
    factors = dict(factors)
    if "seed" in factors and seeds > 1:
        raise ConfigError("give either each --seed, or the number of --seeds from one on, not both")
    chosen = factors.pop("seed", None) or range(config.seed, config.seed + seeds)
    folds = factors.pop("fold", None) or _folds(store, config)
    plans: dict[str, Planned] = {}
    for *values, seed, fold in itertools.product(*factors.values(), chosen, folds):
        own = dict(zip(factors, values, strict=True))
        job = job_of(store, replace(config, **own, seed=seed, fold=fold))
        made = {name: getattr(job.config, name) for name in factors}
        plans.setdefault(job.key, Planned(values=made, config=job.config, key=job.key))
    return list(plans.values())


def _folds(store: FeatureStore, config: TrainConfig) -> Sequence[str | None]:
    """The folds to test on in turn; one None where the Cohort has a test side."""
    if config.fold is not None or store.cohort(config.cohort).split_method in ("time", "random"):
        return [config.fold]
    sides = sorted((s.split for s in store.splits(config.cohort)), key=lambda one: (len(one), one))
    return [None] if set(sides) & set(SPLITS) else sides


def _noun(config: TrainConfig, plans: Sequence[Planned]) -> Sweep:
    swept = {name: list(dict.fromkeys(p.values[name] for p in plans)) for name in plans[0].values}
    return Sweep(
        sweep_id=content_id(sorted(plan.key for plan in plans)),
        cohort=config.cohort,
        config=to_json(config),
        factors=swept,
        runs={p.key: {**p.values, "seed": p.config.seed, "fold": p.config.fold} for p in plans},
    )


def _within(progress: Progress, done: int, runs_in_all: int, plan: Planned) -> Progress:
    return lambda step, steps, note: progress(
        done, runs_in_all, f"{_words(plan)}: step {step:,} of {steps:,}"
    )


def _words(plan: Planned) -> str:
    own = {option(name): value for name, value in plan.values.items()} | {"seed": plan.config.seed}
    own |= {"fold": plan.config.fold} if plan.config.fold is not None else {}
    return ", ".join(f"{name} {value}" for name, value in own.items())
