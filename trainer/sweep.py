"""Train a grid of Runs, reading the store once, and compare them: Table 1 of the paper."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.config import EngineConfig
from featurestore.errors import TrephineError
from featurestore.fields import name_of, to_json
from featurestore.types import Progress, Sweep, Target, content_id
from featurestore.words import counted, in_columns
from trainer import evaluate, fit, runs
from trainer.config import TrainConfig
from trainer.holdout import SPLITS
from trainer.paired import Estimate, Paired
from trainer.shared_store import Shared
from trainer.training_loop import job_of

ORDERED = ("train_patients",)  # each value against the one before, others against the first
Values = Mapping[str, Any]  # fields of TrainConfig


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Runs that differ by seed and fold alone."""

    values: Values  # of the factors
    run_ids: tuple[str, ...]
    seeds: int
    folds: int
    r2: Estimate  # mean over seeds, pooled over folds; its interval by Patient
    mae: Estimate
    r2_spread: float | None  # standard deviation over seeds, n - 1; None for one seed
    mae_spread: float | None
    ridge_r2: float | None  # mean over its Runs; None for folds, whose floors are not pooled
    ensemble: Mapping[str, float | None]  # every number of the mean prediction over seeds


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What one value of a factor gains over another, all else equal."""

    factor: str
    value: Any
    base: Any
    pairs: int
    r2: Estimate
    mae: Estimate


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A Sweep with what came of it."""

    sweep: Sweep
    names: Mapping[str, str]  # of its Encoders, by id
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    n_slides: int  # tested
    n_patients: int
    n_new: int  # Runs that this call made
    seconds: float
    failures: tuple[str, ...]  # Runs that could not be made, and why

    def text(self) -> str:
        """Table 1: a row a cell, then the paired differences of each factor."""
        n = sum(len(cell.run_ids) for cell in self.cells)
        lines = [
            f"sweep {self.sweep.sweep_id} of cohort {self.sweep.cohort}: {counted(n, 'run')}, "
            f"{self.n_new} of them new, {self.seconds:.0f} s; "
            f"tested on {counted(self.n_slides, 'slide')} of {counted(self.n_patients, 'patient')}",
            *(self._table() if self.sweep.factors else self._one()),
        ]
        if self.differences:
            lines.append("paired differences, all else equal (95% interval by patient)")
            lines += in_columns(list(self._differences()))
        lines += [f"failed      {failure}" for failure in self.failures]
        best = max(self.cells, key=lambda cell: cell.r2.value or -np.inf, default=None)
        if best is not None:
            lines.append(f"next        trephine predict {' '.join(best.run_ids)} --where true")
        return "\n".join(lines)

    def _table(self) -> list[str]:
        factors = list(self.sweep.factors)
        head = [
            *map(option, factors),
            "R2",
            "± seeds",
            "95% interval",
            "MAE",
            "± seeds",
            "ridge R2",
        ]
        rows = [
            [
                *(self.shown(name, cell.values[name]) for name in factors),
                runs.number(cell.r2.value, ".3f"),
                runs.number(cell.r2_spread, ".3f"),
                f"{runs.number(cell.r2.low, '.3f')} to {runs.number(cell.r2.high, '.3f')}",
                runs.number(cell.mae.value, ".2f"),
                runs.number(cell.mae_spread, ".2f"),
                runs.number(cell.ridge_r2, ".3f"),
            ]
            for cell in self.cells
        ]
        return in_columns([head, *rows])

    def _one(self) -> Iterator[str]:
        for cell in self.cells:
            how = f"pooled over {cell.folds} folds, " if cell.folds > 1 else ""
            yield f"test R2     {cell.r2.text('.3f')}: {how}mean of {cell.seeds} seeds"
            yield f"test MAE    {cell.mae.text('.2f')}"
            if cell.seeds > 1:
                yield f"over seeds  R2 ± {runs.number(cell.r2_spread, '.3f')}, " + (
                    f"MAE ± {runs.number(cell.mae_spread, '.2f')}"
                )
                known = (runs.number(cell.ensemble.get(k), ".3f") for k in ("r2", "mae"))
                yield "as one      R2 {}, MAE {} of the mean over seeds".format(*known)
            if cell.ridge_r2 is not None:
                yield f"ridge floor R2 {cell.ridge_r2:.3f} (mean embeddings)"

    def _differences(self) -> Iterator[list[str]]:
        for one in self.differences:
            against = f"{self.shown(one.factor, one.value)} - {self.shown(one.factor, one.base)}"
            numbers = f"R2 {one.r2.text('+.3f')}", f"MAE {one.mae.text('+.2f')}"
            yield [option(one.factor), against, *numbers, f"{one.pairs} pairs"]

    def shown(self, factor: str, value: Any) -> str:
        """A value of a factor in words: an Encoder by its name, where that is its alone."""
        name = self.names.get(value, "") if factor == "encoder_id" else ""
        alone = list(self.names.values()).count(name) == 1
        return name if alone and name else "–" if value is None else str(value)


