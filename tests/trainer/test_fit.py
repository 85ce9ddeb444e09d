from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from builders import embedding_stores as es
from builders.embedding_stores import SIZES
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import ConfigError, TrainError
from featurestore.store import FeatureStore
from featurestore.types import Target
from trainer import TrainConfig, fit, train
from trainer import holdout as splits
from trainer.model import BagModel

QUICK = TrainConfig(cohort="all", bag_size=16, steps=60)


def test_it_learns_a_planted_signal(learnable: FeatureStore) -> None:
    run = train(learnable, TrainConfig(cohort="all", bag_size=16))
    assert run.metric("r2") > 0.9
    assert run.metric("r2", "ridge_test") > 0.9
    assert run.record["n_train"] + run.record["n_validation"] == 20
    row = learnable.runs().row(0, named=True)
    assert (row["run_id"], row["r2"]) == (run.run_id, run.metric("r2"))
    assert {p.name for p in run.path.iterdir()} == {
        "weights.safetensors",
        "run.json",
        "metrics.jsonl",
        "predictions.parquet",
        "predicted_vs_truth.png",
        "bland_altman.png",
    }
    assert f"trephine report {run.run_id}" in run.summary()


def test_the_best_weights_on_a_large_validation_are_kept(tmp_path: Path) -> None:
    store = es.build(tmp_path, *es.planted(60, 6, dim=8, noise=4.0))
    es.freeze(store)
    lines: list[dict[str, Any]] = []
    config = replace(QUICK, steps=400, validation_fraction=0.67, patience=4, lr=0.03)
    run = train(store, config, lines.append)
    losses = [line["validation_loss"] for line in lines]
    best = lines[int(np.argmin(losses))]["step"]
    assert run.record["fit"]["best_step"] == best
    assert run.record["fit"]["steps"] == lines[-1]["step"] < 400  # stopped early
    assert run.metric("r2", "validation") == pytest.approx(
        max(x["validation_r2"] for x in lines), abs=0.1
    )


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
    lines: list[dict[str, Any]] = []
    first = train(learnable, config, lines.append)
    torch.set_num_threads(1)  # of no influence on small batches
    torch.rand(7)  # nor is what ran before
    again = train(learnable, config)
    assert again.record["metrics"] == first.record["metrics"]
    assert again.predictions.equals(first.predictions)
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (first, again)]
    assert weights[0] == weights[1]
    other = train(learnable, replace(config, seed=1))
    assert other.record["metrics"] != first.record["metrics"]
    log = (first.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in log] == lines
    assert lines[-1]["step"] == 60


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
    assert f"none for {test.filter(whole).height} of {test.height}" in run.summary()


def test_slides_are_not_needed_and_not_opened(learnable: FeatureStore) -> None:
    code = (
        "import sys, trainer.fit, trainer.page\n"
        "bad = {'pyvips', 'openslide', 'timm', 'ingest', 'ray', 'ollama'} & set(sys.modules)\n"
        "assert not bad, bad"
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


def _bags(patients: list[int], values: list[float], split: str = "train") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(len(patients))],
            "patient_id": [f"P{p}" for p in patients],
            "value": values,
            "split": [split] * len(patients),
        }
    )


@given(
    patients=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    fraction=st.floats(0, 0.9),
    calibration=st.floats(0, 0.9),
    seed=st.integers(0, 99),
)
def test_validation_and_calibration_share_no_patient_with_train(
    patients: list[int], fraction: float, calibration: float, seed: int
) -> None:
    config = TrainConfig(
        cohort="c", validation_fraction=fraction, calibration_fraction=calibration, seed=seed
    )
    bags = _bags(patients, [float(p) for p in patients])
    cut = splits.assign_splits(bags, config)
    sides = cut.group_by("patient_id").agg(pl.col("split").n_unique())
    assert (sides["split"] == 1).all()
    assert cut["slide_id"].to_list() == bags["slide_id"].to_list()
    assert splits.assign_splits(bags, config).equals(cut)
    assert "train" in cut["split"]
    assert (cut["split"] == "calibration").sum() not in range(1, 20)
    without = splits.assign_splits(bags, replace(config, calibration_fraction=0))
    assert cut.filter(without["split"] == "validation").equals(
        without.filter(pl.col("split") == "validation")
    )


