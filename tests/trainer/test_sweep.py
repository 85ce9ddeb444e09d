"""A Sweep: its grid, and what it does not make again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from builders import embedding_stores as es
from builders import grids
from builders.grids import FACTORS, QUICK
from click.testing import CliRunner

import cli
from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from featurestore.types import Sweep
from trainer import compare, page, runs, train
from trainer.config import SweepConfig
from trainer.sweep import SweepResult, sweep
from trainer.sweep import train as sweeping


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


def test_the_page_has_the_cells_of_the_terminal(store: FeatureStore, table: SweepResult) -> None:
    made = [runs.load(store, one) for cell in table.cells for one in cell.run_ids]
    view = compare.view(store, made, [page.test_slides(store, run) for run in made])
    found = [(one.seeds, one.scores, one.spread, one.ensemble) for one in view["cells"]]
    assert found == [(one.seeds, one.scores, one.spread, one.ensemble) for one in table.cells]
    assert [dict(one.values) for one in view["cells"]] == [
        {"bag-size": one.values["bag_size"], "model": one.values["model"]} for one in table.cells
    ]


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


def test_tensorboard_of_several_runs_is_refused_and_none_is_made(
    store: FeatureStore, tmp_path: Path
) -> None:
    made = set((store.root / "runs").glob("*"))
    with pytest.raises(ConfigError, match="one run"):
        sweeping(store, QUICK, 2, tensorboard=tmp_path)
    assert set((store.root / "runs").glob("*")) == made
