"""Attention MIL: from the Embeddings of a Bag to one value (Ilse, Tomczak and Welling 2018)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from featurestore.errors import ConfigError
from trainer.config import Pooling
from trainer.feed import begin

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # names of mallopt(3)


class Scorer(nn.Module):
    """What gives a Bag a score, and by `attention` its tiles their weights.

    Embeddings are `dim` wide, D; `bounded` is a sigmoid at the end (fraction and binary Targets).
    """

    shift: Tensor
    scale: Tensor
    precision: torch.dtype = torch.float32  # of the wide layers in training; inference is float32
    attends = True  # whether it has attention
    centres = False  # whether training in low precision takes x - shift

    def __init__(self, dim: int, bounded: bool) -> None:
        super().__init__()
        self.bounded = bounded
        self.meanwhile: list[Callable[[], object]] = []  # begun by `begin` while it computes
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def value(self, scores: Tensor) -> Tensor:
        """Scores to values: the Target's low is 0, its high is 1."""
        return torch.sigmoid(scores) if self.bounded else scores

    def attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weight of each tile, shape (B, N); rows sum to 1."""
        raise NotImplementedError


class BagModel(Scorer):
    """Pool a Bag to one vector, then one linear layer; `forward` gives the value before sigmoid.

    Embeddings are standardised by `shift` and `scale`, the mean and standard deviation over tiles
    of the training Slides. This is folded into the layers that touch x, so it costs nothing.
    Attention starts even (w = 0) and the last layer at zero: a new model gives one value whatever
    it sees, and what it then learns first is what the mean Embedding says. On a few dozen Slides it
    stays near that instead of learning which tiles of the training Slides to remember.

    Pooling is attention (equation 8), gated (equation 9), mean or max; `hidden` is the width of the
    attention, the paper's L; `projection` that of a linear layer with ReLU before pooling. Dropout
    is on the pooled vector, and on the projection.
    """

    def __init__(
        self,
        dim: int,
        pooling: str = "attention",
        *,
        hidden: int = 128,
        projection: int | None = None,
        dropout: float = 0.0,
        bounded: bool = True,
    ) -> None:
        super().__init__(dim, bounded)
        if pooling not in (known := get_args(Pooling)):
            raise ConfigError(f"model must be one of {', '.join(known)}, got {pooling!r}")
        width = projection or dim
        self.pooling, self.attends, self.centres = pooling, pooling != "max", True
        self.projection = nn.Linear(dim, projection) if projection else None
        self.dropout = nn.Dropout(dropout)
        if pooling in ("attention", "gated"):
            self.tanh = nn.Linear(width, hidden)  # V
            self.gate = nn.Linear(width, hidden) if pooling == "gated" else None  # U
            self.weight = nn.Linear(hidden, 1, bias=False)  # w
            nn.init.zeros_(self.weight.weight)
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Score Bags, (B,), before sigmoid.

        Embeddings x, (B, N, D), must be finite where padded; they are x - shift already where they
        have the low precision of a training. mask, (B, N), is true where there is a tile, at least
        one a row.
        """
        h, centred = self._enter(x)
        if self.pooling == "max":
            pooled = h.masked_fill(~mask[..., None], -torch.inf).amax(dim=1).float()
        else:
            weights = self._weights(h, mask, centred).to(h.dtype)
            pooled = torch.bmm(weights[:, None, :], h)[:, 0].float()
        if self.projection is None:  # weights sum to 1, so this commutes with pooling
            pooled = (pooled if centred else pooled - self.shift) / self.scale
        scores: Tensor = self.head(self.dropout(pooled))[:, 0]
        return scores

    def attention(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weight of each tile, shape (B, N); rows sum to 1. Even for mean, none for max."""
        if not self.attends:
            raise ConfigError("max pooling has no attention. Train with --model attention.")
        h, centred = self._enter(x)
        return self._weights(h, mask, centred)

    def _enter(self, x: Tensor) -> tuple[Tensor, bool]:
        """What is pooled, (B, N, width): x or its projection; and whether it is x - shift instead.

        Only training in low precision centres: folded into a bias, the shift would cancel digits
        that bfloat16 does not have.
        """
        centred = self.training and self.precision != torch.float32
        if centred and x.dtype != self.precision:
            x = (x.float() - self.shift).to(self.precision)
        elif not centred:
            x = x.float()
        if self.projection is None:
            return x, centred
        return self.dropout(F.relu(self._standard(x, self.projection, centred))), False

    def _weights(self, h: Tensor, mask: Tensor, centred: bool) -> Tensor:
        if self.pooling == "mean":
            scores = torch.zeros(mask.shape, device=h.device)
        else:
            hidden = torch.tanh(self._layer(h, self.tanh, centred))
            if self.gate is not None:
                hidden = hidden * torch.sigmoid(self._layer(h, self.gate, centred))
            scores = self.weight(hidden)[..., 0]
        return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=1)

    def _layer(self, h: Tensor, layer: nn.Linear, centred: bool) -> Tensor:
        """Apply a layer of the attention, float32, to what `_enter` gave."""
        if self.projection is None:
            return self._standard(h, layer, centred)
        low = self.training and self.precision != torch.float32
        to = self.precision if low else torch.float32
        return F.linear(h.to(to), layer.weight.to(to), layer.bias.to(to)).float()

    def _standard(self, x: Tensor, layer: nn.Linear, centred: bool) -> Tensor:
        """Apply a layer, float32, to (x - shift) / scale, without making that."""
        weight = layer.weight / self.scale
        bias = layer.bias if centred else layer.bias - weight @ self.shift
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        if not x.is_cuda:  # a GPU's product is only queued here
            begin(self.meanwhile)
        return F.linear(x, weight, bias).float()


@contextmanager
def compute_threads(elements: int) -> Iterator[None]:
    """Compute on one thread while batches are small, else on half of torch's threads.

    Under about a million numbers a second thread gains nothing. And where another process wants a
    core, all threads wait for the one without, at every layer: on two cores a step of 8 x 256 x
    1,024 takes 27 ms on one thread, and on two 18 ms while they are free but 120 to 290 ms while
    they are not. The other half is left to the reader and to others. The `elements` of one batch
    are B x N x D.
    """
    _keep_freed_memory()
    before = torch.get_num_threads()
    torch.set_num_threads(1 if elements < 1 << 20 else max(1, before // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _keep_freed_memory() -> None:
    """Let glibc keep what a step frees for the next one: new pages cost half of a bfloat16 step."""
    with suppress(OSError, AttributeError):  # another system or C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes
        mallopt(_TRIM_THRESHOLD, 1 << 30)