def test_calibration_is_predicted_and_of_no_influence_on_the_weights(tmp_path: Path) -> None:
    x, values = es.planted(60, 6, dim=8)
    store = es.build(tmp_path, x, values)
    parts = np.repeat(["train", "calibration", "test"], 20)
    es.freeze(store, split=dict(zip(store.bags_where("true")["slide_id"], parts, strict=True)))
    first = train(store, replace(QUICK, validation_fraction=0.5, steps=20))
    assert first.predictions["split"].value_counts().sort("split").rows() == [
        ("calibration", 20),
        ("test", 20),
        ("validation", first.record["n_validation"]),
    ]
    assert first.record["n_calibration"] == 20
    assert not any("no intervals" in note for note in first.record["notes"])
    bags = store.bags("all")
    wrong = pl.when(pl.col("split") == "calibration").then(100 - pl.col("value"))
    with pytest.MonkeyPatch.context() as patch:
        changed = bags.with_columns(wrong.otherwise(pl.col("value")).alias("value"))
        patch.setattr(store, "bags", lambda *_: changed)
        other = train(store, replace(QUICK, validation_fraction=0.5, steps=20))
    assert other.predictions["truth"].to_list() != first.predictions["truth"].to_list()
    weights = [(run.path / "weights.safetensors").read_bytes() for run in (first, other)]
    assert weights[0] == weights[1]


def test_too_few_slides_to_calibrate_are_said(learnable: FeatureStore) -> None:
    assert "calibration has 0 slides, under 20" in train(learnable, QUICK).summary()


