from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from builders import embedding_stores as es
from builders.embedding_stores import SIZES
from builders.longer import longer

from featurestore import FeatureStore
from featurestore.errors import ConfigError, NotFinite, TrainError
from featurestore.types import Target
from trainer import TrainConfig, train
from trainer.runs import Run

QUICK = TrainConfig(cohort="all", bag_size=16, steps=60)


def _logged(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_a_planted_signal(learnable: FeatureStore) -> None:
    run = train(learnable, TrainConfig(cohort="all", bag_size=16))
    assert run.metric("r2") > 0.9
    assert run.metric("r2", "ridge_test") > 0.9
    assert run.record.n_train + run.record.n_validation == 20
    row = learnable.runs().row(0, named=True)
    assert (row["run_id"], row["r2"]) == (run.run_id, run.metric("r2"))
    assert {p.name for p in run.path.iterdir()} == {
        "weights.safetensors",
        "run.json",
        "metrics.jsonl",
        "predictions.parquet",
        "SHA256SUMS",
        "predicted_vs_label.svg",
        "bland_altman.svg",
    }
    assert f"trephine report {run.run_id}" in run.text()


@pytest.mark.proof
def test_the_best_weights_on_a_large_validation_are_kept(tmp_path: Path) -> None:
    store = es.build(tmp_path, *es.planted(60, 6, dim=8, noise=4.0))
    es.freeze(store)
    config = replace(QUICK, steps=400, validation_fraction=0.67, patience=4, lr=0.03)
    run = train(store, config)
    lines = _logged(run)
    losses = [line["validation_loss"] for line in lines]
    best = lines[int(np.argmin(losses))]["step"]
    assert run.record.fit["best_step"] == best
    assert run.record.fit["steps"] == lines[-1]["step"] < 400  # stopped early
    assert run.metric("r2", "validation") == pytest.approx(
        max(x["validation_r2"] for x in lines), abs=0.1
    )


@pytest.mark.proof
def test_it_learns_nothing_from_shuffled_labels(tmp_path: Path) -> None:
    x, values = es.planted(32, 20, dim=8)
    store = es.build(tmp_path, x, np.random.default_rng(1).permutation(values))
    es.freeze(store)
    assert train(store, replace(QUICK, steps=300)).metric("r2") < 0.2


@pytest.mark.parametrize("sampling", ["block", "exact"])
def test_the_same_seed_gives_the_same_run_to_the_last_digit(
    learnable: FeatureStore, sampling: Any
) -> None:
    config = replace(QUICK, sampling=sampling, dropout=0.3, projection=8)
    told: list[tuple[int, int, str]] = []
    first = train(learnable, config, lambda *said: told.append(said))
    torch.set_num_threads(1)  # of no influence on small batches
    torch.rand(7)  # nor is what ran before
    again = train(learnable, config)
    assert again.record.metrics == first.record.metrics
    assert again.predictions.equals(first.predictions)
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (first, again)]
    assert weights[0] == weights[1]
    other = train(learnable, replace(config, seed=1))
    assert other.record.metrics != first.record.metrics
    assert [(step, steps) for step, steps, _ in told] == [
        (line["step"], line["steps"]) for line in _logged(first)
    ]
    assert told[-1][:2] == (60, 60)
    assert re.fullmatch(
        r"epoch \d+, loss \d\.\d{4}(, validation R2 -?\d\.\d{3})?, [\d,]+ bags/s", told[-1][2]
    )


def test_training_leaves_the_state_of_others_alone(learnable: FeatureStore) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(learnable, QUICK)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("bag_size", [16, 256])
def test_std_is_null_where_and_only_where_the_bag_is_the_slide(
    sizes: FeatureStore, bag_size: int
) -> None:
    run = train(sizes, replace(QUICK, bag_size=bag_size, steps=5, resamples=4))
    test = run.predictions.filter(pl.col("split") == "test")
    assert set(test["n_tiles"]) == set(SIZES)
    whole = pl.col("n_tiles") <= bag_size
    assert test.select((whole == pl.col("std").is_null()).all()).item()
    assert test.filter(whole)["n_resamples"].to_list() == [1] * test.filter(whole).height
    assert (test.filter(~whole)["n_resamples"] == 4).all()
    assert (test.filter(~whole)["std"] > 0).all()
    assert f"none for {test.filter(whole).height} of {test.height}" in run.text()


