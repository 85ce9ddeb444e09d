"""Models of one's own: trained, predicted with in another process, evaluated and shown."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from builders import embedding_stores as es
from builders import own_models
from builders.attended import attention
from builders.own_models import MeanOfTiles, Transformer, Unnamed
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from trainer import TrainConfig, predict, train, write_page
from trainer.config import Named, named
from trainer.external import validate
from trainer.heatmap import heatmap

ROOT = Path(__file__).parents[2]
QUICK = TrainConfig(cohort="all", bag_size=16, steps=30, lr=0.01)
HERE = "builders.own_models"

literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in __import__("keyword").kwlist
)


@given(
    home=st.lists(names, min_size=1, max_size=3).map(".".join),
    name=names,
    options=st.dictionaries(names, literals, max_size=3).filter(
        lambda options: all("inf" not in repr(v) for v in options.values())
    ),
    start=st.sampled_from(["", "0123456789abcdef"]),
)
def test_what_names_a_class_reads_back(
    home: str, name: str, options: dict[str, Any], start: str
) -> None:
    said = Named(home=home, name=name, options=options, start=start)
    assert named(said.text()) == said


def test_a_class_trains_as_a_run_with_predictions_a_page_and_a_validation(
    learnable: FeatureStore, tmp_path: Path
) -> None:
    run = train(learnable, QUICK, model=partial(MeanOfTiles, width=6))
    assert run.record.model == f"{HERE}:MeanOfTiles(width=6)"
    assert run.metric("r2") > 0.5
    again = predict(learnable, run.run_id).filter(pl.col("split") == "test")
    ours = run.predictions.filter(pl.col("split") == "test")
    assert again["mean"].to_list() == pytest.approx(ours["mean"].to_list(), abs=1e-4)
    by_name = train(learnable, replace(QUICK, model=f"{HERE}:MeanOfTiles(width=6)"))
    assert by_name.predictions.equals(run.predictions)
    es.freeze(learnable, "later", "random", where="slide_id >= 'S-0020'")
    assert validate(learnable, run.run_id, "later").text()
    page = write_page(learnable, [run.run_id], tmp_path / "report.html").read_text()
    assert "This model gives no attention, so no tile is marked." in page
    assert "MeanOfTiles(width=6)" in page
    with pytest.raises(ConfigError, match="has no attention"):
        heatmap(learnable, run.run_id, ["S-0001"], tmp_path)


def test_its_attention_is_shown_where_it_gives_some(
    learnable: FeatureStore, tmp_path: Path
) -> None:
    run = train(learnable, QUICK, model=Transformer)
    assert attention(learnable, run.run_id, "S-0001")["attention"].sum() == pytest.approx(1)
    heatmap(learnable, run.run_id, ["S-0001"], tmp_path)
    assert (tmp_path / "S-0001.png").exists()


def test_a_made_module_begins_with_the_weights_it_has(learnable: FeatureStore) -> None:
    torch.manual_seed(3)
    module = MeanOfTiles(8, width=5, dropout=0.2)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    run = train(learnable, replace(QUICK, lr=1e-12), model=module)
    own, _, start = run.record.model.partition("@")
    assert own == f"{HERE}:MeanOfTiles(width=5, dropout=0.2)"
    assert len(start) == 16
    x, mask = torch.randn(2, 4, 8), torch.ones(2, 4, dtype=torch.bool)
    from trainer.inference import load_model

    model = load_model(run)
    inside = ((x - model.shift) / model.scale, mask)
    assert torch.allclose(model(x, mask), module.eval()(*inside)[:, 0], atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())  # untouched
    with pytest.raises(ConfigError, match="handed over in Python"):
        train(learnable, run.config)


def test_what_another_function_makes_is_named_by_its_class(learnable: FeatureStore) -> None:
    config = replace(QUICK, steps=2)
    ways: list[Callable[..., Any]] = [
        own_models.a_function,
        lambda: MeanOfTiles(8, width=5),
        partial(own_models.a_function, 8),
    ]
    runs = [train(learnable, config, model=way) for way in ways]
    assert runs[0].record.model.startswith(f"{HERE}:MeanOfTiles(width=5, dropout=0.0)@")
    assert len({run.record.model for run in runs}) == 1
    assert all(run.predictions.equals(runs[0].predictions) for run in runs)


class Local(MeanOfTiles):
    """Found by its name, though not by every process."""


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Unnamed(8, hidden=3), "could not make this .*Unnamed again"),
        (partial(MeanOfTiles, width=torch.float32), "must be numbers, texts or lists"),
        (type("Made", (MeanOfTiles,), {"__module__": "__main__"}), "could not find Made"),
        (lambda: 3, "must be a torch.nn.Module, got 3"),
        (own_models.Padded, "gives .* to a padded bag"),
        (own_models.Logits, "no share"),
        (own_models.PerTile, r"a value of shape \(2, 7, 1\)"),
        (own_models.Frozen, "nothing to learn"),
        (own_models.Failing, "fails on x .*cannot be multiplied"),
        (partial(MeanOfTiles, height=3), "cannot be made with .*height"),
        (nn.Linear(8, 1), "Linear fails on x"),
    ],
)
def test_what_cannot_be_a_model_is_refused_in_one_sentence(
    learnable: FeatureStore, model: Any, said: str
) -> None:
    n = learnable.runs().height
    with pytest.raises(ConfigError, match=said):
        train(learnable, replace(QUICK, steps=2), model=model)
    assert learnable.runs().height == n


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("median", "model must be one of attention, .*, package.module:Class, got 'median'"),
        ("a.b:C(3)", "they need names"),
        ("a.b:C(x=open)", "cannot be read"),
        ("a.b:C(x=", "names no class of a module"),
        ("nowhere.to:Be", "cannot be imported: ModuleNotFoundError.*PYTHONPATH"),
        ("subprocess:run(args='touch stolen')", "must be a class of torch.nn.Module"),
        ("os:system(command='touch stolen')", "must be a class of torch.nn.Module"),
    ],
)
def test_a_name_that_names_no_model_is_refused(
    learnable: FeatureStore, model: str, said: str, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        train(learnable, replace(QUICK, model=model))
    assert not list(tmp_path.iterdir())


def test_options_of_our_poolings_are_not_taken_for_those_of_ones_own() -> None:
    with pytest.raises(ConfigError, match="are of the poolings that come along"):
        TrainConfig(cohort="all", model="a.b:C", hidden=64)


@pytest.fixture
def guide(learnable: FeatureStore, tmp_path: Path) -> tuple[Path, str]:
    """The folder of the module of docs/models.md, and its script for the learnable store."""
    text = (ROOT / "docs/models.md").read_text()
    module, script = (part.split("```")[0] for part in text.split("```python\n")[1:3])
    (tmp_path / "mymodels.py").write_text(module)
    script = script.replace('"store"', repr(str(learnable.root)))
    return tmp_path, script.replace('"adults"', '"all"')


def test_the_guide_runs_as_it_stands_and_what_lacks_its_module_says_so(
    learnable: FeatureStore, guide: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.syspath_prepend(guide[0])
        exec(guide[1], {})
    del sys.modules["mymodels"]
    run_id = learnable.run("latest").run_id
    assert "width=32" in learnable.run(run_id).model
    with pytest.raises(
        ConfigError, match=r"model mymodels:TwoLayers cannot be imported.*PYTHONPATH"
    ):
        predict(learnable, run_id)


@pytest.mark.proof
def test_another_process_trains_and_predicts_where_it_finds_the_module(
    learnable: FeatureStore, guide: tuple[Path, str]
) -> None:
    def call(*words: str, path: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": path, "TREPHINE_STORE": str(learnable.root)}
        command = [sys.executable, *words]
        return subprocess.run(
            command, env=env, capture_output=True, text=True, cwd=ROOT, check=False
        )

    known, model = f"{ROOT}:{guide[0]}", "mymodels:TwoLayers(width=5)"
    trained = call("cli.py", "train", "all", "--steps", "3", "--model", model, path=known)
    assert trained.returncode == 0, trained.stderr
    predicted = call("cli.py", "predict", "latest", "--format", "csv", path=known)
    assert predicted.stdout.count("\n") == 41, predicted.stderr
    refused = call("cli.py", "predict", "latest", path=str(ROOT))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("trephine: model mymodels:")
    assert refused.stderr.count("\n") == 1
