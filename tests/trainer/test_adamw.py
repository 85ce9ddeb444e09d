"""The optimizer is AdamW, step for step."""

from __future__ import annotations

import copy

import torch

from trainer.adamw import AdamW


def losses(model: torch.nn.Module, seed: int) -> torch.Tensor:
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(seed))
    return ((model(x) - x[:, :1].sin()) ** 2).mean()


def test_it_steps_as_torch_does() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))
    theirs = copy.deepcopy(ours)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    peer, mine = torch.optim.AdamW(groups), AdamW(ours.parameters(), 0.1)
    for step in range(60):
        lr = 0.02 / (1 + step % 7)
        for group in peer.param_groups:
            group["lr"] = lr
        for model, optimizer in ((ours, mine), (theirs, peer)):
            optimizer.zero_grad()
            losses(model, step).backward()
        peer.step()
        mine.step(lr)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_state_goes_on_to_the_same_weights() -> None:
    torch.manual_seed(0)
    first = torch.nn.Linear(5, 1)
    one = AdamW(first.parameters(), 0.1)
    for step in range(20):
        if step == 10:
            second, two = copy.deepcopy(first), copy.deepcopy(one.state_dict())
        one.zero_grad()
        losses(first, step).backward()
        one.step(0.05)
    other = AdamW(second.parameters(), 0.1)
    other.load_state_dict(two)
    for step in range(10, 20):
        other.zero_grad()
        losses(second, step).backward()
        other.step(0.05)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_a_share_of_the_rate_is_a_smaller_rate() -> None:
    torch.manual_seed(0)
    first = torch.nn.Linear(5, 1)
    second = copy.deepcopy(first)
    shared, alone = AdamW(first.parameters(), 0.1, [0.3, 1.0]), AdamW([second.weight], 0.1)
    losses(first, 0).backward()
    losses(second, 0).backward()
    shared.step(0.05)
    alone.step(0.05 * 0.3)
    assert torch.equal(first.weight, second.weight)
