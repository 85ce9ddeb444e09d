"""What came of a Sweep: Table 1 of the paper, with paired differences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.fields import name_of
from featurestore.types import Sweep, Target
from featurestore.words import counted, in_columns
from trainer import conformal, evaluate, floor, runs
from trainer.config import TrainConfig
from trainer.paired import Drawn, Estimate, differences, estimates

ORDERED = ("train_patients",)  # each value against the one before, others against the first
Values = Mapping[str, Any]  # fields of TrainConfig
Tried = tuple[tuple[Any, ...], int]  # values of the factors, and a seed


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
    by_case: runs.Numbers  # n Cases, and scores: mean over seeds; empty where each has one Slide
    coverage: Mapping[
        str, float
    ]  # of `conformal.counted_held`, mean over seeds; empty without intervals
    ensemble: runs.Numbers  # every number of the mean prediction over seeds

    @property
    def numbers(self) -> runs.Numbers:
        """Its scores, and what they are of."""
        own = {name: one.value for name, one in self.scores.items()}
        return {k: v for k, v in self.ensemble.items() if k in ("n", "patients", "positive")} | own


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
    n_new: int = 0  # Runs that this call made
    seconds: float = 0.0
    failures: tuple[str, ...] = ()  # Runs that could not be made, and why

    @property
    def told(self) -> tuple[runs.Score, runs.Score]:
        """The scores that it is told by."""
        return runs.scores_of(self.target)

    @property
    def floor(self) -> runs.Score:
        """The score that is held against the floor."""
        return runs.against(self.told, self.cells[0].ridge if self.cells else {})

    def tested(self) -> str:
        """On what it was tested."""
        of = f"{counted(self.n_slides, 'slide')} of {counted(self.n_patients, 'patient')}"
        positive = self.cells[0].numbers.get("positive") if self.cells else None
        return f"tested on {of}{runs.of_classes(positive)} (95% intervals by patient)"

    def text(self, head: str = "", more: Sequence[str] = ()) -> str:
        """Table 1: a row a cell, then the paired differences of each factor, and `more` of them."""
        n = sum(len(cell.run_ids) for cell in self.cells)
        lines = [
            *runs.first(self.warnings()),
            f"{head or f'sweep {self.sweep.sweep_id}'} of cohort {self.sweep.cohort}: "
            f"{counted(n, 'run')}, {self.n_new} of them new, {self.seconds:.0f} s; {self.tested()}",
            *(self._table() if self.sweep.factors else self._one()),
        ]
        if self.differences:
            lines.append("paired differences, all else equal")
            lines += in_columns(list(self._differences()))
        lines += [*more, *(f"failed      {failure}" for failure in self.failures)]
        return "\n".join([*lines, *self.next()])

    def next(self) -> Iterator[str]:
        """What to type next: of the best row, its folds of a seed on one page, or its ensemble."""
        name = self.told[0][0]
        best = max(self.cells, key=lambda cell: cell.numbers[name] or -np.inf, default=None)
        if best is not None and best.folds > 1:
            yield f"next        trephine report {' '.join(best.run_ids[: best.folds])}"
        elif best is not None:
            yield f"next        trephine predict {' '.join(best.run_ids)} --where true"

    def warnings(self) -> list[str]:
        """What must be read before any number, as of a single Run; of a table in few sentences."""
        said = [runs.RANDOM] if self.random else []
        if len(self.names) > len(self.random) > 0:
            said = [f"{runs.RANDOM}: {', '.join(self.random)}"]
        if len(self.cells) == 1:
            (cell,) = self.cells
            return said + runs.cautions(self.told, cell.numbers, cell.ridge)
        said += runs.rare(self.cells[0].numbers) if self.cells else []
        name, title, _ = self.floor
        if self.cells and all(cell.numbers[name] is None for cell in self.cells):
            said.append(f"test {title} is {runs.undefined(name, self.cells[0].numbers)}")
        n = sum(runs.is_under(cell.numbers[name], cell.ridge.get(name)) for cell in self.cells)
        if n:
            said.append(
                f"{title} of {n} of {counted(len(self.cells), 'row')} is under the ridge "
                "floor: there a straight line through mean embeddings does better than the model"
            )
        return said + (runs.few(self.cells[0].numbers) if self.cells else [])

    def _table(self) -> list[str]:
        factors, (first, second), floor = list(self.sweep.factors), self.told, self.floor
        numbers = [first[1], "± seeds", "95% interval", second[1], "± seeds", f"ridge {floor[1]}"]
        cases = any(cell.by_case for cell in self.cells)
        held = any(cell.coverage for cell in self.cells)
        numbers += [f"{first[1]} by case"] * cases + ["labels held"] * held
        rows = [[*map(option, factors), *numbers]]
        for cell in self.cells:
            row = [self.shown(name, cell.values[name]) for name in factors]
            for name, _, form in self.told:
                one = cell.scores[name]
                row += [runs.number(one.value, form), runs.number(cell.spread[name], form)]
                if name == first[0]:
                    ends = f"{runs.number(one.low, form)} to {runs.number(one.high, form)}"
                    row.append("–" if one.low is None else ends)
            row.append(runs.floor_beside(floor, cell.numbers, cell.ridge))
            row += [runs.number(cell.by_case.get(first[0]), first[2])] * cases
            rows.append([*row, *[runs.number(cell.coverage.get("coverage"), ".1%")] * held])
        return in_columns(rows)

    def _one(self) -> Iterator[str]:
        for cell in self.cells:
            how = f"pooled over {cell.folds} folds, " if cell.folds > 1 else ""
            over = f": {how}mean of {counted(cell.seeds, 'seed')}"
            for name, title, form in self.told:
                yield f"{runs.heading(title)}{cell.scores[name].text(form)}{over}"
                over = ""
            yield from runs.of_cases(self.told, cell.by_case)
            if cell.seeds > 1:
                spreads = (f"{t} ± {runs.number(cell.spread[k], f)}" for k, t, f in self.told)
                yield f"over seeds  {', '.join(spreads)}"
                yield f"as one      {runs.known(self.told, cell.ensemble)} of the mean over seeds"
            if cell.ridge:
                yield f"ridge floor {runs.known(self.told, cell.ridge)} ({how}mean embeddings)"
            if cell.coverage:
                yield f"interval    {conformal.in_words(cell.coverage)}"

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


# -- from Runs to the table ------------------------------------------------------------------------


def gathered(
    store: FeatureStore, sweep: Sweep, plans: Sequence[Planned], known: Mapping[str, str]
) -> SweepResult:
    """Read what the Runs of a grid gave, by their run_id of each key that is known."""
    tested = _tested(store, plans, known)
    of = (
        "select distinct encoder_id, name from runs join encoders using (encoder_id)"
        " where run_id in (select unnest($ids)) order by name, encoder_id"
    )
    names = dict(store.ask(of, {"ids": list(known.values())}).iter_rows())
    return SweepResult(
        sweep=sweep,
        target=tested.target,
        names=names,
        random=tuple(name for one, name in names.items() if store.encoder(one).random),
        cells=tuple(_cells(store, plans, known, tested)),
        differences=tuple(_differences(plans, tested)),
        n_slides=tested.slides.height,
        n_patients=tested.slides["patient_id"].n_unique(),
    )


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What the Runs of a grid say of the Slides that all of them were tested on."""

    target: Target
    slides: pl.DataFrame  # slide_id, case_id, patient_id, truth, in the order of all that follows
    predicted: Mapping[Tried, np.ndarray]  # (N,), folds put together
    drawn: Mapping[Tried, Drawn]  # its numbers, of resampled Patients too
    held: pl.DataFrame  # run_id, slide_id, held: whether the Run's interval holds the label

    @property
    def told(self) -> tuple[runs.Score, runs.Score]:
        """The scores that it is told by."""
        return runs.scores_of(self.target)


