"""What came of a Sweep: Table 1 of the paper, with paired differences."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.fields import name_of
from featurestore.types import Sweep, Target
from featurestore.words import counted, in_columns
from trainer import conformal, evaluate, floor, runs
from trainer.config import TrainConfig
from trainer.evaluate import Drawn, Estimate, differences, estimates

ABOUT = ("slide_id", "case_id", "patient_id", "label")
ORDERED = ("train_patients",)  # each value against the one before, others against the first
Values = Mapping[str, Any]  # fields of TrainConfig
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One Run of a grid."""

    values: Values  # of the factors
    config: TrainConfig
    key: str  # of what decides it; a Run that has it is this one


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Runs that differ by seed and fold alone."""

    values: Values  # of the factors
    run_ids: tuple[str, ...]
    seeds: int
    folds: int
    scores: Mapping[str, Estimate]  # mean over seeds, pooled over folds; intervals by Patient
    spread: runs.Numbers  # of scores, standard deviation over seeds, n - 1; None for one seed
    ridge: runs.Numbers  # scores of the floor that are known: mean over seeds, pooled over folds
    by_case: runs.Numbers  # n Cases, and scores as above; empty where each has one Slide
    coverage: Mapping[str, float]  # `counted_held`, mean over seeds; empty without intervals
    ensemble: runs.Numbers  # every number of the mean prediction over seeds

    @property
    def numbers(self) -> runs.Numbers:
        """Its scores, and what they are of."""
        about = {k: v for k, v in self.ensemble.items() if k in ("n", "patients", "positive")}
        return about | _numbers(self.scores)

    def seeds_apart(self, told: Sequence[runs.Score]) -> str:
        """How far seeds scatter."""
        return ", ".join(f"{title} ± {runs.number(self.spread[k], f)}" for k, title, f in told)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What one value of a factor gains over another, all else equal."""

    factor: str
    value: Any
    base: Any
    pairs: int
    scores: Mapping[str, Estimate]  # shares in points


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A Sweep with what came of it."""

    sweep: Sweep
    target: Target
    names: Mapping[str, str]  # of its Encoders, by id
    random: tuple[str, ...]  # those of them that were never trained
    cells: tuple[Cell, ...]
    differences: tuple[Difference, ...]
    n_slides: int  # tested
    n_patients: int
    n_folds: int = 0  # of the Cohort
    n_new: int = 0  # Runs that this call made
    seconds: float = 0.0
    failures: tuple[str, ...] = ()  # Runs that could not be made, and why

    @property
    def told(self) -> tuple[runs.Score, runs.Score]:
        """The scores that it is told by."""
        return runs.scores_of(self.target)

    def text(self, head: str = "", more: Sequence[str] = ()) -> str:
        """Table 1: a row a cell, then the paired differences of each factor, and `more` of them."""
        n = sum(len(cell.run_ids) for cell in self.cells)
        positive = self.cells[0].numbers.get("positive") if self.cells else None
        folds = list(dict.fromkeys(str(one["fold"]) for one in self.sweep.runs.values()))
        values = [{option(k): self.shown(k, v) for k, v in c.values.items()} for c in self.cells]
        part = f" in {named_folds(folds)} of {self.n_folds}" * (len(folds) < self.n_folds)
        lines = [
            *runs.first(self._warnings()),
            f"{head or f'sweep {self.sweep.sweep_id}'} of cohort {self.sweep.cohort}: "
            f"{counted(n, 'run')}, {self.n_new} of them new, {self.seconds:.0f} s; tested on "
            f"{counted(self.n_slides, 'slide')} of {counted(self.n_patients, 'patient')}{part}"
            f"{runs.of_classes(positive)} (95% intervals by patient)",
            *together(self.cells, self.told, values, self.n_folds),
        ]
        if self.differences:
            lines.append("paired differences, all else equal")
            lines += in_columns(list(self._differences()))
        lines += [*more, *(f"failed      {failure}" for failure in self.failures)]
        name = self.told[0][0]
        best = max(self.cells, key=lambda cell: cell.numbers[name] or -np.inf, default=None)
        if best is not None:
            how = "report {}" if best.folds > 1 else "predict {} --where true"
            lines.append(f"next        trephine {how.format(' '.join(best.run_ids))}")
        return "\n".join(lines)

    def _warnings(self) -> list[str]:
        """What must be read before any number, as of a single Run; of a table in few sentences."""
        said = [runs.RANDOM] if self.random else []
        if len(self.names) > len(self.random) > 0:
            said = [f"{runs.RANDOM}: {', '.join(self.random)}"]
        if not self.cells:
            return said
        cell = self.cells[0]
        if len(self.cells) == 1:
            return said + runs.cautions(self.told, cell.numbers, cell.ridge)
        said += runs.rare(cell.numbers)
        name, title, form = runs.against(self.told, cell.ridge)
        if all(one.numbers[name] is None for one in self.cells):
            said.append(f"test {title} is {runs.undefined(name, cell.numbers)}")
        every = (runs.lower(one.numbers[name], one.ridge.get(name), form) for one in self.cells)
        if found := [one for one in every if one]:
            where = sorted(set(found))
            said.append(
                f"{title} of {len(found)} of {counted(len(self.cells), 'row')} is "
                f"{' or '.join(where)} the ridge floor: there a straight line through mean "
                f"embeddings does {' or '.join(runs.DOES[one] for one in where)} the model"
            )
        return said + runs.few(cell.numbers)

    def _differences(self) -> Iterator[list[str]]:
        for one in self.differences:
            against = f"{self.shown(one.factor, one.value)} - {self.shown(one.factor, one.base)}"
            told = differences(self.told)
            numbers = (f"{title} {one.scores[name].text(form)}" for name, title, form in told)
            yield [option(one.factor), against, *numbers, counted(one.pairs, "pair")]

    def shown(self, factor: str, value: Any) -> str:
        """A value of a factor in words: an Encoder by its name, where that is its alone."""
        name = self.names.get(value, "") if factor == "encoder_id" else ""
        alone = list(self.names.values()).count(name) == 1
        return name if alone and name else "–" if value is None else str(value)


def option(factor: str) -> str:
    """What a field of TrainConfig is called on the command line."""
    return name_of(TrainConfig.__dataclass_fields__[factor])


def named_folds(names: Sequence[str]) -> str:
    """Folds in words."""
    *others, last = names
    return f"folds {', '.join(others)} and {last}" if others else f"fold {last}"


def together(
    cells: Sequence[Cell], told: Sequence[runs.Score], values: Sequence[Values], n_folds: int = 0
) -> Iterator[str]:
    """Numbers of Cells: in a table, by their values of factors in words; else in lines.

    Of some of the `n_folds` of a Cohort it is said that they are some.
    """
    if any(values):
        yield from _table(cells, told, values)
    else:
        for cell in cells:
            yield from _lines(cell, told, f" of {n_folds}" * (cell.folds < n_folds))


def _table(
    cells: Sequence[Cell], told: Sequence[runs.Score], values: Sequence[Values]
) -> list[str]:
    first, second = told
    least, title, form = runs.against(told, cells[0].ridge)
    numbers = [first[1], "± seeds", "95% interval", second[1], "± seeds", f"ridge {title}"]
    cases = any(cell.by_case for cell in cells)
    held = any(cell.coverage for cell in cells)
    numbers += [f"{first[1]} by case"] * cases + ["labels held"] * held
    rows = [[*values[0], *numbers]]
    for cell, own in zip(cells, values, strict=True):
        row = [*map(str, own.values())]
        for name, _, shape in told:
            one = cell.scores[name]
            row += [runs.number(one.value, shape), runs.number(cell.spread[name], shape)]
            if name == first[0]:
                ends = f"{runs.number(one.low, shape)} to {runs.number(one.high, shape)}"
                row.append("–" if one.low is None else ends)
        where = runs.lower(cell.numbers.get(least), cell.ridge.get(least), form)
        mark = f" ({title} is {where} it)" if where else ""
        row.append(runs.number(cell.ridge.get(least), form) + mark)
        row += [runs.number(cell.by_case.get(first[0]), first[2])] * cases
        rows.append([*row, *[runs.number(cell.coverage.get("coverage"), ".1%")] * held])
    return in_columns(rows)


def _lines(cell: Cell, told: Sequence[runs.Score], of: str) -> Iterator[str]:
    how = f"pooled over {cell.folds}{of} folds, " if cell.folds > 1 else ""
    over = f": {how}mean of {counted(cell.seeds, 'seed')}"
    for name, title, form in told:
        yield f"{runs.heading(title)}{cell.scores[name].text(form)}{over}"
        over = ""
    yield from runs.of_cases(told, cell.by_case)
    if cell.seeds > 1:
        yield f"over seeds  {cell.seeds_apart(told)}"
        one = (f"{t} {runs.estimate(cell.ensemble, k, f)}" for k, t, f in told)
        yield f"as one      {', '.join(one)} of the mean over seeds"
    if cell.ridge:
        yield f"ridge floor {runs.known(told, cell.ridge)} ({how}mean embeddings)"
    if cell.coverage:
        yield f"interval    {conformal.in_words(cell.coverage)}"


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One seed of a Cell: Runs that differ by fold alone, put together."""

    plans: Sequence[Planned]
    run_ids: Sequence[str]
    mean: np.ndarray  # Predictions of the Slides that all Trials were tested on, (N,)
    drawn: Drawn  # numbers of these, of resampled Patients too


