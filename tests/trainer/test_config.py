"""A training's configuration: one declaration for check, command line and run.json."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrephineError
from featurestore.fields import about, arguments_of, from_json, name_of, to_json, types_of
from featurestore.types import Target
from trainer import TrainConfig, train
from trainer.config import CurveConfig, SeedsConfig, SettleConfig, SweepConfig, loss_of


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


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Values of a field, of its type, choices and limits."""
    plain, optional, choices = types_of(TrainConfig)[name]
    said = about(TrainConfig.__dataclass_fields__[name])
    low = max(said.at_least, said.over, 0)
    if name == "tiles":
        values: st.SearchStrategy[Any] = st.sampled_from(["tissue > 0.5", "not pen >= 0.1"])
    elif choices:
        values = st.sampled_from(choices)
    elif plain is bool:
        values = st.booleans()
    elif plain is int:
        values = st.integers(int(low), 10_000)
    elif plain is float:
        high = min(said.under, said.at_most, 1e6)
        values = st.floats(low, high, exclude_min=said.over >= 0, exclude_max=high == said.under)
    else:
        values = st.text("abc -'\"$", min_size=1)
    return values | st.none() if optional else values


CONFIGS = (
    st.fixed_dictionaries({f.name: values_of(f.name) for f in fields(TrainConfig)})
    .map(lambda made: made | ({"epochs": None} if made["steps"] else {}))
    .map(lambda made: TrainConfig(**made))
)


@given(CONFIGS)
def test_json_and_the_command_line_give_a_configuration_back(config: TrainConfig) -> None:
    assert from_json(TrainConfig, json.loads(json.dumps(to_json(config)))) == config
    words = arguments_of(config)
    assert words.pop(0) == config.cohort
    said: dict[str, Any] = {}
    while words:
        option = words.pop(0)
        off = option.startswith("--no-")
        (one,) = (
            f for f in fields(TrainConfig) if option in (f"--{name_of(f)}", f"--no-{name_of(f)}")
        )
        plain = types_of(TrainConfig)[one.name][0]
        said[one.name] = not off if plain is bool else plain(words.pop(0))
    assert TrainConfig(cohort=config.cohort, **said) == config


def test_what_an_older_run_does_not_say_is_as_by_default() -> None:
    assert from_json(TrainConfig, {"cohort": "c", "gone": 1}) == TrainConfig(cohort="c")


@pytest.mark.parametrize(
    ("kind", "loss", "expected"),
    [
        ("fraction", None, "mse"),
        ("binary", None, "bce"),
        ("continuous", None, "mse"),
        ("fraction", "huber", "huber"),
        ("continuous", "interval", "interval"),
    ],
)
def test_the_loss_goes_by_the_target_unless_it_is_said(kind: Any, loss: Any, expected: str) -> None:
    assert loss_of(TrainConfig(cohort="c", loss=loss), Target(kind=kind)) == expected


def test_cross_entropy_of_a_continuous_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="loss bce needs a fraction or binary target"):
        loss_of(TrainConfig(cohort="c", loss="bce"), Target(kind="continuous"))


def test_a_configuration_is_light_to_import() -> None:
    code = (
        "import sys; from trainer import TrainConfig; TrainConfig(cohort='c')\n"
        "bad = {'torch', 'numpy', 'polars', 'duckdb', 'zarr'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("kind", "name", "most"),
    [
        (TrainConfig, "resamples", 1_000_000),
        (SettleConfig, "resamples", 1_000_000),
        (SeedsConfig, "seeds", 1_000),
        (SweepConfig, "seeds", 1_000),
        (CurveConfig, "seeds", 1_000),
    ],
)
def test_numbers_that_no_machine_can_do_are_refused_before_any_work(
    kind: Any, name: str, most: int
) -> None:
    cohort = {"cohort": "c"} if kind is TrainConfig else {}
    assert getattr(kind(**cohort, **{name: most}), name) == most
    with pytest.raises(
        ConfigError, match=re.escape(f"{name} must be at least 1 and at most {most:,}, got")
    ):
        kind(**cohort, **{name: most + 1})


NUMBERS = [name for name, (kind, *_) in types_of(TrainConfig).items() if kind in (int, float)]
LONG = {"steps", "epochs", "resamples"}  # a number of them takes as long as it says


@pytest.mark.parametrize("name", sorted({*NUMBERS} - LONG))
def test_the_largest_number_that_is_allowed_trains_or_is_refused_in_words(
    learnable: FeatureStore, name: str
) -> None:
    (said,) = (about(one) for one in fields(TrainConfig) if one.name == name)
    largest = min(said.at_most, math.nextafter(said.under, 0), 1e300)
    given = {name: types_of(TrainConfig)[name][0](largest)}
    with suppress(TrephineError):
        train(learnable, TrainConfig(cohort="all", steps=2, resamples=1, **given), draw=False)
