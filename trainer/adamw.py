"""AdamW, without the compiler that torch's own imports: that takes longer than many a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

BETAS, EPS = (0.9, 0.999), 1e-8


class AdamW:
    """Adam with decoupled weight decay: Loshchilov and Hutter 2019, algorithm 2.

    Step for step the same as `torch.optim.AdamW` with its defaults, in place. Biases and other
    parameters of one dimension do not decay; `shares` of the learning rate are 1 if None.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        weight_decay: float,
        shares: Sequence[float] | None = None,
    ) -> None:
        self._parameters = list(parameters)
        self._shares = shares or [1.0] * len(self._parameters)
        self._decays = [weight_decay if p.ndim > 1 else 0.0 for p in self._parameters]
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]
        self.steps = 0  # taken so far

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Go one step along the gradients."""
        self.steps += 1
        rising, settled = (1 - beta**self.steps for beta in BETAS)
        for parameter, share, decay, mean, square in zip(
            self._parameters, self._shares, self._decays, self._means, self._squares, strict=True
        ):
            if (grad := parameter.grad) is None:
                continue
            rate = lr * share
            parameter.mul_(1 - rate * decay)
            mean.lerp_(grad, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
            spread = (square.sqrt() / settled**0.5).add_(EPS)
            parameter.addcdiv_(mean, spread, value=-rate / rising)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides the steps to come, but for the parameters."""
        return {"steps": self.steps, "means": self._means, "squares": self._squares}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set what `state_dict` gave."""
        self.steps = state["steps"]
        kept = [*state["means"], *state["squares"]]
        for mine, its in zip(self._means + self._squares, kept, strict=True):
            mine.copy_(its)