def test_slides_are_not_needed_nor_their_readers_nor_torchs_compiler(
    learnable: FeatureStore,
) -> None:
    code = (
        "import sys, torch, trainer.fit, trainer.page\n"
        "from trainer.adamw import AdamW\n"
        "model = torch.nn.Linear(2, 1)\n"
        "model(torch.ones(1, 2)).sum().backward()\n"
        "AdamW(model.parameters(), 0.1).step(0.1)\n"
        "bad = {'openslide', 'imagecodecs', 'timm', 'ingest', 'ray', 'ollama', 'torch._dynamo'}\n"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    paths = learnable.sql("select path from slides")["path"]
    assert not any(Path(p).exists() for p in paths)


def test_training_opens_no_slide(learnable: FeatureStore) -> None:
    opened: list[str] = []
    watching = True
    sys.addaudithook(
        lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None
    )
    train(learnable, QUICK)
    watching = False
    assert any(name.endswith("/c/0/0") for name in opened)  # the hook sees the store being read
    slides = set(learnable.sql("select path from slides")["path"])
    assert not slides & set(opened)
    assert not [name for name in opened if name.endswith((".svs", ".ndpi", ".mrxs", ".tiff"))]


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, trainer; assert 'torch' not in sys.modules; assert trainer.__all__"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- splits ----------------------------------------------------------------------------------------


@pytest.mark.proof
def test_calibration_is_predicted_and_of_no_influence_on_the_weights(tmp_path: Path) -> None:
    x, values = es.planted(60, 6, dim=8)
    store = es.build(tmp_path, x, values)
    parts = np.repeat(["train", "calibration", "test"], 20)
    es.freeze(store, split=dict(zip(store.bags_where("true")["slide_id"], parts, strict=True)))
    first = train(store, replace(QUICK, validation_fraction=0.5, steps=20))
    assert first.predictions["split"].value_counts().sort("split").rows() == [
        ("calibration", 20),
        ("test", 20),
        ("validation", first.record.n_validation),
    ]
    assert first.record.n_calibration == 20
    assert not any("no intervals" in note for note in first.record.notes)
    bags = store.bags("all")
    wrong = pl.when(pl.col("split") == "calibration").then(100 - pl.col("value"))
    with pytest.MonkeyPatch.context() as patch:
        changed = bags.with_columns(wrong.otherwise(pl.col("value")).alias("value"))
        patch.setattr(store, "bags", lambda *_: changed)
        other = train(store, replace(QUICK, validation_fraction=0.5, steps=20))
    assert other.predictions["label"].to_list() != first.predictions["label"].to_list()
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (first, other)]
    assert weights[0] == weights[1]


def test_too_few_slides_to_calibrate_are_said(learnable: FeatureStore) -> None:
    assert "0 calibration slides, under 20" in train(learnable, QUICK).text()


def test_a_fold_is_the_test_side(learnable: FeatureStore) -> None:
    if "folds" not in learnable.sql("select cohort from cohorts")["cohort"]:
        es.freeze(learnable, "folds", "folds")
    with pytest.raises(TrainError, match=r"is split into 0, 1, 2, 3, 4.*--fold"):
        train(learnable, replace(QUICK, cohort="folds"))
    with pytest.raises(TrainError, match="has no fold '7'"):
        train(learnable, replace(QUICK, cohort="folds", fold="7"))
    run = train(learnable, replace(QUICK, cohort="folds", fold="3", steps=3))
    expected = learnable.bags("folds").filter(pl.col("split") == "3")["slide_id"]
    assert run.predictions.filter(pl.col("split") == "test")["slide_id"].equals(expected)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "trust", "told"),
    [
        ({"lr": 1e30}, True, "Lower --lr, and leave out --trust."),
        ({"weight_decay": 1e30}, False, "Lower --weight-decay."),
        ({"lr": 1e30, "weight_decay": 1e30}, False, "Lower --lr and --weight-decay."),
    ],
)
def test_a_diverging_training_is_refused_by_the_options_that_were_given(
    tmp_path: Path, given: dict[str, Any], trust: bool, told: str
) -> None:
    x, values = es.planted(8, 5, dim=4)
    es.freeze(es.build(tmp_path, x, values))
    store = FeatureStore(tmp_path, trust=trust)
    with pytest.raises(TrainError, match=rf"loss is nan.*\. {told}$"):
        train(store, replace(QUICK, loss="mse", **given))
    assert store.runs().is_empty()


def test_a_small_cohort_trains_without_validation_and_says_so(tmp_path: Path) -> None:
    store = es.build(tmp_path, *es.planted(6, 5, dim=4))
    es.freeze(store)
    run = train(store, QUICK)
    assert run.record.n_validation == 0
    assert "validation has 0 slides, under 5: the last weights are kept" in run.text()


