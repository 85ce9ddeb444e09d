"""Which rows a Bag holds: drawn by a hash, the same everywhere, each as likely as any."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.draws import TRAIN, circular_block, exact_rows, offsets, slide_numbers

KEYS = st.integers(0, 2**64 - 1)


@given(n=st.integers(1, 5_000), k=st.integers(1, 5_000), seed=st.integers(0, 2**32 - 1), key=KEYS)
def test_a_bag_never_repeats_or_invents_a_tile(n: int, k: int, seed: int, key: int) -> None:
    start = int(offsets(np.array([key], np.uint64), np.array([n]), seed, TRAIN, 3)[0])
    for rows in (
        circular_block(start, n, k),
        exact_rows(np.uint64(key), n, k, seed, TRAIN, 3),
    ):
        assert rows.size == min(n, k) == np.unique(rows).size
        assert 0 <= rows.min() <= rows.max() < n


@given(key=KEYS, seed=st.integers(0, 2**63 - 1), others=st.lists(KEYS, max_size=5))
def test_an_offset_does_not_depend_on_its_batch(key: int, seed: int, others: list[int]) -> None:
    alone = offsets(np.array([key], np.uint64), np.array([997]), seed, TRAIN, np.array([4]))
    keys = np.array([*others, key], np.uint64)
    draws = np.full(len(keys), 4)
    together = offsets(keys, np.full(len(keys), 997), seed, TRAIN, draws)
    assert alone[0] == together[-1]


def test_block_bags_take_every_tile_equally_often() -> None:
    n, k, draws = 50, 7, 20_000
    starts = offsets(np.full(draws, 12345, np.uint64), np.full(draws, n), 0, 0, np.arange(draws))
    counts = np.bincount(((starts[:, None] + np.arange(k)) % n).ravel(), minlength=n)
    expected = draws * k / n
    # Neighbouring counts go together, k starts each: their variance is k times a multinomial's.
    assert ((counts - expected) ** 2 / (k * expected)).sum() < 90  # 49 freedoms at most: p < 0.001


def test_exact_bags_take_every_pair_equally_often() -> None:
    n, k, draws = 8, 3, 6_000
    pairs = np.zeros((n, n))
    for draw in range(draws):
        rows = exact_rows(np.uint64(99), n, k, 0, 0, draw)
        pairs[np.ix_(rows, rows)] += 1
    observed = pairs[np.triu_indices(n, 1)]
    expected = draws * (k * (k - 1)) / (n * (n - 1))
    assert ((observed - expected) ** 2 / expected).sum() < 55  # 28 pairs: p < 0.001


def test_seeds_streams_epochs_and_slides_draw_apart() -> None:
    keys = slide_numbers(["00000000000000ff", "0000000000000100"])
    draws = [
        tuple(offsets(keys, np.array([10**9, 10**9]), *counters))
        for counters in itertools.product((0, 1), (0, 1, 2), (0, 1))
    ]
    assert len({offset for pair in draws for offset in pair}) == 2 * len(draws)
