from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from builders.embedding_stores import SIZES
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from trainer.bags import Sampler, inference_draws, training_draws
from trainer.config import Sampling
from trainer.draws import PREDICT
from trainer.feed import streamed

CPU = torch.device("cpu")


@pytest.mark.parametrize("bag_size", [16, 256])
@pytest.mark.parametrize("sampling", ["block", "exact"])
def test_batches_hold_stored_rows_padded_with_zeros(
    sizes: FeatureStore, bag_size: int, sampling: Sampling
) -> None:
    frame = sizes.bags("all")
    assert sorted(frame["n_tiles"]) == sorted(SIZES * 2)  # no Slide without tiles
    sampler = Sampler(frame, bag_size, 0, sampling)
    seen = set()
    with sizes.rows(frame) as reader:
        for batch in streamed(sampler, reader, inference_draws(sampler, 3, 5), PREDICT, CPU):
            for x, mask, slide in zip(*map(np.asarray, batch), strict=True):
                row = frame.row(int(slide), named=True)
                stored = sizes.embeddings(row["slide_key"], row["tiling_id"], row["encoder_id"])
                n = int(mask.sum())
                assert n == min(bag_size, row["n_tiles"])
                assert mask[:n].all()
                assert not x[n:].any()
                known = {r.tobytes() for r in stored}
                taken = [r.tobytes() for r in x[:n]]
                assert set(taken) <= known
                assert len(set(taken)) == n
                seen.add(int(slide))
        assert seen == set(range(frame.height))
        assert reader.bytes_read <= 1.1 * 2 * reader.dim * sum(
            min(bag_size, n) * (3 if n > bag_size else 1) for n in frame["n_tiles"]
        )


@given(tiles=st.lists(st.integers(0, 9), max_size=8), n=st.integers(1, 7), size=st.integers(1, 9))
def test_inference_draws_every_slide_as_often_as_asked_the_shortest_first(
    tiles: list[int], n: int, size: int
) -> None:
    sampler = sampler_of(tiles)
    plan = [zip(d.slides, d.draws, strict=True) for d in inference_draws(sampler, n, size)]
    order = sorted(range(len(tiles)), key=lambda i: min(tiles[i], 4))
    expected = [(i, draw) for i in order for draw in range(n if tiles[i] > 4 else 1)]
    assert [pair for batch in plan for pair in batch] == expected
    assert len(plan) == -(-len(expected) // size)


def test_inference_plans_one_batch_at_a_time() -> None:
    first = next(inference_draws(sampler_of([9] * 30), 1_000_000_000, 64))
    assert (first.slides == 0).all()
    assert first.draws.tolist() == list(range(64))


def sampler_of(tiles: list[int]) -> Sampler:
    keys = pl.Series("slide_key", [f"{i:016x}" for i in range(len(tiles))], dtype=pl.String)
    return Sampler(pl.DataFrame([keys, pl.Series("n_tiles", tiles, dtype=pl.Int64)]), 4, 0)


@given(n=st.integers(1, 60), size=st.integers(1, 20))
def test_an_epoch_takes_every_slide_once_in_batches_of_even_size(n: int, size: int) -> None:
    plan = training_draws(n, size, 0)
    drawn: list[int] = []
    lengths = []
    while len(drawn) < n:
        draw = next(plan)
        assert (draw.draws == 0).all()
        drawn += draw.slides.tolist()
        lengths.append(len(draw.slides))
    assert sorted(drawn) == list(range(n))
    assert max(lengths) - min(lengths) <= 1
    assert (next(plan).draws == 1).all()
