"""Conditions of --tiles: what they keep, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from trainer.bags import Sampler, inference_draws
from trainer.draws import PREDICT
from trainer.feed import streamed
from trainer.tile_filter import keep_tiles, tile_filter

CPU = torch.device("cpu")


def test_a_tile_filter_keeps_what_it_says(learnable: FeatureStore) -> None:
    frame = keep_tiles(learnable, learnable.bags("all"), "tissue > 0.5 and not blur >= 0.3")
    for row in frame.rows(named=True):
        scores = learnable.tiles(row["slide_key"], row["tiling_id"])  # float16
        expected = np.flatnonzero((scores["tissue"] > 0.5) & (scores["blur"] < 0.3))
        assert row["rows"] == expected.tolist()
    sampler = Sampler(frame, 4, 0)
    with learnable.rows(frame) as reader:
        _, mask, _ = next(streamed(sampler, reader, inference_draws(sampler, 1, 64), PREDICT, CPU))
    assert mask.sum() == np.minimum(frame["rows"].list.len().to_numpy(), 4).sum()


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "tissue",
        "tissue > ",
        "age > 3",
        "tissue == 1",
        "1 > 0",
        "tissue > '0'",
        "tissue > 0.5; blur",
        "__import__('os')",
        "tissue.x > 0",
        "tissue[0] > 0",
        "lambda: 0",
        "tissue > 0.5 or open('x')",
        "True",
        "tissue > True",
        "(" * 300 + "tissue > 0" + ")" * 300,
    ],
)
def test_a_tile_filter_says_nothing_else(expression: str) -> None:
    with pytest.raises(ConfigError, match="--tiles takes comparisons"):
        tile_filter(expression)


def test_a_filter_that_no_tile_passes_is_refused(learnable: FeatureStore) -> None:
    with pytest.raises(TrainError, match="no tile of 40 slides passes"):
        keep_tiles(learnable, learnable.bags("all"), "tissue > 2")
