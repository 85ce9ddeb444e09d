"""Models of one's own, as a user writes them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanOfTiles(nn.Module):
    """A network on the mean tile; it has no attention."""

    def __init__(self, dim: int, width: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.dropout = width, dropout
        self.layers = nn.Sequential(
            nn.Linear(dim, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean = (x * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return self.layers(mean)


class Transformer(nn.Module):
    """One layer of self-attention, then pooling by a class token's weights."""

    def __init__(self, dim: int, heads: int = 2) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(dim, heads, 16, dropout=0.0, batch_first=True)
        self.score, self.head = nn.Linear(dim, 1), nn.Linear(dim, 1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.layer(x, src_key_padding_mask=~mask)
        weights = self.score(x)[..., 0].masked_fill(~mask, -torch.inf).softmax(dim=1)
        return self.head((weights[..., None] * x).sum(dim=1))[:, 0], weights


class Unnamed(nn.Module):
    """What it was made with cannot be told from it."""

    def __init__(self, dim: int, hidden: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden), nn.Linear(hidden, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layers((x * mask[..., None]).sum(dim=1))


class Padded(MeanOfTiles):
    """Takes what is padded for tiles."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layers(x.mean(dim=1)) + x.shape[1]


class Logits(Transformer):
    """Its weights are no shares."""

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        value, weights = super().forward(x, mask)
        return value, weights * 3


class PerTile(MeanOfTiles):
    """Gives a value to each tile."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.layers(x)


class Frozen(MeanOfTiles):
    """Learns nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.requires_grad_(False)


class Failing(MeanOfTiles):
    """Fails on every batch."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def a_function(dim: int) -> nn.Module:
    """Makes one."""
    return MeanOfTiles(dim, width=5)