@dataclass(frozen=True, kw_only=True)
class _Tested:
    """What the Runs of a grid say of the Slides that all of them were tested on."""

    target: Target
    slides: pl.DataFrame  # `ABOUT`, in the order of all that follows
    trials: Sequence[_Trial]
    found: pl.DataFrame  # all Predictions of the Runs


def gathered(
    store: FeatureStore, sweep: Sweep, plans: Sequence[Planned], known: Mapping[str, str]
) -> SweepResult:
    """Read what the Runs of a grid gave, by their run_id of each key that is known."""
    tested = _tested(store, plans, known)
    names = dict(store.named("queries/run_encoders", {"ids": list(known.values())}).iter_rows())
    return SweepResult(
        sweep=sweep,
        target=tested.target,
        names=names,
        random=tuple(name for one, name in names.items() if store.encoder(one).random),
        cells=tuple(_cells(store, tested)),
        differences=tuple(d for factor in plans[0].values for d in _differences(factor, tested)),
        n_slides=tested.slides.height,
        n_patients=tested.slides["patient_id"].n_unique(),
        n_folds=sum(side.split.isdecimal() for side in store.splits(sweep.cohort)),
    )


def cells_of(
    store: FeatureStore, loaded: Sequence[runs.Run], values: Sequence[Values]
) -> tuple[list[Cell], pl.DataFrame]:
    """Runs with what they have of some factors as Cells, and their Slides with the mean over all.

    Nothing where some lack a fold that others have, and where they share no test Slide.
    """
    plans = [
        Planned(values=own, config=run.again(), key=run.run_id)
        for run, own in zip(loaded, values, strict=True)
    ]
    tested = _tested(store, plans, {plan.key: plan.key for plan in plans})
    folds = {frozenset(one.config.fold for one in trial.plans) for trial in tested.trials}
    if len(folds) != 1:
        return [], tested.slides
    return list(_cells(store, tested)), tested.slides.with_columns(_as_one(tested.trials))


