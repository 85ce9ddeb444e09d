"""Decide which rows of which Slide a Bag holds, and in which order Bags come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from featurestore import RowReader
from featurestore.errors import ConfigError
from trainer.config import Sampling
from trainer.draws import circular_block, counter_hash, exact_rows, offsets, slide_numbers
from trainer.tile_filter import kept_rows, n_drawable


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one batch holds: Slides by number in the frame, and which draw of each."""

    slides: np.ndarray  # int64 (B,)
    draws: np.ndarray  # int64 (B,): epoch or resample


class Sampler:
    """Decides which rows of which Slide a Bag holds, and never reads one.

    Slide i is row i of a frame of `FeatureStore.bags`; one with under `bag_size` tiles gives all it
    has. Sampling is `block`, one circular block at a random offset, or `exact`, any subset.
    """

    def __init__(
        self, bags: pl.DataFrame, bag_size: int, seed: int, sampling: Sampling = "block"
    ) -> None:
        if bag_size < 1:
            raise ConfigError(f"bag-size must be at least 1, got {bag_size}")
        self.keys = slide_numbers(bags["slide_key"].to_list())
        self.kept = kept_rows(bags)
        self.n_tiles = n_drawable(bags)
        self.lengths = np.minimum(self.n_tiles, bag_size)
        self.bag_size, self.seed, self.sampling = bag_size, seed, sampling
        self._hashed: dict[int, np.ndarray] = {}

    def starts(self, draw: Draw, stream: int) -> np.ndarray:
        """First rows of the blocks of one batch, int64 (B,)."""
        if stream not in self._hashed:  # what is the same in every batch
            self._hashed[stream] = counter_hash(self.keys, self.seed, stream)
        return offsets(self._hashed[stream][draw.slides], self.n_tiles[draw.slides], draw.draws)

    def read(
        self, reader: RowReader, slide: int, start: int, draw: int, stream: int, out: np.ndarray
    ) -> None:
        """Let `reader` fill `out`, float16 (n, D), with a Bag of n = lengths[slide] rows."""
        if self.sampling == "block" and self.kept is None:
            reader.read_blocks([slide], [start], [len(out)], out[None])
            return
        rows = self.rows(slide, start, draw, stream, len(out))
        reader.read_rows(slide, rows if self.kept is None else self.kept[slide][rows], out)

    def fill(
        self,
        reader: RowReader,
        draw: Draw,
        stream: int,
        x: np.ndarray,
        take: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Let `reader` fill `x`, float16 (B, N, D), with the Bags of a batch, zero behind each.

        With `take`, x is the place of one Bag, (N, D): it takes the i-th from there, and so on.

        Returns:
            mask, bool (B, N), true where there is a tile.
        """
        lengths, starts = self.lengths[draw.slides], self.starts(draw, stream).tolist()
        slides, n = draw.slides.tolist(), lengths.tolist()
        if self.sampling == "block" and self.kept is None:
            reader.expect(slides, starts, n)
        for i, slide in enumerate(slides):
            bag = x[i] if take is None else x
            self.read(reader, slide, starts[i], int(draw.draws[i]), stream, bag[: n[i]])
            bag[n[i] :] = 0  # finite: a weight of zero times NaN would be NaN
            if take is not None:
                take(i)
        return np.asarray(np.arange(x.shape[-2]) < lengths[:, None])

    def rows(self, slide: int, start: int, draw: int, stream: int, k: int) -> np.ndarray:
        """Which k of the drawable rows of `slide` a Bag holds, int64 (k,)."""
        n = int(self.n_tiles[slide])
        if self.sampling == "exact":
            return exact_rows(self.keys[slide], n, k, self.seed, stream, draw)
        return circular_block(start, n, k)


def training_draws(n_slides: int, batch_size: int, seed: int) -> Iterator[Draw]:
    """Shuffle the Slides anew each epoch and cut them into batches, without end.

    Batches of an epoch are equal to within one, so no step hangs on one or two left-over Slides.
    """
    epoch = 0
    while True:
        order = np.random.default_rng([seed, epoch]).permutation(n_slides)
        n_batches = max(1, round(n_slides / batch_size))
        for slides in np.array_split(order, n_batches):
            yield Draw(slides=slides, draws=np.full(len(slides), epoch))
        epoch += 1


def inference_draws(sampler: Sampler, resamples: int, batch_size: int) -> Iterator[Draw]:
    """Every Slide `resamples` times, once where a Bag is the whole Slide; like lengths together."""
    repeats = np.where(sampler.n_tiles > sampler.bag_size, resamples, 1)
    order = np.argsort(sampler.lengths, kind="stable")
    ends = repeats[order].cumsum()
    for first in range(0, repeats.sum(), batch_size):
        number = np.arange(first, min(first + batch_size, ends[-1]))
        place = np.searchsorted(ends, number, side="right")
        yield Draw(slides=order[place], draws=number - (ends - repeats[order])[place])
