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
from featurestore.types import Progress, Sweep, content_id
from featurestore.words import counted, in_columns
from trainer import evaluate, fit, runs
from trainer.config import TrainConfig
from trainer.holdout import SPLITS
from trainer.paired import Estimate, Paired
from trainer.shared_store import Shared
from trainer.training_loop import job_of

ORDERED = ("train_patients",)  # each value against the one before, others against the first
Values = Mapping[str, Any]  # fields of TrainConfig
Tried = tuple[tuple[Any, ...], int]  # values of the factors, and a seed


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
    ridge_r2: float | None  # of the floor: mean over seeds, pooled over folds
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
            *(f"warning     {warning}" for warning in self.warnings()),
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
        if best is not None and best.folds > 1:  # the page that puts the folds of a seed together
            lines.append(f"next        trephine report {' '.join(best.run_ids[: best.folds])}")
        elif best is not None:
            lines.append(f"next        trephine predict {' '.join(best.run_ids)} --where true")
        return "\n".join(lines)

    def warnings(self) -> list[str]:
        """What must be read before any number, as of a single Run; of a table in few sentences."""
        tested: dict[str, float | None] = {"n": self.n_slides, "patients": self.n_patients}
        if len(self.cells) == 1:
            (cell,) = self.cells
            numbers = tested | {"r2": cell.r2.value}
            return runs.cautions(runs.scores_of("fraction"), numbers, {"r2": cell.ridge_r2})
        n = sum(runs.is_under(cell.r2.value, cell.ridge_r2) for cell in self.cells)
        under = (
            f"R2 of {n} of {counted(len(self.cells), 'row')} is under the ridge floor: there a "
            "straight line through mean embeddings does better than the model"
        )
        return ([under] if n else []) + (runs.few(tested) if self.cells else [])

    def _table(self) -> list[str]:
        factors = list(self.sweep.factors)
        numbers = ["R2", "± seeds", "95% interval", "MAE", "± seeds", "ridge R2"]
        head = [*map(option, factors), *numbers]
        rows = [
            [
                *(self.shown(name, cell.values[name]) for name in factors),
                runs.number(cell.r2.value, ".3f"),
                runs.number(cell.r2_spread, ".3f"),
                f"{runs.number(cell.r2.low, '.3f')} to {runs.number(cell.r2.high, '.3f')}",
                runs.number(cell.mae.value, ".2f"),
                runs.number(cell.mae_spread, ".2f"),
                runs.floor_beside(cell.r2.value, cell.ridge_r2),
            ]
            for cell in self.cells
        ]
        return in_columns([head, *rows])

    def _one(self) -> Iterator[str]:
        for cell in self.cells:
            how = f"pooled over {cell.folds} folds, " if cell.folds > 1 else ""
            seeds = counted(cell.seeds, "seed")
            yield f"test R2     {cell.r2.text('.3f')}: {how}mean of {seeds}"
            yield f"test MAE    {cell.mae.text('.2f')}"
            if cell.seeds > 1:
                yield f"over seeds  R2 ± {runs.number(cell.r2_spread, '.3f')}, " + (
                    f"MAE ± {runs.number(cell.mae_spread, '.2f')}"
                )
                known = (runs.number(cell.ensemble.get(k), ".3f") for k in ("r2", "mae"))
                yield "as one      R2 {}, MAE {} of the mean over seeds".format(*known)
            if cell.ridge_r2 is not None:
                yield f"ridge floor R2 {cell.ridge_r2:.3f} ({how}mean embeddings)"

    def _differences(self) -> Iterator[list[str]]:
        for one in self.differences:
            against = f"{self.shown(one.factor, one.value)} - {self.shown(one.factor, one.base)}"
            numbers = f"R2 {one.r2.text('+.3f')}", f"MAE {one.mae.text('+.2f')}"
            yield [option(one.factor), against, *numbers, counted(one.pairs, "pair")]

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
    config: TrainConfig
    key: str  # of what decides it; a Run that has it is this one

    @property
    def tried(self) -> Tried:
        """What it tries, whatever the fold."""
        return tuple(self.values.values()), self.config.seed


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
    made = "select key, max(run_id) from runs where key in (select unnest($keys)) group by key"
    known = dict(shared.ask(made, {"keys": [plan.key for plan in plans]}).iter_rows())
    failures = []
    todo = {plan.key: plan for plan in plans if plan.key not in known}
    done = len(known)
    for key, outcome in _made(shared, todo, engine or EngineConfig(), progress, len(plans)):
        if isinstance(outcome, str):
            known[key] = outcome
        else:
            failures.append(f"{_words(todo[key])}: {outcome}")
        if progress is not None:
            progress(len(known) + len(failures), len(plans), "")
    slides, predicted = _tested(shared, plans, known)
    return SweepResult(
        sweep=noun,
        names=dict(shared.ask("select encoder_id, name from encoders").iter_rows()),
        cells=tuple(_cells(shared, plans, known, slides, predicted)),
        differences=tuple(_differences(plans, slides, predicted)),
        n_slides=slides.height,
        n_patients=slides["patient_id"].n_unique(),
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
            plan = Planned(values=made, config=job.config, key=job.key)
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


# -- what came of it -------------------------------------------------------------------------------

Predicted = Mapping[Tried, np.ndarray]  # test Predictions of the Slides that all were tested on


def _tested(
    store: FeatureStore, plans: Sequence[Planned], known: Mapping[str, str]
) -> tuple[pl.DataFrame, Predicted]:
    """The Slides that all Runs of a grid were tested on, and Predictions, folds put together."""
    found = store.ask(
        "select run_id, slide_id, truth, mean from predictions"
        " where split = 'test' and run_id in (select unnest($ids))",
        {"ids": list(known.values())},
    )
    run_ids: dict[Tried, list[str]] = {}
    for plan in plans:
        run_ids.setdefault(plan.tried, []).append(known.get(plan.key, ""))
    made = set(found["run_id"])
    whole = [tried for tried, ids in run_ids.items() if made.issuperset(ids)]
    number = [(run_id, i) for i, tried in enumerate(whole) for run_id in run_ids[tried]]
    of = pl.DataFrame(number, {"run_id": pl.String, "tried": pl.Int64}, orient="row")
    wide = found.join(of, on="run_id").pivot("tried", index=["slide_id", "truth"], values="mean")
    patients = store.ask(
        "select slide_id, patient_id from cohort_slides where cohort = $name order by slide_id",
        {"name": plans[0].config.cohort},
    )
    slides = patients.join(wide.drop_nulls(), on="slide_id", maintain_order="left")
    return slides, {tried: slides[str(i)].to_numpy() for i, tried in enumerate(whole)}


def _cells(
    store: FeatureStore,
    plans: Sequence[Planned],
    known: Mapping[str, str],
    slides: pl.DataFrame,
    predicted: Predicted,
) -> Iterator[Cell]:
    """Means over seeds of what was tested, with what is known of their floors."""
    target = store.target(store.cohort(plans[0].config.cohort).target)
    labels, patients = slides["truth"].to_numpy(), slides["patient_id"].to_numpy()
    floors: dict[str, dict[str, float]] = {}
    for run_id, metric, value in store.ask(
        "select run_id, metric, value from metrics where split = 'ridge_test'"
        " and metric in ('n', 'rmse') and run_id in (select unnest($ids))",
        {"ids": list(known.values())},
    ).iter_rows():
        floors.setdefault(run_id, {})[metric] = value
    by_cell: dict[Any, list[Planned]] = {}
    for plan in plans:
        if plan.tried in predicted:
            by_cell.setdefault(plan.tried[0], []).append(plan)
    for own in by_cell.values():
        each = np.stack([predicted[one] for one in dict.fromkeys(plan.tried for plan in own)])
        scores = np.array([[evaluate.r2(labels, p), np.abs(p - labels).mean()] for p in each])
        spread = scores.std(axis=0, ddof=1) if len(each) > 1 else [np.nan, np.nan]
        spreads = evaluate.finite(dict(zip(("r2", "mae"), spread, strict=True)))
        run_ids, folds = tuple(known[plan.key] for plan in own), len(own) // len(each)
        floor = evaluate.pooled_floor(labels, [floors.get(one, {}) for one in run_ids])
        together = evaluate.metrics(labels, each.mean(axis=0), patients, target)
        yield Cell(
            values=own[0].values,
            run_ids=run_ids,
            seeds=len(each),
            folds=folds,
            **Paired(labels, [each], patients).of(0),
            r2_spread=spreads["r2"],
            mae_spread=spreads["mae"],
            ridge_r2=floor.get("r2"),
            ensemble=evaluate.finite(together),
        )


def _differences(
    plans: Sequence[Planned], slides: pl.DataFrame, predicted: Predicted
) -> Iterator[Difference]:
    """Each value of each factor against the first, over the pairs that differ in it alone."""
    labels, patients = slides["truth"].to_numpy(), slides["patient_id"].to_numpy()
    for factor in plans[0].values:
        by_value: dict[Any, dict[Any, np.ndarray]] = {}
        for plan in plans:
            if plan.tried in predicted:
                rest = tuple(v for k, v in plan.values.items() if k != factor), plan.config.seed
                by_value.setdefault(plan.values[factor], {})[rest] = predicted[plan.tried]
        values = list(by_value)
        for before, value in itertools.pairwise(values):
            base = before if factor in ORDERED else values[0]
            pairs = [rest for rest in by_value[value] if rest in by_value[base]]
            if pairs:
                groups = [np.stack([by_value[v][rest] for rest in pairs]) for v in (value, base)]
                found = Paired(labels, groups, patients).difference(0, 1)
                yield Difference(factor=factor, value=value, base=base, pairs=len(pairs), **found)
