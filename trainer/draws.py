"""Draw by a counter hash: which rows of a Slide a Bag holds, the same on every machine."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Streams keep the draws of training, validation and inference apart under one seed.
TRAIN, VALIDATE, PREDICT = 0, 1, 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def counter_hash(keys: np.ndarray | np.uint64, *counters: int | np.ndarray) -> np.ndarray:
    """Hash keys with counters to 64 random bits each: a generator that needs no state.

    The finaliser is splitmix64's (Steele, Lea and Flood 2014); equal input gives equal output on
    every machine, in every worker and in every order. The keys, uint64 of any shape, and counters
    broadcast.
    """
    state = np.asarray(keys, np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = (state ^ np.asarray(counter).astype(np.uint64)) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def slide_numbers(slide_keys: Iterable[str]) -> np.ndarray:
    """Turn slide_keys, 16 hex digits each, into uint64 for `counter_hash`."""
    return np.frombuffer(bytes.fromhex("".join(slide_keys)), ">u8").astype(np.uint64)


def offsets(keys: np.ndarray, n_tiles: np.ndarray, *counters: int | np.ndarray) -> np.ndarray:
    """Draw the first row of each Bag uniformly from 0 to n_tiles - 1, int64 (B,).

    The keys are of the Slides, uint64 (B,); n_tiles, (B,), at least 1 and under 2**32; counters
    are seed, stream and draw (the epoch, or the resample).
    """
    high = counter_hash(keys, *counters) >> np.uint64(32)
    return ((high * np.asarray(n_tiles, np.uint64)) >> np.uint64(32)).astype(np.int64)


def exact_rows(key: np.uint64, n_tiles: int, k: int, *counters: int) -> np.ndarray:
    """Draw min(k, n_tiles) rows without replacement, each subset equally likely; sorted int64."""
    if k >= n_tiles:
        return np.arange(n_tiles)
    hashes = counter_hash(counter_hash(key, *counters), np.arange(n_tiles))
    return np.sort(np.argpartition(hashes, k)[:k])


def circular_block(start: int, n_tiles: int, k: int) -> np.ndarray:
    """Rows of the circular block of min(k, n_tiles) rows at `start`, int64."""
    return (start + np.arange(min(k, n_tiles))) % n_tiles
