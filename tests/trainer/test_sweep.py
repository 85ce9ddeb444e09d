"""A Sweep: its grid, what it does not make again, and Table 1 against numbers made by hand."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
import torch
from builders import embedding_stores as es
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore
from featurestore.config import SplitConfig
from featurestore.errors import ConfigError, TrainError
from featurestore.fields import to_json
from featurestore.types import Case, Slide, Sweep, Target, TargetKind
from trainer import TrainConfig, compare, evaluate, helper, page, runs, train
from trainer.config import SweepConfig
from trainer.evaluate import estimates
from trainer.floor import pooled_floor, ridge_floor
from trainer.holdout import assign_splits
from trainer.shared_store import Shared
from trainer.sweep import SweepResult, sweep

QUICK = TrainConfig(cohort="all", steps=12, resamples=2)
SEVERAL = pytest.mark.skipif(torch.get_num_threads() < 2, reason="a second process needs a core")
FACTORS = {"bag_size": [4, 16], "model": ["attention", "mean"]}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Forty-two Slides; Cohorts `all`, by time, and `folds`, three of them."""
    x, values = es.planted(42, 12, dim=6)
    root = tmp_path_factory.mktemp("sweep") / "store"
    made = es.build(root, x, values.tolist())
    es.freeze(made)
    es.freeze(made, "folds", "folds")
    return made


@pytest.fixture(scope="module")
def table(store: FeatureStore) -> SweepResult:
    return sweep(store, QUICK, FACTORS, seeds=2)


def test_a_sweep_is_every_combination_and_its_runs_are_those_of_train(
    store: FeatureStore, table: SweepResult
) -> None:
    assert [dict(cell.values) for cell in table.cells] == [
        {"bag_size": size, "model": model}
        for size in FACTORS["bag_size"]
        for model in FACTORS["model"]
    ]
    assert table.n_new == len(table.sweep.runs) == 8
    assert {cell.seeds for cell in table.cells} == {2}
    one = runs.load(store, table.cells[2].run_ids[1])
    alone = train(store, replace(QUICK, bag_size=16, seed=1))
    assert one.record.metrics == alone.record.metrics
    assert one.record.key == alone.record.key
    assert one.predictions.sort("slide_id").equals(alone.predictions.sort("slide_id"))


def test_done_runs_are_not_made_again_and_the_sweep_is_one_row(
    store: FeatureStore, table: SweepResult
) -> None:
    again = sweep(store, QUICK, FACTORS, seeds=2)
    assert again.n_new == 0
    assert again.sweep.sweep_id == table.sweep.sweep_id
    assert again.differences == table.differences
    assert store.sql("from sweeps where sweep_id = $id", {"id": again.sweep.sweep_id}).height == 1
    wider = sweep(store, QUICK, {**FACTORS, "bag_size": [4, 16, 64]}, seeds=2)
    assert wider.n_new == 4