def option(factor: str) -> str:
    """What a field of TrainConfig is called on the command line."""
    return name_of(TrainConfig.__dataclass_fields__[factor])


# -- the grid --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One Run of a grid."""

    values: Values  # of the factors
    seed: int
    fold: str | None
    config: TrainConfig
    key: str  # of what decides it; a Run that has it is this one


def sweep(
    store: FeatureStore,
    config: TrainConfig,
    factors: Mapping[str, Sequence[Any]] | None = None,
    *,
    seeds: int = 1,
    engine: EngineConfig | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Train every combination of the factors' values, with several seeds and on every fold.

    Runs that the store has are not made again, and one that was broken off goes on. Whatever the
    factors, all Runs are tested on the same Slides, so they are compared by paired differences.

    Args:
        store: where the Embeddings and the Cohort are.
        config: what all Runs share.
        factors: values by field of TrainConfig; those of `seed` and `fold` say which to take.
        seeds: from the seed of `config` on, unless `factors` names them.
        engine: where they are trained; here if None.
        progress: is called as Runs are made: how many are done, of how many, and which is at work.

    Raises:
        CohortNotFound, ConfigError, TrainError: a Run cannot be made as asked; none was begun.
    """
    began, shared = time.perf_counter(), Shared(store.root)
    plans = planned(shared, config, factors or {}, seeds)
    noun = _noun(config, plans)
    if shared.ask("from sweeps where sweep_id = $id", {"id": noun.sweep_id}).is_empty():
        shared.record([noun], published=())
    known, failures = _done(shared, plans), []
    todo = {plan.key: plan for plan in plans if plan.key not in known}
    done = len(known)
    for key, outcome in _made(shared, todo, engine or EngineConfig(), progress, len(plans)):
        if isinstance(outcome, str):
            known[key] = outcome
        else:
            failures.append(f"{_words(todo[key])}: {outcome}")
        if progress is not None:
            progress(len(known) + len(failures), len(plans), "")
    tested = _tested(shared, plans, known)
    return SweepResult(
        sweep=noun,
        names=dict(shared.ask("select encoder_id, name from encoders").iter_rows()),
        **_compared(shared, plans, known, tested),
        n_slides=tested.slides.height,
        n_patients=tested.slides["patient_id"].n_unique(),
        n_new=len(known) - done,
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
    )


def _made(
    store: Shared,
    todo: Mapping[str, Planned],
    engine: EngineConfig,
    progress: Progress | None,
    n_all: int,
) -> Iterator[tuple[str, str | TrephineError]]:
    """Make Runs, here or on a cluster; give the run_id of each by its key, or why it failed."""
    if engine.engine == "ray" and todo:
        from trainer.engines import train_on_ray

        configs = {key: plan.config for key, plan in todo.items()}
        yield from train_on_ray(store, configs, engine.address)
        return
    for i, (key, plan) in enumerate(todo.items(), n_all - len(todo)):
        try:
            show = progress and _within(progress, i, n_all, plan)
            yield key, fit.train(store, plan.config, show, draw=False).run_id
        except TrephineError as error:
            yield key, error


def train(
    store: FeatureStore,
    config: TrainConfig,
    seeds: int = 1,
    progress: Progress | None = None,
    *,
    tensorboard: Path | None = None,
) -> runs.Run | SweepResult:
    """Train one Run; or one a fold, where the Cohort is split into folds; each with every seed.

    Raises:
        CohortNotFound, ConfigError, TrainError: as `fit.train` does.
    """
    if seeds == 1 and _folds(store, config) == [config.fold]:
        return fit.train(store, config, progress, tensorboard=tensorboard)
    return sweep(store, config, seeds=seeds, progress=progress)


def planned(
    store: FeatureStore, config: TrainConfig, factors: Mapping[str, Sequence[Any]], seeds: int
) -> list[Planned]:
    """Lay out a grid: each Run's configuration as it will be recorded, and its key."""
    factors = dict(factors)
    chosen = factors.pop("seed", None) or range(config.seed, config.seed + seeds)
    folds = factors.pop("fold", None) or _folds(store, config)
    plans: dict[str, Planned] = {}
    for values in itertools.product(*factors.values()):
        own = dict(zip(factors, values, strict=True))
        for seed, fold in itertools.product(chosen, folds):
            job = job_of(store, replace(config, **own, seed=seed, fold=fold))
            made = {name: getattr(job.config, name) for name in factors}
            plan = Planned(values=made, seed=seed, fold=fold, config=job.config, key=job.key)
            plans.setdefault(plan.key, plan)
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
        runs={p.key: {**p.values, "seed": p.seed, "fold": p.fold} for p in plans},
    )