def _numbers(scores: Mapping[str, Estimate]) -> dict[str, float | None]:
    """Scores with their intervals, by names as `evaluate.metrics` has."""
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {k + end: getattr(one, of) for k, one in scores.items() for end, of in ends.items()}


def _as_one(trials: Sequence[_Trial]) -> pl.Series:
    """The mean Prediction over seeds of each Slide."""
    return pl.Series("mean", np.mean([trial.mean for trial in trials], axis=0))


def _grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    found: dict[Hashable, list[T]] = {}
    for one in items:
        found.setdefault(key(one), []).append(one)
    return list(found.values())


def _tested(store: FeatureStore, plans: Sequence[Planned], known: Mapping[str, str]) -> _Tested:
    """The Slides that all Runs of a grid were tested on, and Predictions, folds put together."""
    rows = store.named("queries/runs_tested", {"ids": list(known.values())})
    made = set((found := store.sound_runs(rows))["run_id"])
    by_trial = _grouped(plans, lambda plan: (*plan.values.values(), plan.config.seed))
    whole = [trial for trial in by_trial if all(known.get(plan.key) in made for plan in trial)]
    ids = [[known[plan.key] for plan in trial] for trial in whole]
    trial_of = {run_id: str(i) for i, own in enumerate(ids) for run_id in own}
    trial = pl.col("run_id").replace_strict(trial_of, default=None, return_dtype=pl.String)
    tests = found.filter(split="test").with_columns(trial=trial).drop_nulls("trial")
    slides = tests.pivot("trial", index=ABOUT, values="mean").drop_nulls()
    target = store.target(store.cohort(plans[0].config.cohort).target)
    trials = []
    for i, plans in enumerate(whole if slides.height else ()):
        own = slides.select(*ABOUT, mean=str(i))
        drawn = evaluate.drawn(*evaluate.arrays(own), target)
        trials.append(_Trial(plans=plans, run_ids=ids[i], mean=own["mean"].to_numpy(), drawn=drawn))
    return _Tested(target=target, slides=slides.select(ABOUT), trials=trials, found=found)


