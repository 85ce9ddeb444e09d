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
from trainer.config import steps_of
from trainer.learner import (
    Learner,
    bag_losses,
    rate_of,
    scaled_labels,
    schedule,
    slide_weights,
)
from trainer.model import BagModel


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_interval_loss_is_zero_inside_and_the_square_outside(a: float, b: float, v: float) -> None:
    low, high = sorted((a, b))
    y = torch.tensor([[(low + high) / 2, low, high]])
    (loss,) = bag_losses("interval", torch.zeros(1), torch.tensor([v]), y)
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


def test_narrow_embeddings_are_learnt_at_a_higher_rate_unless_one_is_named() -> None:
    config = TrainConfig(cohort="c")
    assert rate_of(config, 384) == pytest.approx(3e-3, rel=0.01)
    assert rate_of(config, 96) == pytest.approx(4 * rate_of(config, 384))
    assert rate_of(TrainConfig(cohort="c", lr=0.1), 384) == 0.1


def test_weight_decay_is_not_on_biases_and_gradients_are_clipped() -> None:
    model = BagModel(4)
    for parameter in (model.head.bias, model.head.weight):
        torch.nn.init.ones_(parameter)
    config = TrainConfig(cohort="c", lr=0.1, weight_decay=0.5, clip=1e-9, warm_up=0.0)
    learner = Learner(model, "mse", config, 10)
    bias, weight = model.head.bias.clone(), model.head.weight.clone()
    x, mask = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    learner.step(x, mask, model.value(model(x, mask)).detach()[:, None].expand(-1, 4))
    assert torch.equal(model.head.bias, bias)  # no gradient, no decay
    assert torch.allclose(model.head.weight, weight * (1 - 0.1 * 0.5))
    learner.step(torch.ones(2, 3, 4), mask, torch.tensor([[0.0, 0, 0, 1]] * 2))
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert 0 < norm <= 1.01e-9


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 50))
def test_steps_are_those_of_whole_epochs(n: int, batch: int, epochs: int) -> None:
    config = TrainConfig(cohort="c", batch_size=batch, epochs=epochs)
    per_epoch, steps = steps_of(config, n)
    assert abs(per_epoch - n / batch) <= max(0.5, 1 - n / batch)
    assert steps == epochs * per_epoch
    assert steps_of(TrainConfig(cohort="c", batch_size=batch, steps=7), n)[1] == 7
    by_default = steps_of(TrainConfig(cohort="c", batch_size=batch), n)[1]
    assert 2 * per_epoch <= by_default <= 20 * per_epoch
    assert by_default <= max(1_000, 2 * per_epoch)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_a_case_weighs_once_or_a_slide_does(cases: list[int]) -> None:
    bags = pl.DataFrame({"case_id": [str(case) for case in cases]})
    labels = np.linspace(0, 1, len(cases))
    weights = slide_weights(bags, TrainConfig(cohort="c"), labels)
    by_case = [weights[np.array(cases) == case].sum() for case in set(cases)]
    assert by_case == pytest.approx([len(cases) / len(set(cases))] * len(by_case), rel=1e-5)
    assert (slide_weights(bags, TrainConfig(cohort="c", weight="slide"), labels) == 1).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_balanced_classes_weigh_the_same(low: int, high: int, slides: int) -> None:
    labels = np.repeat([0.0, 1.0], [low * slides, high])  # each low Case has several Slides
    cases = [*np.repeat(np.arange(low), slides), *range(low, low + high)]
    bags = pl.DataFrame({"case_id": [str(case) for case in cases]})
    weights = slide_weights(bags, TrainConfig(cohort="c", balance=True), labels)
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    assert weights[labels == 0].sum() == pytest.approx(weights[labels == 1].sum(), rel=1e-4)


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([[3.0, 3, 3, 3], [1, 1, 1, 1], [2, 2, 2, 2]], 1),  # clearly better than the last
        ([[3.0, 3, 3, 3], [2, 2, 2, 1], [0, 4, 1, 3]], 2),  # by luck
        ([[3.0, 3, 3, 3], [2, 2, 2, 2], [1, 1, 1, 1]], 2),
    ],
)
def test_the_last_weights_stay_unless_earlier_ones_are_clearly_better(
    losses: list[list[float]], kept: int
) -> None:
    learner = Learner(BagModel(4), "mse", TrainConfig(cohort="c"), 3)
    for step, of_slides in enumerate(losses):
        torch.nn.init.constant_(learner.model.head.bias, step)
        learner.judge(step, torch.tensor(of_slides, dtype=torch.float32))
    assert learner.keep_best(len(losses) - 1) == kept
    assert float(learner.model.head.bias.detach()) == kept