def test_validation_spans_the_labels() -> None:
    bags = _bags(list(range(50)), [float(i) for i in range(50)])
    chosen = splits.cut_patients(bags, 0.2, 0, 1)
    values = sorted(int(p[1:]) for p in chosen)
    assert [v // 5 for v in values] == list(range(10))


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
    ("sides", "values", "patients", "message"),
    [
        ("aaaa", [1, 2, 3, 4], "abcd", "no test slides"),
        ("abbb", [1, 2, 3, 4], "abcd", "1 train slides of 1 patients"),
        ("aabb", [1, 2, 3, 4], "aacd", "2 train slides of 1 patients"),
        ("aabb", [7, 7, 3, 4], "abcd", "have the label 7"),
        ("aabb", [1, 2, 3, 4], "abbc", "are in train and test"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(
    sides: str, values: list[float], patients: str, message: str
) -> None:
    bags = pl.DataFrame(
        {
            "split": [{"a": "train", "b": "test"}[s] for s in sides],
            "value": [float(v) for v in values],
            "patient_id": list(patients),
        }
    )
    with pytest.raises(TrainError, match=message):
        splits.check_trainable(bags, QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bag_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"steps": 5, "epochs": 2.0},
        {"steps": 0},
        {"model": "median"},
        {"loss": "l1"},
        {"validation_fraction": 1.0},
        {"tiles": "import os"},
        {"seed": -1},
        {"device": "tpu"},
    ],
)
def test_a_configuration_is_checked_where_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TrainConfig(cohort="all", **wrong)


def test_a_diverging_training_is_refused(tmp_path: Path) -> None:
    x, values = es.planted(8, 5, dim=4)
    x[0][:] = np.nan
    store = es.build(tmp_path, x, values)
    es.freeze(store)
    with pytest.raises(TrainError, match=r"loss is nan.*Lower --lr"):
        train(store, QUICK)
    assert store.runs().is_empty()


def test_a_small_cohort_trains_without_validation_and_says_so(tmp_path: Path) -> None:
    store = es.build(tmp_path, *es.planted(6, 5, dim=4))
    es.freeze(store)
    run = train(store, QUICK)
    assert run.record["n_validation"] == 0
    assert "no validation" in run.summary()


# -- losses, targets, schedule ---------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_interval_loss_is_zero_inside_and_the_square_outside(a: float, b: float, v: float) -> None:
    low, high = sorted((a, b))
    y = torch.tensor([[(low + high) / 2, low, high]])
    loss = fit.bag_loss("interval", torch.zeros(1), torch.tensor([v]), y)
    expected = max(low - v, v - high, 0) ** 2
    assert float(loss) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("loss", ["bce", "mse", "huber", "interval"])
def test_every_loss_learns(learnable: FeatureStore, loss: Any) -> None:
    assert train(learnable, replace(QUICK, loss=loss, steps=400)).metric("r2") > 0.7


@pytest.mark.parametrize("model", ["attention", "gated", "mean", "max"])
def test_every_model_learns(learnable: FeatureStore, model: Any) -> None:
    assert train(learnable, replace(QUICK, model=model, steps=400)).metric("r2") > 0.5


def test_labels_without_a_range_are_points() -> None:
    bags = pl.DataFrame({"value": [50.0, 20], "low": [40.0, None], "high": [60.0, None]})
    y = fit.scaled_labels(bags, Target())
    assert y == pytest.approx(np.array([[0.5, 0.4, 0.6], [0.2, 0.2, 0.2]]))


@pytest.mark.parametrize(
    ("target", "scale"),
    [
        (("fat_um", "continuous", 100.0, 300.0), lambda v: 100 + 2 * v),
        (("fibrosis", "binary", 0.0, 1.0), lambda v: (v > 50).astype(float)),
    ],
)
def test_other_targets_learn_in_their_own_units(
    tmp_path: Path, target: tuple[str, str, float, float], scale: Any
) -> None:
    x, values = es.planted(24, 20, dim=8)
    store = es.build(tmp_path, x, scale(values), target=target)
    es.freeze(store, target=target[0])
    run = train(store, replace(QUICK, steps=400))
    assert run.record["target_kind"] == target[1]
    assert run.record["config"]["loss"] == ("mse" if target[1] == "continuous" else "bce")
    if target[1] == "binary":
        assert run.metric("auc") > 0.9
    else:
        assert run.metric("r2") > 0.7
        assert run.predictions["mean"].mean() > 100


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [fit._schedule(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0)


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
    assert runs[0].record["metrics"] == runs[1].record["metrics"]
    assert runs[0].predictions.equals(runs[1].predictions)


def test_bfloat16_is_taken_only_where_it_is_native(
    learnable: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto, cpu = TrainConfig(cohort="all"), torch.device("cpu")
    for can, expected in (({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda can=can: can)
        assert fit.precision_of(auto, cpu) == expected
        assert fit.precision_of(replace(auto, precision="bfloat16"), cpu) == torch.bfloat16
        assert fit.precision_of(replace(auto, precision="float32"), cpu) == torch.float32


def test_bfloat16_learns_as_well_as_float32(learnable: FeatureStore) -> None:
    config = replace(QUICK, steps=400)
    full, low = (train(learnable, replace(config, precision=p)) for p in ("float32", "bfloat16"))
    assert low.record["fit"]["precision"] == "bfloat16"
    assert low.record["metrics"] != full.record["metrics"]
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
    lines = [json.loads(x) for x in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [e.step for e in events.Scalars("loss")] == [line["step"] for line in lines]
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([x["loss"] for x in lines])


# -- the model's training --------------------------------------------------------------------------


def test_weight_decay_is_not_on_biases_and_gradients_are_clipped() -> None:
    model = BagModel(4)
    torch.nn.init.ones_(model.head.bias)
    torch.nn.init.ones_(model.head.weight)
    config = TrainConfig(cohort="c", lr=0.1, weight_decay=0.5, clip=1e-9, warm_up=0.0)
    learner = fit.Learner(model, "mse", config, 10)
    bias, weight = model.head.bias.clone(), model.head.weight.clone()
    x, mask = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    learner.step(x, mask, model.value(model(x, mask)).detach()[:, None].expand(-1, 3))
    assert torch.equal(model.head.bias, bias)  # no gradient, no decay
    assert torch.allclose(model.head.weight, weight * (1 - 0.1 * 0.5))
    learner.step(torch.ones(2, 3, 4), mask, torch.zeros(2, 3))
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert 0 < norm <= 1.01e-9
