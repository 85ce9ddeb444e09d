"""Runs of the folds of a Cohort: as one they are held against numbers made by hand."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders import grids
from builders.grids import QUICK
from builders.longer import longer
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore, queries
from featurestore.config import SplitConfig
from featurestore.errors import RunNotFound
from featurestore.types import Case, Slide, Target, TargetKind
from trainer import compare, evaluate, page, runs, train
from trainer.floor import pooled_floor, ridge_floor
from trainer.holdout import assign_splits
from trainer.inference import predict_together
from trainer.sweep import sweep


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return grids.build(tmp_path_factory.mktemp("sweep") / "store")


@pytest.fixture(scope="module")
def crossed(store: FeatureStore) -> list[runs.Run]:
    """Five folds with two seeds, the newest first."""
    config = replace(QUICK, cohort="folds", steps=1, calibration_fraction=0)
    ids = sweep(store, config, seeds=2).cells[0].run_ids
    return [runs.load(store, run_id) for run_id in sorted(ids, reverse=True)]


def test_a_page_of_folds_has_a_short_title_and_its_rows_by_fold_then_seed(
    store: FeatureStore, crossed: list[runs.Run], tmp_path: Path
) -> None:
    other = train(store, replace(crossed[0].config, fold="3", lr=3e-3), draw=False)
    given = [other, *crossed]
    out = page.write_page(store, [run.run_id for run in given], tmp_path / "page.html")
    text = out.read_text()
    title = f"<title>Cellularity: folds, {other.encoder.name}, 11 runs</title>"
    assert title in text
    table = text.split("<caption>On test</caption>")[1].split("</table>")[0]
    place = {table.index(run.run_id): run for run in given}
    shown = [(run.config.lr, run.config.fold, run.config.seed) for _, run in sorted(place.items())]
    rest = [(QUICK.lr, str(fold), seed) for fold in range(5) for seed in range(2)]
    assert shown == [(3e-3, "3", other.config.seed), *rest]


def test_folds_that_share_no_slide_are_not_compared(
    store: FeatureStore, crossed: list[runs.Run]
) -> None:
    first = crossed[0]
    alike = next(r for r in crossed[1:] if r.config.fold == first.config.fold)
    others = [r for r in crossed if r.config.fold != first.config.fold]
    apart = next(r for r in others if r.config.seed == first.config.seed)
    seed = next(r for r in others if r.config.seed != first.config.seed)
    words = ["runs", "compare", first.run_id, "--store", str(store.root)]
    assert CliRunner().invoke(cli.main, [*words, alike.run_id]).exit_code == 0
    said = CliRunner().invoke(cli.main, [*words, apart.run_id])
    assert said.exit_code == 3
    assert re.search(r"^fold +\d +\d$", said.stdout, re.MULTILINE)
    last = said.stdout.splitlines()[-1]
    assert f"on folds {first.config.fold} and {apart.config.fold}, which share no slide" in last
    rest = sorted({"0", "1", "2", "3", "4"} - {first.config.fold, apart.config.fold})
    named = "folds {}, {} and {}".format(*rest)
    whole = f"to pool the folds, add the runs of {named} to: trephine report "
    assert f"{whole}--store {store.root} {first.run_id} {apart.run_id}" in last
    report = ["report", "--store", str(store.root), first.run_id, apart.run_id, "--text"]
    text = CliRunner().invoke(cli.main, report)
    assert text.stdout.startswith(f"warning     Not pooled: {named} are missing. ")
    both = [first, apart]
    view = compare.view(store, both, [page.test_slides(store, run) for run in both])
    assert (view["pooled"], view["cells"]) == (None, None)
    assert view["lacking"][0].startswith(f"Not pooled: {named} are missing. ")
    whole = [r for r in crossed if r.config.seed == first.config.seed]
    view = compare.view(store, whole, [page.test_slides(store, run) for run in whole])
    assert (view["pooled"]["cell"].folds, view["lacking"]) == (5, [])  # as the sentence promises
    elsewhere = CliRunner().invoke(cli.main, [*words, seed.run_id])
    assert "so they cannot be compared; name two runs of one fold: " in elsewhere.stdout
    told = json.loads(CliRunner().invoke(cli.main, [*words, apart.run_id, "--json"]).stdout)
    assert told["n_slides"] == 0


def test_runs_that_learnt_from_what_they_predict_say_where_it_was_left_out(
    store: FeatureStore, crossed: list[runs.Run]
) -> None:
    given = [run for run in crossed if run.config.seed == 0]
    rows = predict_together(store, [run.run_id for run in given])
    (note,) = [one for one in rows.notes if "not new" in one]
    assert note.startswith("42 of 42 slides are not new to these runs")
    assert all(f"fold {run.config.fold}: {run.run_id}" in note for run in given)
    named = re.search(r"--named (\w+) -p run=(\S+)", note)
    assert named
    found = store.named(f"named/{named[1]}", {"run": named[2]})
    expected = pl.concat(
        run.predictions.filter(split="test").select(
            "slide_id",
            fold=pl.lit(run.config.fold),
            seed=run.config.seed,
            run_id=pl.lit(run.run_id),
        )
        for run in crossed
    )
    assert found.height == 84
    assert found.select(expected.columns).sort(pl.all()).equals(expected.sort(pl.all()))
    new = predict_together(store, [given[0].run_id], where=f"slide_id in ({left_out(given[0])})")
    assert not [one for one in new.notes if "not new" in one]


def test_the_runs_of_a_fold_are_chosen_by_sql_in_an_older_store_too(
    store: FeatureStore, crossed: list[runs.Run], tmp_path: Path
) -> None:
    once = train(store, replace(crossed[0].config, cohort="all", fold=None), draw=False)
    expected = {run.run_id: run.config.fold for run in [*crossed, once]}
    root = tmp_path / "older"
    shutil.copytree(store.root, root)
    with duckdb.connect(root / "catalog.duckdb") as con:
        con.execute("alter table runs drop column fold")
        con.execute("delete from migrations where name like '0017%' or name like 'write %'")
    for one in store, FeatureStore.create(root):
        found = dict(one.sql("select run_id, fold from runs").iter_rows())
        assert expected.items() <= found.items()
        listed = one.runs("fold = '2'")
        assert set(listed["fold"]) == {"2"}
        assert {run_id for run_id, k in expected.items() if k == "2"} <= set(listed["run_id"])
        assert once.run_id in one.runs("fold is null")["run_id"].to_list()
    store.withdraw(once.run_id, "run")


def test_a_fold_that_was_trained_twice_is_counted_once(
    store: FeatureStore, crossed: list[runs.Run]
) -> None:
    first, other = crossed[:2]
    twin = train(store, first.config, draw=False)
    for named, kept, gone in (first, first, twin), (twin, twin, first), (other, twin, first):
        found = store.named("named/out_of_fold", {"run": named.run_id})
        assert not found.select("slide_id", "seed").is_duplicated().any()
        assert (found.height, set(found["fold"])) == (84, {"0", "1", "2", "3", "4"})
        assert kept.run_id in set(found["run_id"])
        assert gone.run_id not in set(found["run_id"])
    out_of_fold = queries.chosen("named", None, None, "out_of_fold")
    own = store.sql(out_of_fold, {"run": twin.run_id})
    for word in ("latest", twin.run_id[:-1]):
        assert store.sql(out_of_fold, {"run": word}).equals(own)
        assert store.named("named/out_of_fold", {"run": word}).equals(own)
    with pytest.raises(
        RunNotFound, match=r"run '2' is the beginning of several: .*Give a whole id"
    ):
        store.sql(out_of_fold, {"run": "2"})
    store.withdraw(twin.run_id, "run")


def test_a_sweep_of_some_folds_says_which_of_how_many(
    store: FeatureStore, crossed: list[runs.Run]
) -> None:
    config = replace(crossed[0].config, seed=0, fold=None)
    some = sweep(store, config, {"fold": ["0", "2"]}).text()
    table = sweep(store, config, {"fold": ["0", "2"], "seed": [0, 1], "lr": [None]}).text()
    for said in some, table:
        assert re.search(r"tested on \d+ slides of \d+ patients in folds 0 and 2 of 5 \(", said)
    assert some.count("pooled over 2 of 5 folds") == 2  # of the model and of its floor
    whole = sweep(store, config).text()
    assert "pooled over 5 folds" in whole
    assert " of 5" not in whole


def test_a_run_of_a_fold_is_repeated_but_a_cohort_that_is_named_is_trained_whole(
    store: FeatureStore, crossed: list[runs.Run]
) -> None:
    one = next(run for run in crossed if (run.config.fold, run.config.seed) == ("3", 0))

    def trained(*words: str) -> dict[str, Any]:
        given = ["train", *words, "--like", one.run_id, "--store", str(store.root), "--json"]
        out = CliRunner().invoke(cli.main, given)
        assert out.exit_code == 0, out.output
        return json.loads(out.stdout)

    again = trained()
    assert (again["config"]["fold"], again["metrics"]) == ("3", one.record.metrics)
    assert trained("folds", "--fold", "2")["config"]["fold"] == "2"
    elsewhere = trained("all")
    assert (elsewhere["cohort"], elsewhere["config"]["fold"]) == ("all", None)
    assert elsewhere["config"]["steps"] == one.config.steps
    whole = trained("folds")
    assert (whole["cells"][0]["folds"], whole["n_new"]) == (5, 3)  # two are there


def left_out(run: runs.Run) -> str:
    return ", ".join(f"'{one}'" for one in run.predictions.filter(split="test")["slide_id"])


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


@pytest.mark.parametrize("kind", ["fraction", longer("binary")])
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
    lines = found.text().splitlines()
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
    of_all, *of_each = page.page_text(store, [run.run_id for run in made]).text().split("\n\nrun ")
    assert len(of_each) == len(made)
    assert of_all.startswith("together    on 48 slides of 24 patients (95% intervals by patient)\n")
    (total,) = [line for line in lines if " of cohort " in line]
    assert of_all.endswith("\n".join(lines[lines.index(total) + 1 : -1]))
    other = sweep(store, replace(QUICK, steps=2, resamples=1, calibration_fraction=0)).cells[0]
    page.write_page(store, [*found.cells[0].run_ids, *other.run_ids], out)
    rows = page.page_text(store, [*found.cells[0].run_ids, *other.run_ids]).text()
    assert re.search(rf"\nsteps +{title} +± seeds .*\n3 +{over[0]:.3f} +{spread:.3f} ", rows)
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
    assert f"Not pooled: {said}." in out.read_text()


def pairs_in_order(labels: np.ndarray, mean: np.ndarray) -> float:
    high, low = mean[labels > 50][:, None], mean[labels <= 50]
    return float(((high > low) + (high == low) / 2).mean())


def minus_back(text: str) -> str:
    return text.replace("−", "-").replace("R²", "R2")


def test_a_row_that_lacks_a_fold_leaves_the_whole_rows_their_numbers(
    store: FeatureStore, crossed: list[runs.Run], tmp_path: Path
) -> None:
    config = replace(crossed[0].config, seed=0, fold=None, lr=3e-3)
    rows = [list(crossed)]
    rows += [[train(store, replace(config, fold=str(k)), draw=False) for k in range(5)]]
    rows += [[train(store, replace(config, fold="1", lr=1e-3), draw=False)]]
    given = [run for row in rows for run in row]
    few = [run.run_id for run in given if run is not crossed[0]]
    gone = f"seed {crossed[0].config.seed} lacks fold {crossed[0].config.fold}"
    text = page.write_page(store, few, tmp_path / "page.html").read_text()
    gone = f"Not pooled: lr default: {gone}; lr 0.001: folds 0, 2, 3 and 4 are missing."
    assert gone in text
    assert "They share no test slide" not in text
    table = text.split("over seeds</caption>")[1].split("</table>")[0]
    assert "<tbody><tr><td>0.003<td>1<td>" in table
    assert table.count("<tr>") == 2  # its head and the one whole row


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