def test_a_killed_sweep_goes_on(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    def stop(done: int, total: int, note: str) -> None:
        told.append(done)
        if done == 2:
            raise KeyboardInterrupt

    config = replace(QUICK, lr=1e-3)
    with pytest.raises(KeyboardInterrupt):
        sweep(store, config, {"bag_size": [4, 16]}, seeds=2, progress=stop)
    assert sweep(store, config, {"bag_size": [4, 16]}, seeds=2).n_new == 2


@pytest.mark.parametrize("sizes", [([4, 8], [4, 8]), ([4, 8], [8, 16]), ([8, 4], [16, 8, 4])])
def test_of_sweeps_at_once_each_run_is_made_by_one_and_used_by_all(
    store: FeatureStore, sizes: tuple[list[int], list[int]]
) -> None:
    """Each order, for they may meet at any Run."""
    config = replace(QUICK, steps=2, lr=2e-3 + len(sizes[1]) / 1e4, clip=float(sizes[1][0]))
    with ThreadPoolExecutor(2) as pool:  # locks are of an open folder, not of a process
        found = list(pool.map(lambda own: sweep(store, config, {"bag_size": own}), sizes))
    assert_made_once(store, found, len({*sizes[0], *sizes[1]}))


def assert_made_once(store: FeatureStore, found: list[SweepResult], n: int) -> None:
    """Sweeps are complete, from so many Runs in all, and those that two have are the same."""
    keys = {key for one in found for key in one.sweep.runs}
    rows = store.ask("select run_id from runs where key in (select unnest($k))", {"k": [*keys]})
    assert (len(keys), rows.height, sum(one.n_new for one in found)) == (n, n, n)
    cells = [{cell.values["bag_size"]: cell for cell in one.cells} for one in found]
    assert [len(own) for own in cells] == [len(one.sweep.runs) for one in found]
    assert not [failure for one in found for failure in one.failures]
    for size in cells[0].keys() & cells[1].keys():
        assert cells[0][size] == cells[1][size]
    assert not [*(store.root / "tmp").iterdir()]


MAKES = """
import sys, time
from pathlib import Path
from trainer import TrainConfig
from trainer.sweep import sweep
from featurestore import FeatureStore

def hold(done, total, note):
    if "step" in note and done:
        said = Path(sys.argv[2])
        said.touch()
        while said.exists():
            time.sleep(0.01)

config = TrainConfig(cohort="all", steps=2, resamples=2, lr=3e-3)
print(sweep(FeatureStore(sys.argv[1]), config, {"bag_size": [4, 8]}, progress=hold).n_new)
"""


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.proof
def test_a_sweep_waits_for_the_run_that_another_process_makes(
    tmp_path: Path, is_killed: bool
) -> None:
    """Where that is killed, it makes the Run itself."""
    store = es.build(tmp_path / "store", *es.planted(42, 12, dim=6))
    es.freeze(store)
    at_work, told = tmp_path / "at_work", list[int]()
    config = TrainConfig(cohort="all", steps=2, resamples=2, lr=3e-3)
    words = [sys.executable, "-c", MAKES, str(store.root), str(at_work)]
    other, pool = subprocess.Popen(words, stdout=subprocess.PIPE, text=True), ThreadPoolExecutor(1)
    try:
        wait_until(lambda: at_work.exists() or other.poll() is not None)
        ours = pool.submit(
            lambda: sweep(
                store, config, {"bag_size": [16, 8]}, progress=lambda n, of, note: told.append(n)
            )
        )
        wait_until(lambda: 1 in told or ours.done())
        time.sleep(0.3)
        assert not ours.done()
        assert max(told) == 1
        if is_killed:
            other.kill()
        at_work.unlink()
        said = other.communicate(timeout=60)[0]
        found = ours.result(60)
    finally:
        other.kill()
        other.communicate()
        pool.shutdown()
    assert (said, found.n_new) == (("", 2) if is_killed else ("2\n", 1))
    assert store.runs()["bag_size"].sort().to_list() == [4, 8, 16]
    theirs = sweep(store, config, {"bag_size": [4, 8]})
    assert_made_once(store, [theirs, replace(found, n_new=3)], 3)


def wait_until(done: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.02)


@SEVERAL
@pytest.mark.proof
def test_a_second_process_gives_the_same_numbers(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "WORTH_S", 0)
    begun: list[str] = []
    config = replace(QUICK, lr=2e-3, device="cpu")
    table = sweep(
        store, config, {"bag_size": [4, 16]}, seeds=4, progress=lambda *said: begun.append(said[2])
    )
    assert table.n_new == 8
    begun_here = {note.split(": step")[0] for note in begun if ": step" in note}
    assert 0 < len(begun_here) < 8
    for run_id in [one for cell in table.cells for one in cell.run_ids]:
        made = runs.load(store, run_id)
        alone = train(store, made.config)
        assert alone.record.key == made.record.key
        assert alone.record.metrics == made.record.metrics
        assert alone.predictions.sort("slide_id").equals(made.predictions.sort("slide_id"))


@SEVERAL
def test_each_run_is_made_once_if_the_second_process_is_killed(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "WORTH_S", 0)
    killed: list[int | None] = []

    def kill(done: int, total: int, note: str) -> None:
        for process in multiprocessing.active_children():
            killed.append(process.pid)
            process.kill()

    config = replace(QUICK, lr=3e-3, device="cpu")
    table = sweep(store, config, {"bag_size": [4, 16]}, seeds=2, progress=kill)
    assert killed
    assert not table.failures
    assert table.n_new == len(table.sweep.runs) == 4
    made = "select count(*) as n from runs where key in (select unnest($keys))"
    assert store.ask(made, {"keys": list(table.sweep.runs)})["n"][0] == 4
    assert not multiprocessing.active_children()


def test_a_store_of_many_runs_opens_elsewhere_with_nothing_that_it_read(
    store: FeatureStore,
) -> None:
    shared = Shared.of(FeatureStore(store.root, trust=True))
    read = shared.bags("all")
    assert shared.once("it", lambda: 1) == shared.once("it", lambda: 2) == 1
    other = pickle.loads(pickle.dumps(shared))
    assert other.trust
    assert other.once("it", lambda: 2) == 2
    assert other.bags("all").equals(read)
    assert other.bags("all") is other.bags("all") is not read


def test_its_numbers_are_those_of_its_runs(store: FeatureStore, table: SweepResult) -> None:
    cell = table.cells[0]
    each = [runs.load(store, one) for one in cell.run_ids]
    for name in ("r2", "mae"):
        values = [run.metric(name) for run in each]
        assert cell.scores[name].value == pytest.approx(np.mean(values))
        assert cell.spread[name] == pytest.approx(np.std(values, ddof=1))
    floors = [run.metric("r2", "ridge_test") for run in each]
    assert cell.ridge["r2"] == pytest.approx(np.mean(floors))
    both = [one.predictions.filter(pl.col("split") == "test").sort("slide_id") for one in each]
    mean = (both[0]["mean"] + both[1]["mean"]).to_numpy() / 2
    assert cell.ensemble["r2"] == pytest.approx(evaluate.r2(both[0]["label"].to_numpy(), mean))
    size = next(one for one in table.differences if one.factor == "bag_size")
    assert size.pairs == 4
    large, small = (
        np.mean([c.scores["r2"].value for c in table.cells if c.values["bag_size"] == n])
        for n in (16, 4)
    )
    assert size.scores["r2"].value == pytest.approx(large - small)


def test_the_page_has_the_cells_of_the_terminal(store: FeatureStore, table: SweepResult) -> None:
    made = [runs.load(store, one) for cell in table.cells for one in cell.run_ids]
    view = compare.view(store, made, [page.test_slides(store, run) for run in made])
    found = [(one.seeds, one.scores, one.spread, one.ensemble) for one in view["cells"]]
    assert found == [(one.seeds, one.scores, one.spread, one.ensemble) for one in table.cells]
    assert [dict(one.values) for one in view["cells"]] == [
        {"bag-size": one.values["bag_size"], "model": one.values["model"]} for one in table.cells
    ]


def test_the_text_is_table_1(table: SweepResult) -> None:
    said = table.text()
    assert "8 runs, 8 of them new" in said
    assert "bag-size  16 - 4" in said
    assert "model     mean - attention" in said
    assert to_json(table)["cells"][0]["values"] == {"bag_size": 4, "model": "attention"}


def test_folds_put_together_are_held_against_their_floor(store: FeatureStore) -> None:
    found = sweep(store, replace(QUICK, cohort="folds", steps=1, calibration_fraction=0))
    (cell,) = found.cells
    made = [runs.load(store, run_id) for run_id in cell.run_ids]
    labels, floor = [], []
    for run in made:
        bags = assign_splits(run.bags(store), run.config)
        fitted = bags.filter(pl.col("split").is_in(["train", "validation"]))
        test = bags.filter(pl.col("split") == "test")
        labels.append(test["value"].to_numpy())
        floor.append(ridge_floor(store, fitted, test, run.record.about()))
    pooled = evaluate.r2(np.concatenate(labels), np.concatenate(floor))
    assert cell.ridge["r2"] == pytest.approx(pooled)
    lines = found.text().splitlines()
    assert f"is under the ridge floor of {pooled:.3f}" in lines[0]
    assert any(line.startswith(f"ridge floor R2 {pooled:.3f}, MAE") for line in lines)
    assert "mean of 1 seed" in found.text()
    assert lines[-1] == f"next        trephine report {' '.join(cell.run_ids)}"
    view = compare.view(store, made, [page.test_slides(store, run) for run in made])["pooled"]
    assert f"under the ridge floor of {pooled:.3f}" in view["cautions"][0].text
    assert f"R² {pooled:.3f}" in view["floor"]


def test_folds_and_seeds_have_numbers_by_case_and_coverage_as_a_run_has(tmp_path: Path) -> None:
    store = es.build(tmp_path / "store", *es.planted(60, 4, dim=3))
    twins = [replace(s, case_id=f"C-{int(s.slide_id[2:]) // 2:04}") for s in store.known(Slide)]
    store.record(twins)
    split = SplitConfig(method="folds", folds=2)
    store.create_cohort("all", "from bags", split=split)
    config = replace(QUICK, steps=3, validation_fraction=0, calibration_fraction=0.7)
    found = sweep(store, config, seeds=2)
    (cell,) = found.cells
    made = [runs.load(store, run_id) for run_id in cell.run_ids]
    tests = [page.test_slides(store, run) for run in made]
    by_seed = [
        pl.concat([t for run, t in zip(made, tests, strict=True) if run.config.seed == seed])
        for seed in (0, 1)
    ]
    cases = [evaluate.by_case(frame) for frame in by_seed]
    r2 = np.mean([evaluate.r2(*frame.select("label", "mean").to_numpy().T) for frame in cases])
    assert cell.by_case["r2"] == pytest.approx(r2)
    held = [frame["held"].sum() for frame in by_seed]
    share = np.mean(
        [frame.group_by("case_id").agg(pl.mean("held"))["held"].mean() for frame in by_seed]
    )
    assert cell.coverage["coverage"] == pytest.approx(share)
    said = found.text()
    assert f"by case     R2 {r2:.3f}, " in said
    assert f"of {cases[0].height} cases, each the mean of its slides" in said
    assert f"of test they hold {sum(held) / 2:g} of 60, {share:.1%} with each case" in said
    one = compare.view(store, made[:2], tests[:2])["pooled"]
    assert f"they hold {held[0]} of 60, " in one["held"]
    pooled = evaluate.r2(*cases[0].select("label", "mean").to_numpy().T)
    assert f"{abs(pooled):.3f} (95% interval " in one["by_case"]
    view = compare.view(store, made, tests)["pooled"]
    assert f"{abs(r2):.3f} (95% interval " in view["by_case"]
    assert f"they hold {sum(held) / 2:g} of 60, {share:.1%} with" in view["held"]


@pytest.mark.parametrize("kind", ["fraction", pytest.param("binary", marks=pytest.mark.proof)])
def test_page_and_terminal_pool_folds_and_seeds_as_a_direct_computation_does(
    tmp_path: Path, kind: TargetKind
) -> None:
    """Patients of two Slides; every number of every seed from the Predictions of its Runs."""
    x, values = es.planted(48, 3, dim=3)
    target = Target(name="t", kind=kind, low=0, high=100)
    labels = np.where(values > 50, 100.0, 0.0) if kind == "binary" else values.round()
    store = es.build(tmp_path / "store", x, labels.tolist(), target=target)
    store.record(replace(c, patient_id=f"P{int(c.case_id[2:]) // 2:02}") for c in store.known(Case))
    split = SplitConfig(method="folds", folds=2)
    store.create_cohort("all", "from bags", split=split, target="t")
    found = sweep(store, replace(QUICK, steps=3, resamples=1, calibration_fraction=0), seeds=4)
    made = [runs.load(store, run_id) for run_id in found.cells[0].run_ids]
    assert f"next        trephine report {' '.join(one.run_id for one in made)}" in found.text()
    tests = [run.predictions.filter(split="test").sort("slide_id") for run in made]
    by_seed = [
        pl.concat([t for r, t in zip(made, tests, strict=True) if r.config.seed == k])
        for k in range(4)
    ]
    frames = [frame.sort("slide_id") for frame in by_seed]
    assert [frame.height for frame in frames] == [48] * 4
    truth, patients = frames[0]["label"].to_numpy(), frames[0]["patient_id"].to_numpy()
    means = np.stack([frame["mean"].to_numpy() for frame in frames])
    own = [np.flatnonzero(patients == one) for one in np.unique(patients)]
    rng = np.random.default_rng(0)
    drawn = [np.arange(48)] + [
        np.concatenate([own[i] for i in chosen]) for chosen in rng.integers(0, 24, (2_000, 24))
    ]
    score = pairs_in_order if kind == "binary" else evaluate.r2
    each = np.array([[score(truth[i], mean[i]) for i in drawn] for mean in [*means, means.mean(0)]])
    over, one = each[:4].mean(axis=0), each[4]
    low, high = np.percentile(over[1:], [2.5, 97.5])
    least, most = np.percentile(one[1:], [2.5, 97.5])
    title, spread = ("AUC" if kind == "binary" else "R2"), np.std(each[:4, 0], ddof=1)
    said = [
        f"test {title:7}{over[0]:.3f} ({low:.3f} to {high:.3f}): pooled over 2 folds, mean of 4",
        f"over seeds  {title} ± {spread:.3f}, ",
        f"as one      {title} {one[0]:.3f} (95% interval {least:.3f} to {most:.3f})",
    ]
    for line in said:
        assert line in found.text()
    told = [
        "Cross-validation with 4 seeds: each of 48 slides of 24 patients",
        f"with {title} {over[0]:.3f} (95% interval {low:.3f} to {high:.3f})",
        f"over seeds ({title} ± {spread:.3f}, ",
        f"they have {title} {one[0]:.3f} (95% interval {least:.3f} to {most:.3f})",
        f"has {title} {found.cells[0].ridge[found.told[0][0]]:.3f}",
    ]
    out = page.write_page(store, [run.run_id for run in made], tmp_path / "page.html")
    verdict = minus_back(out.read_text().split('class="verdict">')[1])
    for words in told:
        assert words in verdict
    other = sweep(store, replace(QUICK, steps=2, resamples=1, calibration_fraction=0)).cells[0]
    page.write_page(store, [*found.cells[0].run_ids, *other.run_ids], out)
    table = minus_back(out.read_text().split("over seeds</caption>")[1].split("</table>")[0])
    assert f"<td>4<td>{over[0]:.3f} ± {spread:.3f}<td>" in table
    assert f"<td>1<td>{other.numbers[found.told[0][0]]:.3f}<td>" in table
    assert "a row of the table is of 48 slides of 24 patients" in out.read_text()
    seen = [page.test_slides(store, run) for run in made[:3]]  # the second seed lacks a fold
    assert compare.view(store, made[:3], seen)["pooled"] is None
    page.write_page(store, [run.run_id for run in made[:3]], out)
    there = {(run.config.seed, run.config.fold) for run in made[:3]}
    seeds, folds = (sorted(set(ones), key=str) for ones in zip(*there, strict=True))
    lacks = [(k, f) for k in seeds for f in folds if (k, f) not in there]
    assert len(lacks) == len(seeds) * len(folds) - 3 > 0
    said = ", ".join(f"seed {k} lacks fold {f}" for k, f in lacks)
    assert f"Nothing is pooled: {said}." in out.read_text()


def pairs_in_order(labels: np.ndarray, mean: np.ndarray) -> float:
    high, low = mean[labels > 50][:, None], mean[labels <= 50]
    return float(((high > low) + (high == low) / 2).mean())


def minus_back(text: str) -> str:
    return text.replace("−", "-").replace("R²", "R2")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_pooled_floors_are_those_of_all_slides_together(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    folds = [rng.uniform(0, 100, (2, n)) for n in sizes]
    target = Target(name="cellularity", kind="fraction")
    patients = np.arange(10).astype(str)
    each = [evaluate.metrics(*fold, patients[: fold.shape[1]], target) for fold in folds]
    labels, mean = np.concatenate(folds, axis=1)
    found = pooled_floor(labels, each)
    assert found["mae"] == pytest.approx(np.abs(labels - mean).mean())
    if len(labels) > 1:
        assert found["r2"] == pytest.approx(evaluate.r2(labels, mean))
    else:
        assert found["r2"] is None


def test_one_test_slide_gives_no_spread_and_the_reason(store: FeatureStore, tmp_path: Path) -> None:
    parts = {f"S-{i:04}": "train" for i in range(20)} | {"S-0020": "test"}
    es.freeze(store, "one", split=parts, where="slide_id < 'S-0021'")
    config = replace(QUICK, cohort="one", steps=1, calibration_fraction=0)
    found = sweep(store, config, seeds=2)
    assert "nan" not in found.text()
    assert found.cells[0].spread["r2"] is None
    assert "R2 is undefined for a single slide" in found.text().splitlines()[0]
    out = page.write_page(store, found.cells[0].run_ids, tmp_path / "report.html")
    text = out.read_text()
    assert "R² – (undefined for a single slide) and a mean absolute error of" in text
    assert "On the 1 test slide of 1 patient" in text
    assert "– to –" not in text


def test_a_page_of_runs_says_what_was_left_open_in_words(store: FeatureStore) -> None:
    config = replace(QUICK, calibration_fraction=0)
    made = [train(store, one, draw=False) for one in (config, replace(config, steps=None))]
    view = compare.view(store, made, [page.test_slides(store, run) for run in made])
    assert view["short"] == ["steps 12", "steps default"]
    assert view["differ"] == ["steps"]
    assert [one["steps"] for one in view["settings"]] == [12, "default"]
    assert "None" not in "".join(one["svg"] for one in view["figures"])


def test_a_row_under_its_floor_says_so(table: SweepResult) -> None:
    low, high = (replace(table.cells[i], ridge={"r2": floor}) for i, floor in ((0, 2.0), (1, -9.0)))
    lines = replace(table, cells=(low, high)).text().splitlines()
    assert "R2 of 1 of 2 rows is under the ridge floor" in lines[0]
    assert [line for line in lines if "2.000 (R2 is under it)" in line]
    assert not [line for line in lines if "-9.000 (" in line]


@pytest.mark.proof
def test_a_cohort_of_folds_is_tested_on_every_slide_once(store: FeatureStore) -> None:
    found = sweep(store, replace(QUICK, cohort="folds"), seeds=2)
    (cell,) = found.cells
    assert (cell.folds, cell.seeds, len(cell.run_ids)) == (5, 2, 10)
    assert found.n_slides == 42
    assert "pooled over 5 folds" in found.text()
    made = [runs.load(store, run_id) for run_id in cell.run_ids]
    folds = [run for run in made if run.config.seed == 0]
    tests = [page.test_slides(store, run) for run in folds]
    pooled = compare.view(store, folds, tests)["pooled"]
    frame = pl.concat([test.select("label", "mean") for test in tests])
    assert (pooled["cell"].numbers["n"], frame.height) == (42, 42)
    assert f"R² {evaluate.r2(*frame.to_numpy().T):.3f}" in pooled["score"]
    both = compare.view(store, made, [page.test_slides(store, run) for run in made])["pooled"]
    assert both["cell"].scores == cell.scores
    one = sweep(store, replace(QUICK, cohort="folds", fold="3"))
    assert one.n_new == 0
    assert one.n_slides < 42


def test_seeds_that_are_named_are_those_that_are_made() -> None:
    assert SweepConfig().number() == SweepConfig().number(["bag_size"]) == 3
    assert SweepConfig().number(["seed", "bag_size"]) == 1
    assert SweepConfig(seeds=2).number(["seed"]) == 2  # which is refused


def test_what_cannot_be_made_is_refused_before_anything_is(store: FeatureStore) -> None:
    with pytest.raises(ConfigError, match="not both"):
        sweep(store, QUICK, {"seed": [5, 6]}, seeds=3)
    before = store.runs().height
    with pytest.raises(TrainError, match="train-patients"):
        sweep(store, QUICK, {"train_patients": [10, 4_000]})
    with pytest.raises(
        ConfigError, match="of the embeddings of these slides, encoder_id 'nothing' is none"
    ):
        sweep(store, QUICK, {"encoder_id": ["nothing", "planted"]})
    assert store.runs().height == before


def test_a_run_that_fails_stops_no_other(store: FeatureStore) -> None:
    found = sweep(store, replace(QUICK, loss="mse", clip=1e30), {"lr": [1e-3, 1e30]})
    assert [dict(cell.values) for cell in found.cells] == [{"lr": 1e-3}]
    assert len(found.failures) == 1
    assert "lr 1e+30" in found.failures[0]


def test_an_encoder_is_named_by_name_id_or_prefix(tmp_path: Path) -> None:
    x, values = es.planted(24, 8, dim=4)
    store = es.build(tmp_path / "store", x, values)
    other = es.arrays_of(0, x[0], replace(es.ENCODER, name="other", weights_hash="1" * 32))
    for i, one in enumerate(x):
        store.publish(
            es.arrays_of(
                i, one[:, ::-1].copy(), replace(es.ENCODER, name="other", weights_hash="1" * 32)
            )
        )
    store.record()
    es.freeze(store)
    with pytest.raises(ConfigError, match="--encoder"):
        sweep(store, QUICK)
    found = sweep(store, QUICK, {"encoder_id": ["plant", other.encoder_id[:6]]})
    assert len(found.cells) == 2
    assert "encoder  other - planted" in found.text()


def test_slides_that_an_encoder_lacks_are_told(tmp_path: Path) -> None:
    x, values = es.planted(24, 8, dim=4)
    store = es.build(tmp_path / "store", x, values)
    few = replace(es.ENCODER, name="few", weights_hash="2" * 32)
    for i in range(20):
        store.publish(es.arrays_of(i, x[i], few))
    store.record()
    es.freeze(store, method="random")
    told = {
        name: train(store, replace(QUICK, encoder_id=name, steps=1), draw=False).text()
        for name in ("few", "planted")
    }
    said = "note        4 slides of the cohort left out, for this encoder has not embedded them"
    assert said in told["few"]
    assert "left out" not in told["planted"]


def test_fewer_patients_lie_among_more(store: FeatureStore) -> None:
    found = sweep(store, QUICK, {"train_patients": [12, 15]})
    n = [runs.load(store, cell.run_ids[0]).record for cell in found.cells]
    assert [one.n_train + one.n_validation + one.n_calibration for one in n] == [12, 15]


@given(
    st.integers(3, 30), st.integers(1, 3), st.integers(0, 99), st.sampled_from(get_args(TargetKind))
)
@settings(max_examples=30, deadline=None)
def test_scores_are_means_and_a_difference_with_itself_is_none(
    n: int, replicates: int, seed: int, kind: TargetKind
) -> None:
    rng = np.random.default_rng(seed)
    target = Target(name="any", kind=kind, low=0, high=100)
    labels = rng.choice([0.0, 100], n) if kind == "binary" else rng.uniform(0, 100, n)
    patients = np.array([f"P{i // 2}" for i in range(n)])
    a, b = (
        [evaluate.drawn(labels, one, patients, target) for one in labels + rng.normal(0, 60, size)]
        for size in [(replicates, n)] * 2
    )
    scores = runs.scores_of(target)
    ours, theirs, none = estimates(scores, a), estimates(scores, b), estimates(scores, a, a)
    gain, loss = estimates(scores, a, b), estimates(scores, b, a)
    for name, _, form in scores:
        unit = 100 if form.endswith("%") else 1
        if (mean := np.mean([one[name][0] for one in a])) != mean:  # of one class, or equal labels
            assert ours[name].value is None
            continue
        assert ours[name].value == pytest.approx(mean)
        assert (none[name].value, none[name].low, none[name].high) == (0, None, None)
        assert gain[name].value == pytest.approx(unit * (ours[name].value - theirs[name].value))
        assert gain[name].value == pytest.approx(-loss[name].value)
        if gain[name].low is not None:
            assert gain[name].low == pytest.approx(-loss[name].high)


def test_a_sweep_survives_a_rebuild(store: FeatureStore, table: SweepResult) -> None:
    (kept,) = [one for one in store.known(Sweep) if one.sweep_id == table.sweep.sweep_id]
    assert dict(kept.runs) == dict(table.sweep.runs)
    assert kept.factors == FACTORS


@pytest.mark.proof
def test_the_command_line_sweeps_repeats_and_deletes(store: FeatureStore) -> None:
    def run(*words: str, code: int = 0) -> str:
        given = ["--store", str(store.root)]
        found = CliRunner().invoke(cli.main, [*words, *given])
        assert found.exit_code == code, found.output
        return found.stdout

    few = ["--steps", "6", "--resamples", "1"]
    words = ["sweep", "all", "--bag-size", "4", "--bag-size", "8", "--seeds", "1", *few, "--json"]
    found = json.loads(run(*words))
    assert found["sweep"]["factors"] == {"bag_size": [4, 8]}
    one = found["cells"][1]["run_ids"][0]
    again = json.loads(run("train", "--like", one, "--json"))
    assert (
        again["metrics"] == json.loads((store.run_folder(one) / "run.json").read_text())["metrics"]
    )
    other = json.loads(run("train", "--like", one, "--bag-size", "4", "--json"))
    assert other["bag_size"] == 4
    run("train", code=2)
    compared = json.loads(run("runs", "compare", one, other["run_id"], "--json"))
    assert compared["differs"] == {"bag-size": [8, 4]}
    listed = json.loads(
        run("runs", "--where", "bag_size = 8 and config ->> 'steps' = '6'", "--json")
    )
    assert {row["run_id"] for row in listed} == {one, again["run_id"]}
    run("runs", "delete", one, code=1)  # nobody said yes
    run("runs", "delete", one, "--yes")
    assert one not in store.runs()["run_id"].to_list()


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_runs_spread_over_ray_are_those_of_one_machine(
    store: FeatureStore, table: SweepResult, tmp_path: Path
) -> None:
    utils = pytest.importorskip("ray.cluster_utils")
    shutil.copytree(store.root, tmp_path / "store")
    other = FeatureStore(tmp_path / "store")
    for run_id in other.runs()["run_id"]:
        other.withdraw(run_id, "run", erase=True)
    cluster = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        told: list[int] = []
        engine = SweepConfig(engine="ray", address=cluster.address)
        said = sweep(
            other,
            replace(QUICK, clip=1e30),
            {**FACTORS, "lr": [1e-3, 1e30]},
            seeds=1,
            engine=engine,
            progress=lambda done, total, note: told.append(done),
        )
        begun: list[Future[SweepResult]] = []
        with ThreadPoolExecutor(1) as pool:

            def begin(done: int, total: int, note: str) -> None:
                if not begun:  # an equal one on this machine, while the cluster is at work
                    begun.append(pool.submit(sweep, other, QUICK, FACTORS, seeds=2))

            found = sweep(other, QUICK, FACTORS, seeds=2, engine=engine, progress=begin)
        here = begun[0].result()
    finally:
        cluster.shutdown()
    assert len(said.failures) == 4
    assert all("lr 1e+30" in one for one in said.failures)
    assert told == list(range(1, 9))
    assert [one.values for one in found.cells] == [one.values for one in table.cells]
    assert (found.n_new, here.n_new, here.cells) == (8, 0, found.cells)
    for ours, theirs in zip(found.cells, table.cells, strict=True):
        for a, b in zip(ours.run_ids, theirs.run_ids, strict=True):
            here, there = runs.load(other, a), runs.load(store, b)
            assert here.record.metrics == there.record.metrics
            assert here.predictions.equals(there.predictions)
            weights = [(one.path / "weights.safetensors").read_bytes() for one in (here, there)]
            assert weights[0] == weights[1]
    assert found.differences == table.differences
    assert not any((other.root / "tmp").iterdir())
    assert sweep(other, QUICK, FACTORS, seeds=2).n_new == 0


def test_an_address_without_its_engine_is_refused(store: FeatureStore) -> None:
    words = ["sweep", "all", "--store", str(store.root), "--address", "host:6379"]
    said = CliRunner().invoke(cli.main, words)
    assert said.exit_code == 1
    assert "Add --engine ray" in said.output