def _tested(store: FeatureStore, plans: Sequence[Planned], known: Mapping[str, str]) -> Tested:
    """The Slides that all Runs of a grid were tested on, and Predictions, folds put together."""
    found = store.ask(
        "select run_id, slide_id, split, truth, mean from predictions"
        " where run_id in (select unnest($ids))",
        {"ids": list(known.values())},
    )
    found = store.sound_runs(found)
    run_ids: dict[Tried, list[str]] = {}
    for plan in plans:
        run_ids.setdefault(plan.tried, []).append(known.get(plan.key, ""))
    made = set(found["run_id"])
    whole = [tried for tried, ids in run_ids.items() if made.issuperset(ids)]
    number = [(run_id, i) for i, tried in enumerate(whole) for run_id in run_ids[tried]]
    of = pl.DataFrame(number, {"run_id": pl.String, "tried": pl.Int64}, orient="row")
    tests = found.filter(split="test").join(of, on="run_id")
    wide = tests.pivot("tried", index=["slide_id", "truth"], values="mean")
    patients = store.ask(
        "select slide_id, case_id, patient_id from cohort_slides where cohort = $name"
        " order by slide_id",
        {"name": plans[0].config.cohort},
    )
    slides = patients.join(wide.drop_nulls(), on="slide_id", maintain_order="left")
    predicted = {tried: slides[str(i)].to_numpy() for i, tried in enumerate(whole)}
    target = store.target(store.cohort(plans[0].config.cohort).target)
    labels, of_whom = (slides[name].to_numpy() for name in ("truth", "patient_id"))
    drawn = {k: evaluate.drawn(labels, mean, of_whom, target) for k, mean in predicted.items()}
    held = pl.DataFrame(schema={"run_id": pl.String, "slide_id": pl.String, "held": pl.Boolean})
    for _, part in found.join(patients, on="slide_id").group_by("run_id"):
        width = None if target.kind == "binary" else conformal.calibrated_half_width(part)
        if width is not None:
            inside = part.filter(split="test").with_columns(held=conformal.held(width))
            held = held.vstack(inside.select(held.columns))
    return Tested(target=target, slides=slides, predicted=predicted, drawn=drawn, held=held)