def _done(store: FeatureStore, plans: Sequence[Planned]) -> dict[str, str]:
    """The Runs of a grid that the store has, by key; the newest of each."""
    known = "select key, max(run_id) from runs where key in (select unnest($keys)) group by key"
    return dict(store.ask(known, {"keys": [plan.key for plan in plans]}).iter_rows())


def _within(progress: Progress, done: int, runs_in_all: int, plan: Planned) -> Progress:
    return lambda step, steps, note: progress(
        done, runs_in_all, f"{_words(plan)}: step {step:,} of {steps:,}"
    )


def _words(plan: Planned) -> str:
    own = {option(name): value for name, value in plan.values.items()} | {"seed": plan.seed}
    own |= {"fold": plan.fold} if plan.fold is not None else {}
    return ", ".join(f"{name} {value}" for name, value in own.items())


# -- what came of it -------------------------------------------------------------------------------

Tried = tuple[str, int]  # values of the factors, written, and a seed


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Test Predictions on the Slides that all Runs of a grid were tested on, folds put together."""

    slides: pl.DataFrame  # slide_id, patient_id, truth
    predicted: Mapping[Tried, np.ndarray]  # (N,)


def _tested(store: FeatureStore, plans: Sequence[Planned], known: Mapping[str, str]) -> Tested:
    found = store.ask(
        "select run_id, slide_id, truth, mean from predictions"
        " where split = 'test' and run_id in (select unnest($ids))",
        {"ids": list(known.values())},
    ).partition_by("run_id", as_dict=True)
    frames: dict[Tried, list[pl.DataFrame]] = {}
    for plan in plans:
        frames.setdefault(_tried(plan), []).append(found.get((known.get(plan.key),), _NONE))
    whole = {
        tried: pl.concat([part.drop("run_id") for part in parts])
        for tried, parts in frames.items()
        if all(part.height for part in parts)
    }
    patients = store.ask(
        "select slide_id, patient_id from cohort_slides where cohort = $name order by slide_id",
        {"name": plans[0].config.cohort},
    )
    for frame in whole.values():
        patients = patients.join(frame, on="slide_id", how="semi", maintain_order="left")
    both = {
        tried: patients.join(frame, on="slide_id", maintain_order="left")
        for tried, frame in whole.items()
    }
    slides = next(iter(both.values()), patients.with_columns(truth=0.0).clear())
    return Tested(
        slides=slides.select("slide_id", "patient_id", "truth"),
        predicted={tried: frame["mean"].to_numpy() for tried, frame in both.items()},
    )


_NONE = pl.DataFrame(schema={"run_id": pl.String})


def _tried(plan: Planned) -> Tried:
    return content_id(plan.values), plan.seed


def _compared(
    store: FeatureStore, plans: Sequence[Planned], known: Mapping[str, str], tested: Tested
) -> dict[str, Any]:
    """Cells and differences of what was tested."""
    target = store.target(store.cohort(plans[0].config.cohort).target)
    by_cell: dict[str, list[Planned]] = {}
    for plan in plans:
        if _tried(plan) in tested.predicted:
            by_cell.setdefault(_tried(plan)[0], []).append(plan)
    floors = store.ask(
        "select run_id, value from metrics where split = 'ridge_test' and metric = 'r2'"
        " and run_id in (select unnest($ids))",
        {"ids": list(known.values())},
    )
    floor = dict(floors.iter_rows())
    return {
        "cells": tuple(_cell(own, known, tested, target, floor) for own in by_cell.values()),
        "differences": tuple(_differences(list(by_cell.values()), tested)),
    }


def _cell(
    plans: Sequence[Planned],
    known: Mapping[str, str],
    tested: Tested,
    target: Target,
    floor: Mapping[str, float],
) -> Cell:
    seeds = list(dict.fromkeys(map(_tried, plans)))
    predicted = np.stack([tested.predicted[one] for one in seeds])
    labels, patients = (tested.slides[c].to_numpy() for c in ("truth", "patient_id"))
    run_ids = tuple(known[plan.key] for plan in plans)
    scores = Paired(labels, [predicted], patients).of(0)
    each = np.array([[evaluate.r2(labels, p), np.abs(p - labels).mean()] for p in predicted])
    spread = each.std(axis=0, ddof=1).tolist() if len(seeds) > 1 else [None, None]
    folds = len(plans) // len(seeds)
    floors = [floor.get(one) for one in run_ids]
    known_floors = [one for one in floors if one is not None]
    return Cell(
        values=plans[0].values,
        run_ids=run_ids,
        seeds=len(seeds),
        folds=folds,
        **scores,
        r2_spread=spread[0],
        mae_spread=spread[1],
        ridge_r2=float(np.mean(known_floors)) if known_floors and folds == 1 else None,
        ensemble=evaluate.finite(
            evaluate.metrics(labels, predicted.mean(axis=0), patients, target)
        ),
    )


def _differences(cells: Sequence[Sequence[Planned]], tested: Tested) -> Iterator[Difference]:
    """Each value of each factor against the first, over the pairs that differ in it alone."""
    labels, patients = (tested.slides[c].to_numpy() for c in ("truth", "patient_id"))
    plans = [plan for cell in cells for plan in cell]
    for factor in plans[0].values if plans else ():
        by_value: dict[Any, dict[Any, np.ndarray]] = {}
        for plan in plans:
            rest = content_id([{**plan.values, factor: None}, plan.seed])
            by_value.setdefault(plan.values[factor], {})[rest] = tested.predicted[_tried(plan)]
        first, *others = by_value
        for before, value in zip(by_value, others, strict=False):
            base = before if factor in ORDERED else first
            pairs = [rest for rest in by_value[value] if rest in by_value[base]]
            if not pairs:
                continue
            groups = [np.stack([by_value[v][rest] for rest in pairs]) for v in (value, base)]
            found = Paired(labels, groups, patients).difference(0, 1)
            yield Difference(factor=factor, value=value, base=base, pairs=len(pairs), **found)
