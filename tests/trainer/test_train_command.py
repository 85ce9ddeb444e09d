"""`trephine train`: its options and its live line."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import pytest

import cli
from trainer import TrainConfig


def test_every_field_of_a_configuration_is_an_option_with_its_default() -> None:
    command = cli.main.commands["train"]  # type: ignore[attr-defined]
    options = {p.name: p for p in command.params}
    with command.make_context("train", ["all", "--store", "x"]) as context:
        for field in fields(TrainConfig):
            if field.name != "cohort":
                name = field.name.removesuffix("_id")
                assert "--" + name.replace("_", "-") in options[name].opts
                assert context.params[name] == field.default


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


LINE: Mapping[str, Any] = {
    "step": 250, "steps": 1_000, "epoch": 5.0, "loss": 0.61234, "lr": 1e-3,
    "bags_per_s": 1234.5, "seconds": 20.0, "validation_loss": 0.6, "validation_r2": 0.8766,
}  # fmt: skip


def test_the_live_line_says_loss_r2_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with cli._live_line() as show:
        show(LINE)
        shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    for words in ("epoch 5, step 250 of 1,000", "loss 0.6123", "validation R2 0.877"):
        assert words in shown
    assert "1,234 bags/s" in shown
    assert "1 min 0 s left" in shown


def test_there_is_no_live_line_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with cli._live_line() as show:
        show(LINE)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