def _cells(
    store: FeatureStore, plans: Sequence[Planned], known: Mapping[str, str], tested: Tested
) -> Iterator[Cell]:
    """Means over seeds of what was tested, with what is known of their floors."""
    frame, names = tested.slides, [name for name, _, _ in tested.told]
    floors: dict[str, dict[str, float]] = {}
    for run_id, metric, value in store.ask(
        "select run_id, metric, value from metrics where split = 'ridge_test'"
        " and run_id in (select unnest($ids))",
        {"ids": list(known.values())},
    ).iter_rows():
        floors.setdefault(run_id, {})[metric] = value
    by_cell: dict[Any, list[Planned]] = {}
    for plan in plans:
        if plan.tried in tested.predicted:
            by_cell.setdefault(plan.tried[0], []).append(plan)
    for own in by_cell.values():
        by_seed: dict[Tried, list[Planned]] = {}
        for plan in own:
            by_seed.setdefault(plan.tried, []).append(plan)
        drawn = [tested.drawn[one] for one in by_seed]
        values = {name: [float(one[name][0]) for one in drawn] for name in names}
        spread = {k: float(np.std(v, ddof=1)) if len(v) > 1 else np.nan for k, v in values.items()}
        labels = frame["truth"].to_numpy()
        ridge = [
            floor.pooled_floor(labels, [floors.get(known[one.key], {}) for one in folds])
            | floor.pooled_auc(store, [one.config for one in folds], tested.target)
            for folds in by_seed.values()
        ]
        as_one = pl.Series("mean", np.mean([tested.predicted[one] for one in by_seed], axis=0))
        yield Cell(
            values=own[0].values,
            run_ids=tuple(known[plan.key] for plan in own),
            seeds=len(by_seed),
            folds=len(own) // len(by_seed),
            scores=estimates(tested.told, drawn),
            spread=evaluate.finite(spread),
            ridge=_mean(ridge, names),
            by_case=_by_case(tested, list(by_seed)),
            coverage=_coverage(tested, [known[plan.key] for plan in own], len(by_seed)),
            ensemble=evaluate.measured(frame.with_columns(as_one), tested.target),
        )


def _by_case(tested: Tested, cell: Sequence[Tried]) -> runs.Numbers:
    """Scores of a cell by Case, mean over seeds; nothing where every Case has one Slide."""
    frames = [evaluate.by_case(tested.slides.with_columns(mean=tested.predicted[k])) for k in cell]
    n, names = frames[0].height, [name for name, _, _ in tested.told]
    if n == tested.slides.height:
        return {}
    alone = np.zeros(n)  # one Patient: no intervals
    drawn = [
        evaluate.drawn(frame["truth"].to_numpy(), frame["mean"].to_numpy(), alone, tested.target)
        for frame in frames
    ]
    return {"n": n, **_mean([{k: float(one[k][0]) for k in names} for one in drawn], names)}


def _coverage(tested: Tested, run_ids: Sequence[str], seeds: int) -> Mapping[str, float]:
    """Which labels the intervals of a cell hold; nothing where a Run has none."""
    own = tested.held.filter(pl.col("run_id").is_in(run_ids)).group_by("slide_id")
    frame = tested.slides.join(own.agg(pl.col("held").mean(), pl.len()), on="slide_id")
    whole = frame.filter(len=seeds).height == tested.slides.height
    return conformal.counted_held(frame) if whole else {}


def _mean(each: Sequence[runs.Numbers], names: Sequence[str]) -> runs.Numbers:
    """Means of the numbers that all have."""
    found = {k: [v for one in each if (v := one.get(k)) is not None] for k in names}
    return {k: float(np.mean(v)) for k, v in found.items() if len(v) == len(each)}


def _differences(plans: Sequence[Planned], tested: Tested) -> Iterator[Difference]:
    """Each value of each factor against the first, over the pairs that differ in it alone."""
    for factor in plans[0].values:
        by_value: dict[Any, dict[Any, Drawn]] = {}
        for plan in plans:
            if plan.tried in tested.drawn:
                rest = tuple(v for k, v in plan.values.items() if k != factor), plan.config.seed
                by_value.setdefault(plan.values[factor], {})[rest] = tested.drawn[plan.tried]
        values = list(by_value)
        for before, value in itertools.pairwise(values):
            base = before if factor in ORDERED else values[0]
            pairs = [rest for rest in by_value[value] if rest in by_value[base]]
            if pairs:
                groups = ([by_value[v][rest] for rest in pairs] for v in (value, base))
                found = estimates(tested.told, *groups)
                yield Difference(
                    factor=factor, value=value, base=base, pairs=len(pairs), scores=found
                )
