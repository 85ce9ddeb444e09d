"""Losses, schedule and single steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurestore.types import Target
from trainer import TrainConfig
from trainer.learner import Learner, bag_loss, scaled_labels, schedule, steps_of
from trainer.model import BagModel


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_interval_loss_is_zero_inside_and_the_square_outside(a: float, b: float, v: float) -> None:
    low, high = sorted((a, b))
    y = torch.tensor([[(low + high) / 2, low, high]])
    loss = bag_loss("interval", torch.zeros(1), torch.tensor([v]), y)
    expected = max(low - v, v - high, 0) ** 2
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def test_labels_without_a_range_are_points() -> None:
    bags = pl.DataFrame({"value": [50.0, 20], "low": [40.0, None], "high": [60.0, None]})
    y = scaled_labels(bags, Target())
    assert y == pytest.approx(np.array([[0.5, 0.4, 0.6], [0.2, 0.2, 0.2]]))


def test_the_learning_rate_rises_then_falls_to_zero() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    assert rates[10] == 1
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[100] == pytest.approx(0)


def test_weight_decay_is_not_on_biases_and_gradients_are_clipped() -> None:
    model = BagModel(4)
    torch.nn.init.ones_(model.head.bias)
    torch.nn.init.ones_(model.head.weight)
    config = TrainConfig(cohort="c", lr=0.1, weight_decay=0.5, clip=1e-9, warm_up=0.0)
    learner = Learner(model, "mse", config, 10)
    bias, weight = model.head.bias.clone(), model.head.weight.clone()
    x, mask = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    learner.step(x, mask, model.value(model(x, mask)).detach()[:, None].expand(-1, 3))
    assert torch.equal(model.head.bias, bias)  # no gradient, no decay
    assert torch.allclose(model.head.weight, weight * (1 - 0.1 * 0.5))
    learner.step(torch.ones(2, 3, 4), mask, torch.zeros(2, 3))
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert 0 < norm <= 1.01e-9


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 50))
def test_steps_are_those_of_whole_epochs(n: int, batch: int, epochs: int) -> None:
    config = TrainConfig(cohort="c", batch_size=batch, epochs=epochs)
    per_epoch, steps = steps_of(config, n)
    assert abs(per_epoch - n / batch) <= max(0.5, 1 - n / batch)
    assert steps == epochs * per_epoch
    assert steps_of(TrainConfig(cohort="c", batch_size=batch, steps=7), n)[1] == 7
    assert steps_of(TrainConfig(cohort="c", batch_size=batch), n)[1] == max(1_000, 20 * per_epoch)