# -- losses, targets, schedule ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    ["bce", "interval", *(longer(k) for k in ("mse", "huber"))],
)
def test_every_loss_learns(learnable: FeatureStore, loss: Any) -> None:
    assert train(learnable, replace(QUICK, loss=loss, steps=400)).metric("r2") > 0.7


@pytest.mark.parametrize("model", ["attention", "gated", "mean", "max"])
def test_every_model_learns(learnable: FeatureStore, model: Any) -> None:
    assert train(learnable, replace(QUICK, model=model, steps=400)).metric("r2") > 0.5


@pytest.mark.parametrize(
    ("target", "scale"),
    [
        (Target(name="fat_um", kind="continuous", low=100, high=300), lambda v: 100 + 2 * v),
        (Target(name="fibrosis", kind="binary", low=0, high=1), lambda v: (v > 50).astype(float)),
    ],
)
def test_other_targets_learn_in_their_own_units(tmp_path: Path, target: Target, scale: Any) -> None:
    x, values = es.planted(24, 20, dim=8)
    store = es.build(tmp_path, x, scale(values), target=target)
    es.freeze(store, target=target.name)
    run = train(store, replace(QUICK, steps=400))
    assert run.record.about() == target
    assert run.config.loss == ("bce" if target.kind == "binary" else "mse")
    if target.kind == "binary":
        assert run.metric("auc") > 0.9
    else:
        assert run.metric("r2") > 0.7
        assert run.predictions["mean"].mean() > 100


def test_dates_of_the_store_split_train_before_test(learnable: FeatureStore) -> None:
    bags = learnable.bags("all")
    last = bags.filter(pl.col("split") == "train")["dated"].max()
    assert isinstance(last, date)
    assert last < bags.filter(pl.col("split") == "test")["dated"].min()  # type: ignore[operator]


# -- precision, device, TensorBoard ----------------------------------------------------------------


@pytest.mark.parametrize("tiles", [None, "tissue > 0.4"])
@pytest.mark.parametrize("sampling", ["block", "exact"])
def test_a_resident_cohort_gives_the_same_run(
    learnable: FeatureStore, sampling: Any, tiles: str | None
) -> None:
    config = replace(QUICK, sampling=sampling, tiles=tiles, steps=20)
    runs = [train(learnable, replace(config, resident=way)) for way in (False, True)]
    assert runs[0].record.metrics == runs[1].record.metrics
    assert runs[0].predictions.equals(runs[1].predictions)


@pytest.mark.proof
def test_bfloat16_learns_as_well_as_float32(learnable: FeatureStore) -> None:
    config = replace(QUICK, steps=400)
    full, low = (train(learnable, replace(config, precision=p)) for p in ("float32", "bfloat16"))
    assert low.record.fit["precision"] == "bfloat16"
    assert low.record.metrics != full.record.metrics
    assert low.metric("r2") == pytest.approx(full.metric("r2"), abs=0.02)


def test_tensorboard_gets_every_line_or_says_what_is_missing(
    learnable: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match="pip install tensorboard"):
        train(learnable, QUICK, tensorboard=tmp_path)
    monkeypatch.undo()
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(learnable, QUICK, tensorboard=tmp_path)
    events = accumulator.EventAccumulator(str(tmp_path / run.run_id)).Reload()
    lines = _logged(run)
    assert [e.step for e in events.Scalars("loss")] == [line["step"] for line in lines]
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([x["loss"] for x in lines])


@pytest.mark.parametrize("slide", [3, 19])  # of train, and of test
def test_a_slide_with_numbers_that_are_none_is_named(tmp_path: Path, slide: int) -> None:
    x, values = es.planted(20, 20, dim=8)
    x[slide][5, 2] = np.inf
    store = es.build(tmp_path, x, values)
    es.freeze(store)
    with pytest.raises(NotFinite, match=f"slide 'S-{slide:04}': .* the first is row 5"):
        train(store, replace(QUICK, steps=8))


@pytest.mark.proof
def test_memory_that_is_not_enough_is_told_and_leaves_no_run(learnable: FeatureStore) -> None:
    code = """
import resource, sys
from featurestore import FeatureStore
from featurestore.errors import TrainError
from trainer import TrainConfig, train
resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
try:
    train(FeatureStore(sys.argv[1]), TrainConfig(cohort="all", hidden=65536, projection=65536))
except TrainError as error:
    print(error)
"""
    before = learnable.sql("from runs").height
    words = [sys.executable, "-c", code, str(learnable.root)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.startswith("the memory is not enough for this training. Lower --hidden")
    assert learnable.sql("from runs").height == before