def _cells(store: FeatureStore, tested: _Tested) -> Iterator[Cell]:
    """Means over seeds of what was tested, with what is known of their floors."""
    told = runs.scores_of(tested.target)
    names, labels = [name for name, _, _ in told], tested.slides["label"].to_numpy()
    ids = [run_id for trial in tested.trials for run_id in trial.run_ids]
    floors = store.named("queries/run_floors", {"ids": ids}).rows_by_key("run_id")
    for cell in _grouped(tested.trials, lambda trial: tuple(trial.plans[0].values.values())):
        values = {name: [float(trial.drawn[name][0]) for trial in cell] for name in names}
        spread = {k: float(np.std(v, ddof=1)) if len(v) > 1 else np.nan for k, v in values.items()}
        least = [
            floor.pooled_floor(labels, [dict(floors.get(run_id, ())) for run_id in trial.run_ids])
            | floor.pooled_auc(store, [plan.config for plan in trial.plans], tested.target)
            for trial in cell
        ]
        found = {k: np.array([one.get(k) for one in least], np.float64) for k in names}
        ridge = {k: float(v.mean()) for k, v in found.items() if np.isfinite(v).all()}
        yield Cell(
            values=cell[0].plans[0].values,
            run_ids=tuple(run_id for trial in cell for run_id in trial.run_ids),
            seeds=len(cell),
            folds=len(cell[0].plans),
            scores=estimates(told, [trial.drawn for trial in cell]),
            spread=evaluate.finite(spread),
            ridge=ridge,
            by_case=_by_case(tested, cell),
            coverage=_coverage(tested, cell),
            ensemble=evaluate.measured(tested.slides.with_columns(_as_one(cell)), tested.target),
        )


def _by_case(tested: _Tested, cell: Sequence[_Trial]) -> runs.Numbers:
    """Scores of a cell by Case, mean over seeds; nothing where every Case has one Slide."""
    frames = [evaluate.by_case(tested.slides.with_columns(mean=trial.mean)) for trial in cell]
    if (n := frames[0].height) == tested.slides.height:
        return {}
    drawn = [evaluate.drawn(*evaluate.arrays(frame), tested.target) for frame in frames]
    return {"n": n, **_numbers(estimates(runs.scores_of(tested.target), drawn))}


def _coverage(tested: _Tested, cell: Sequence[_Trial]) -> Mapping[str, float]:
    """Which labels the intervals of a cell hold; nothing where a Run has none."""
    held = []
    for run_id in (run_id for trial in cell for run_id in trial.run_ids):
        part = tested.found.filter(run_id=run_id)
        width = conformal.calibrated_half_width(part)
        if width is None or tested.target.kind == "binary":
            return {}
        held.append(part.filter(split="test").with_columns(held=conformal.held(width)))
    each = pl.concat(held).group_by("slide_id").agg(pl.col("held").mean(), pl.len())
    frame = tested.slides.join(each.filter(len=len(cell)), on="slide_id")
    return conformal.counted_held(frame) if frame.height == tested.slides.height else {}


def _differences(factor: str, tested: _Tested) -> Iterator[Difference]:
    """Each value of a factor against the first, over the pairs that differ in it alone."""
    by_value: dict[Any, dict[Any, Drawn]] = {}
    for trial in tested.trials:
        plan = trial.plans[0]
        rest = [v for k, v in plan.values.items() if k != factor]
        by_value.setdefault(plan.values[factor], {})[(*rest, plan.config.seed)] = trial.drawn
    for before, value in pairwise(by_value):
        base = before if factor in ORDERED else next(iter(by_value))
        ours, theirs = by_value[value], by_value[base]
        if pairs := [pair for pair in ours if pair in theirs]:
            drawn = ([one[pair] for pair in pairs] for one in (ours, theirs))
            scores = estimates(runs.scores_of(tested.target), *drawn)
            yield Difference(factor=factor, value=value, base=base, pairs=len(pairs), scores=scores)
