from __future__ import annotations

import numpy as np
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
