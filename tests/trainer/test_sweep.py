"""A Sweep: its grid, what it does not make again, and Table 1 against numbers made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from builders import grids
from builders.grids import FACTORS, QUICK
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from featurestore.fields import to_json
from featurestore.types import Sweep, Target, TargetKind
from trainer import compare, evaluate, page, runs, train
from trainer.config import SweepConfig
from trainer.evaluate import estimates
from trainer.sweep import SweepResult, sweep


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return grids.build(tmp_path_factory.mktemp("sweep") / "store")


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
