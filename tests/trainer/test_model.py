from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import ConfigError
from trainer.config import Pooling
from trainer.model import BagModel

D = 12
POOLINGS = get_args(Pooling)


def make(pooling: Pooling, **kwargs: object) -> BagModel:
    torch.manual_seed(0)
    model = BagModel(D, pooling, hidden=5, **kwargs)  # type: ignore[arg-type]
    model.shift.copy_(torch.randn(D))
    model.scale.copy_(torch.rand(D) + 0.5)
    model.head.reset_parameters()  # a new one is at zero
    if pooling in ("attention", "gated"):
        torch.nn.init.normal_(model.weight.weight)
    return model.eval()


@given(
    pooling=st.sampled_from(POOLINGS),
    projection=st.sampled_from([None, 6]),
    n=st.integers(1, 20),
    padding=st.integers(1, 20),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_a_padded_bag_equals_an_unpadded_one(
    pooling: Pooling, projection: int | None, n: int, padding: int, seed: int
) -> None:
    model = make(pooling, projection=projection)
    x = torch.randn(2, n, D, generator=torch.Generator().manual_seed(seed))
    padded = torch.cat([x, torch.full((2, padding, D), 7.0)], dim=1)
    mask = torch.arange(n + padding).expand(2, -1) < n
    expected = model(x, torch.ones(2, n, dtype=torch.bool))
    assert torch.allclose(model(padded, mask), expected, atol=1e-6)


@given(pooling=st.sampled_from(POOLINGS), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_the_order_of_tiles_does_not_matter(pooling: Pooling, seed: int) -> None:
    model = make(pooling)
    generator = torch.Generator().manual_seed(seed)
    x, mask = torch.randn(1, 9, D, generator=generator), torch.ones(1, 9, dtype=torch.bool)
    order = torch.randperm(9, generator=generator)
    assert torch.allclose(model(x[:, order], mask), model(x, mask), atol=1e-6)


@pytest.mark.parametrize("pooling", ["attention", "gated"])
def test_attention_is_equation_8_and_gated_equation_9_of_ilse(pooling: Pooling) -> None:
    model = make(pooling)
    x = torch.randn(1, 7, D)
    h = ((x[0] - model.shift) / model.scale).detach().numpy().astype(np.float64)
    p = {k: v.detach().numpy().astype(np.float64) for k, v in model.named_parameters()}
    inner = np.tanh(h @ p["tanh.weight"].T + p["tanh.bias"])
    if pooling == "gated":
        inner = inner / (1 + np.exp(-(h @ p["gate.weight"].T + p["gate.bias"])))
    scores = inner @ p["weight.weight"][0]
    a = np.exp(scores) / np.exp(scores).sum()
    expected = (a @ h) @ p["head.weight"][0] + p["head.bias"][0]
    mask = torch.ones(1, 7, dtype=torch.bool)
    assert model.attention(x, mask)[0].detach().numpy() == pytest.approx(a, abs=1e-6)
    assert model(x, mask)[0].item() == pytest.approx(expected, abs=1e-5)


def test_attention_is_nothing_where_padded_and_sums_to_one() -> None:
    mask = torch.arange(10) < torch.tensor([[4], [10]])
    weights = make("attention").attention(torch.randn(2, 10, D), mask)
    assert torch.allclose(weights.sum(dim=1), torch.ones(2))
    assert (weights[~mask] == 0).all()


def test_what_a_model_cannot_do_is_said() -> None:
    with pytest.raises(ConfigError, match="max pooling has no attention"):
        make("max").attention(torch.randn(1, 2, D), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ConfigError, match="model must be one of"):
        BagModel(D, "median")  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["attention", "gated"])
def test_a_new_model_is_mean_pooling(pooling: Pooling) -> None:
    x, mask = torch.randn(3, 6, D), torch.arange(6) < torch.tensor([[6], [3], [1]])
    model, mean = BagModel(D, pooling), BagModel(D, "mean")
    mean.load_state_dict(model.state_dict(), strict=False)
    assert torch.allclose(model(x, mask), mean(x, mask), atol=1e-6)


@pytest.mark.parametrize("projection", [None, 6])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_bfloat16_is_near_float32_in_training_and_not_used_in_inference(
    pooling: Pooling, projection: int | None
) -> None:
    model = make(pooling, projection=projection)
    model.shift += 100  # far from zero: folded into bfloat16 nothing would be left
    x, mask = torch.randn(4, 9, D) * model.scale + model.shift, torch.ones(4, 9, dtype=torch.bool)
    expected = model(x, mask)
    model.precision = torch.bfloat16
    assert torch.equal(model(x, mask), expected)
    low = model.train()(x, mask)
    assert low.dtype == torch.float32
    assert torch.allclose(low, expected, atol=0.05)
    if projection or pooling in ("attention", "gated"):
        assert not torch.equal(low, expected)


@pytest.mark.parametrize("projection", [None, 6])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_what_waits_for_a_moment_without_python_begins_once_in_the_first_product(
    pooling: Pooling, projection: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, began = make(pooling, projection=projection).train(), list[str]()
    linear = torch.nn.functional.linear
    monkeypatch.setattr(
        "trainer.model.F.linear", lambda *args: began.append("product") or linear(*args)
    )
    model.meanwhile.append(lambda: began.append("reader"))
    model(torch.randn(2, 5, D), torch.ones(2, 5, dtype=torch.bool))
    if projection or pooling in ("attention", "gated"):  # else the gradient is its moment
        assert began[:2] == ["reader", "product"]
    assert began.count("reader") + len(model.meanwhile) == 1
