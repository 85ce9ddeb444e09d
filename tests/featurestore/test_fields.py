"""A field is declared once: its check, its option and its JSON follow from it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.errors import ConfigError
from featurestore.fields import (
    arguments_of,
    check,
    command_of,
    from_json,
    setting,
    to_json,
)
from featurestore.types import Case, Cohort, RunRecord, Slide, Target, Tiling


@dataclass(frozen=True, kw_only=True)
class Config:
    """One field of each kind."""

    cohort: str
    steps: int | None = setting(None, "Steps.", at_least=1)
    rate: float = setting(0.5, "A rate.", over=0, under=1)
    way: Literal["block", "exact"] = setting("block", "A way.")
    fast: bool = setting(True, "Fast or not.")
    encoder_id: str | None = setting(None, "Which.", option="encoder")
    inner: int = setting(3, "Not an option.", hidden=True)

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 1.5}, "steps must be a whole number, got 1.5"),
        ({"steps": True}, "whole number"),
        ({"rate": 0.0}, "rate must be over 0 and under 1, got 0"),
        ({"rate": float("nan")}, "rate must be a number"),
        ({"rate": float("inf")}, "under 1"),
        ({"rate": "fast"}, "rate must be a number, got 'fast'"),
        ({"way": "other"}, "way must be one of block, exact, got 'other'"),
        ({"encoder_id": 5}, "encoder must be a text, got 5"),
        ({"cohort": None}, "cohort must have a value"),
        ({"fast": "no"}, "yes or no"),
    ],
)
def test_a_value_out_of_its_limits_is_named_with_what_was_expected(
    changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        Config(**({"cohort": "all"} | changes))


@given(
    steps=st.none() | st.integers(1, 10**6),
    rate=st.floats(0, 1, exclude_min=True, exclude_max=True),
    way=st.sampled_from(["block", "exact"]),
    fast=st.booleans(),
    encoder=st.none() | st.text("abc/ '\"-", min_size=1),
)
def test_the_command_line_names_what_differs_and_nothing_else(
    steps: int | None, rate: float, way: Any, fast: bool, encoder: str | None
) -> None:
    made = Config(
        cohort="a b", steps=steps, rate=rate, way=way, fast=fast, encoder_id=encoder, inner=4
    )
    words = arguments_of(made)
    assert words[0] == "a b"
    assert "4" not in words[1:2]
    assert ("--steps" in words) == (steps is not None)
    assert ("--way" in words) == (way != "block")
    assert ("--no-fast" in words) == (not fast)
    assert "--inner" not in words
    assert "--encoder-id" not in words
    if encoder is not None:
        assert words[words.index("--encoder") + 1] == encoder
    assert shlex.split(command_of("train", made)) == ["trephine", "train", *words]


NOUNS = [
    Target(name="fibrosis", kind="continuous", low=0.0, high=3.0),
    Tiling(tile_px=112),
    Case(case_id="C", patient_id="P", age_years=64.5),
    Slide(slide_id="S", case_id="C", path="/x.svs", scanned_on=date(2020, 2, 29), mpp=0.5),
    Cohort(
        cohort="all",
        cohort_id="0",
        target="cellularity",
        query="select 1",
        parameters={"since": "2021-01-01"},
        split_method="time",
        options={"seed": 0, "test_fraction": 0.5},
        dropped={},
    ),
    RunRecord(
        run_id="r",
        cohort="all",
        encoder_id="e",
        tiling_id="t",
        config={"lr": 0.003},
        code_version="1",
        target="cellularity",
        target_kind="fraction",
        target_low=0.0,
        target_high=100.0,
        dim=4,
        model="mean",
        bag_size=16,
        seed=0,
        n_train=3,
        n_validation=0,
        n_test=2,
        fit={"steps": 10},
        notes=("one", "two"),
        started_at=datetime(2026, 1, 2, 3, 4, 5, 6),
        seconds=1.5,
        metrics={"test": {"r2": 0.5, "auc": None}},
    ),
]


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: type(noun).__name__)
def test_a_noun_comes_back_from_its_json(noun: Any) -> None:
    assert from_json(type(noun), to_json(noun)) == noun


def test_json_of_another_version_is_read_as_far_as_it_goes() -> None:
    said = to_json(Tiling()) | {"unheard_of": 1}
    del said["min_tissue"]
    assert from_json(Tiling, said) == Tiling()
    with pytest.raises(ConfigError, match="a Case has no patient_id"):
        from_json(Case, {"case_id": "C"})


def test_a_noun_without_limits_says_its_columns_name() -> None:
    with pytest.raises(ConfigError, match="age_years must be at least 0 and at most 130, got 300"):
        Case(case_id="C", patient_id="P", age_years=300)


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A dataclass in a dataclass, with a mapping of them left as it is."""

    tiling: Tiling
    more: Mapping[str, Any] = field(default_factory=dict)
    share: float | None = setting(None, at_least=0, at_most=1)


def test_dataclasses_within_dataclasses_come_back() -> None:
    made = Outer(tiling=Tiling(tile_px=1), more={"a": [1, None]}, share=0.5)
    assert from_json(Outer, to_json(made)) == made
