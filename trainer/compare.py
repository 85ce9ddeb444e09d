"""Runs beside each other: what differs, and paired differences by Patient."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.fields import name_of
from featurestore.types import Target
from featurestore.words import Told, counted, in_columns
from trainer import conformal, evaluate, plots, runs, table_one, verdict

ONE = ["slide_id", "label"]  # by which a tested Slide is the same
DRAWN = 6  # Runs in one figure, at most: there are so many colours
# of a record, what no two Runs have alike, or is told otherwise
OWN = {"run_id", "config", "fit", "notes", "started_at", "seconds", "metrics", "sequence", "key"}
Common = tuple[list[pl.DataFrame], list[evaluate.Drawn]]
OWN_OF_FIT = {"seconds", "bags_per_s"}


def decided(run: runs.Run) -> dict[str, Any]:
    """What decided a Run: its configuration by the names of options, and its code."""
    record, config = run.record, run.config
    made = replace(config, encoder_id=record.encoder_id, tiling_id=record.tiling_id)
    said = {name_of(one): getattr(made, one.name) for one in fields(made)}
    return said | {"code": record.code_version}


def _told(run: runs.Run) -> dict[str, Any]:
    """All that two Runs may differ in, but for what came of them."""
    known = {*OWN, "code_version", *(one.name for one in fields(run.config))}
    said = {k: v for k, v in vars(run.record).items() if k not in known}
    fit = {f"fit {k}": v for k, v in run.record.fit.items() if k not in OWN_OF_FIT}
    return decided(run) | said | fit


def _common(tests: Sequence[pl.DataFrame], target: Target) -> Common:
    """The test Slides that all Runs have with one Label, of each, and its numbers on them."""
    shared = functools.reduce(lambda one, other: one.join(other, on=ONE, how="semi"), tests)
    own = [shared.select(ONE).join(test, on=ONE, maintain_order="left") for test in tests]
    return own, [evaluate.drawn(*evaluate.arrays(one), target) for one in own if one.height]


def compare(store: FeatureStore, first: str, second: str) -> Told:
    """Say what differs between two Runs, and how they differ on the Slides both were tested on.

    A column a Run, then the second less the first, paired. ConfigError if both are one.
    """
    pair = [runs.load(store, run_id) for run_id in (first, second)]
    if pair[0].run_id == pair[1].run_id:
        raise ConfigError(f"both are run {pair[0].run_id}. Name another: trephine runs")
    all_of, ids = [_told(run) for run in pair], [run.run_id for run in pair]
    names = {name: [one.get(name) for one in all_of] for name in all_of[0] | all_of[1]}
    differs = {name: one for name, one in names.items() if one[0] != one[1]}
    target, tests = pair[0].record.about(), [run.predictions.filter(split="test") for run in pair]
    if pair[1].record.about() != target:  # labels may be equal by chance
        tests[1] = tests[1].clear()
    (both, _), found = _common(tests, target)
    n, n_patients = both.height, both["patient_id"].n_unique()
    told = runs.scores_of(target) if n else ()
    each = [evaluate.estimates(told, [one]) for one in found]
    gain = evaluate.estimates(told, found[1:], found[:1])
    positive = evaluate.is_positive(both["label"].to_numpy(), target)
    share = float(positive.mean()) if n and target.kind == "binary" else None
    warnings = [f"run {run.run_id}: {one}" for run in pair for one in run.warnings()]
    rows = [["", *ids], *([name, *map(_shown, values)] for name, values in differs.items())]
    of = f" on the {n:,} shared" if max(test.height for test in tests) > n else ""
    rows += [[f"test {t}{of}", *(one[k].text(form) for one in each)] for k, t, form in told]
    lines = [*runs.first(warnings), *in_columns(rows), *["nothing else differs"] * (not differs)]
    gains = ", ".join(f"{t} {gain[k].text(form)}" for k, t, form in evaluate.differences(told))
    lines.append(
        f"the second less the first, on {counted(n, 'slide')} of {counted(n_patients, 'patient')} "
        f"tested by both (95% interval by patient): {gains}{runs.of_classes(share)}"
        if n
        else _why_not(store, pair)
    )
    said = {"run_ids": ids, "differs": differs, "n_slides": n, "n_patients": n_patients}
    said |= {"target": target, "scores": each, "difference": gain, "positive": share}
    return Told("\n".join(lines), said | {"warnings": warnings}, gave_up=not n)


def _why_not(store: FeatureStore, pair: Sequence[runs.Run]) -> str:
    """Why there is nothing to compare two Runs on, and what to do."""
    ids, (one, other) = " ".join(run.run_id for run in pair), (run.record for run in pair)
    folds = [run.config.fold for run in pair]
    why, what = "no slide was tested by both with one label", "predict the same slides with each:"
    what += f" trephine predict {one.run_id} COHORT"
    if one.about() != other.about():
        why = f"they predict {one.target} and {other.target}"
        what = "name two runs with one target: trephine runs"
    elif one.cohort == other.cohort and None not in folds:
        why = "they were tested on folds {} and {}, which share no slide".format(*folds)
        alike = replace(pair[0].config, fold=None) == replace(pair[1].config, fold=None)
        rest = [one.split for one in store.splits(one.cohort) if one.split not in folds]
        what = f"pool the folds with: trephine report {ids}"
        if rest:
            more = f"run{'s' * (len(rest) > 1)} of {table_one.named_folds(rest)}"
            what = f"to pool the folds, add the {more} to: trephine report {ids}"
        what = what if alike else "name two runs of one fold: trephine runs"
    return f"{why}, so they cannot be compared; {what}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return "–" if value is None else str(value)


def view(
    store: FeatureStore, loaded: Sequence[runs.Run], tests: Sequence[pl.DataFrame]
) -> dict[str, Any]:
    """Gather what the page says of several Runs together; the first is what others are held to."""
    settings, differ = _settings(loaded)
    target = loaded[0].record.about()
    common = (slides, *_), _ = _common(tests, target)
    short = _short(loaded, settings, [k for k in differ if k != "code"])
    scores = [(name, title.replace("R2", "R²"), form) for name, title, form in loaded[0].scores]
    # a Run that was made twice counts once
    once = sorted({str(one): i for i, one in reversed([*enumerate(settings)])}.values())
    factors = [k for k in differ if k not in ("seed", "fold")]
    short_of = missing(store, loaded)
    once = [i for i in once if _row(settings[i], differ) not in short_of]
    values = [{k: settings[i][k] for k in factors} for i in once]
    cells, pool = list[table_one.Cell](), slides
    if once and len(factors) < len(differ):
        cells, pool = table_one.cells_of(store, [loaded[i] for i in once], values)
    pooled = _pooled(cells[0], pool, loaded[0]) if cells and not factors else None
    return {
        "differ": differ,
        "settings": settings,
        "short": short,
        "pooled": pooled,
        "n": slides.height,
        "apart": slides.height < max(test.height for test in tests),
        "patients": slides["patient_id"].n_unique(),
        "figures": [*(pooled["figures"] if pooled else ()), *_figures(short, common, target)],
        "scores": scores,
        "cells": cells if factors and any(c.seeds > 1 or c.folds > 1 for c in cells) else None,
        "lacking": lacking(short_of),
    }


def _settings(loaded: Sequence[runs.Run]) -> tuple[list[dict[str, Any]], list[str]]:
    """What decided each Run, in words, and the names of what differs."""
    named = (decided(run) | {"encoder": run.encoder.name, "device": ""} for run in loaded)
    settings = [{name: in_words(value) for name, value in one.items()} for one in named]
    return settings, [k for k in settings[0] if len({str(one[k]) for one in settings}) > 1]


def _row(own: Mapping[str, Any], differ: Sequence[str]) -> str:
    """What tells the Runs that are alike but for seed and fold; empty if all are."""
    factors = [k for k in differ if k not in ("seed", "fold")]
    return ", ".join(f"{k.replace('-', ' ')} {own[k]}" for k in factors)


def lacking(rows: Mapping[str, str]) -> list[str]:
    """Why some or all Runs of a cross-validation are not pooled, of `missing`; nothing of none."""
    said = "; ".join(f"{row}: {gaps}" if row else gaps for row, gaps in rows.items())
    return [f"Not pooled: {said}. Name the missing runs too, or train them."] if said else []


def missing(store: FeatureStore, loaded: Sequence[runs.Run]) -> dict[str, str]:
    """The rows of Runs of several folds that lack some of their Cohort, and which these are."""
    settings, differ = _settings(loaded)
    made: dict[str, dict[int, list[str]]] = {}  # folds that are missing, of each seed of each row
    for run, own in zip(loaded, settings, strict=True):
        if "fold" in differ and (fold := run.config.fold) is not None:
            every = [one.split for one in store.splits(run.record.cohort)]
            rest = made.setdefault(_row(own, differ), {}).setdefault(run.config.seed, every)
            rest[:] = [one for one in rest if one != fold]
    return {row: _gaps(seeds) for row, seeds in made.items() if any(seeds.values())}


def _gaps(seeds: Mapping[int, Sequence[str]]) -> str:
    first, *others = seeds.values()
    if all(other == first for other in others):
        return f"{table_one.named_folds(first)} {'are' if len(first) > 1 else 'is'} missing"
    gaps = ((seed, fold) for seed in sorted(seeds) for fold in seeds[seed])
    return ", ".join(f"seed {seed} lacks fold {fold}" for seed, fold in gaps)


def _figures(short: Sequence[str], common: Common, target: Target) -> Iterator[dict[str, Any]]:
    """What each gains over the first, and all Predictions; nothing of a single Slide."""
    tested, drawn = common
    if tested[0].height < 2:
        return
    scores = runs.scores_of(target)
    gains = [evaluate.estimates(scores, [one], drawn[:1]) for one in drawn[1:]]
    for name, title, form in evaluate.differences(scores):
        rows = [
            {"name": short[i], "css": i % 6, **vars(one[name])}
            for i, one in enumerate(gains, 1)
            if one[name].value is not None
        ]
        if rows:
            of = "mean absolute error" if name == "mae" else title.replace("R2", "R²")
            svg = plots.intervals(rows, f"Difference to {short[0]}", 0, form)
            yield {"title": f"Difference of {of}", "svg": svg}
    labels = tested[0]["label"].to_numpy()
    named = [
        (name, one["mean"].to_numpy()) for name, one in zip(short, tested[:DRAWN], strict=False)
    ]
    if target.kind == "binary":
        yield {"title": "ROC curve", "svg": plots.roc(labels, named, target)}
    else:
        svg = plots.both(labels, named, target)
        yield {"title": "Predictions against label", "svg": svg}


def _pooled(cell: table_one.Cell, slides: pl.DataFrame, one: runs.Run) -> dict[str, Any]:
    """Folds of a cross-validation, seeds, or both, as the terminal tells them: as one."""
    target, scores = one.record.about(), one.scores
    said = runs.cautions(scores, cell.numbers, cell.ridge, one.encoder.random)
    return {
        "cautions": verdict.told(said),
        "cell": cell,
        "floor": verdict.score(cell.ridge, target),
        "score": verdict.score(cell.numbers, target),
        "spread": cell.seeds_apart(scores).replace("R2", "R²"),
        "as_one": verdict.score(cell.ensemble, target),
        "by_case": cell.by_case and verdict.score(cell.by_case, target),
        "held": cell.coverage and conformal.in_words(cell.coverage),
        "figures": plots.figures(slides, target)[:2],
    }


def as_text(found: Mapping[str, Any], told: Sequence[runs.Score]) -> Iterator[str]:
    """What a `view` has of Runs together, for a terminal; nothing where that is nothing."""
    yield from runs.first(found["lacking"])
    pooled = found["pooled"] or {"cautions": ()}
    cells = [pooled["cell"]] if found["pooled"] else found["cells"] or []
    for cell in cells[:1]:
        n, patients = (int(cell.ensemble[name] or 0) for name in ("n", "patients"))
        of = f"{counted(n, 'slide')} of {counted(patients, 'patient')}"
        yield f"together    on {of} (95% intervals by patient)"
    yield from (f"{one.level:12}{one.text}" for one in pooled["cautions"])
    yield from table_one.together(cells, told, [cell.values for cell in cells])


def in_words(value: Any) -> Any:
    """A value of a configuration, as a person says it."""
    if value is None:
        return "default"
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _short(
    loaded: Sequence[runs.Run], settings: Sequence[Mapping[str, Any]], differ: Sequence[str]
) -> list[str]:
    """The shortest that tells a Run: what differs, where that is little."""
    if not 1 <= len(differ) <= 3:
        return [run.run_id for run in loaded]
    plain = ("encoder", "model", "cohort")
    words = {k: "" if k in plain else f"{k.replace('-', ' ')} " for k in differ}
    return [", ".join(f"{word}{one[k]}" for k, word in words.items()) for one in settings]
