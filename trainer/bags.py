"""Choose Bags by a counter hash, read them straight from the store into batches."""

from __future__ import annotations

import ast
import copy
import operator
import os
import queue
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from featurestore import arrays, layout
from featurestore.errors import ConfigError, TrainError
from featurestore.store import FeatureStore

Sampling = Literal["block", "exact"]

# Descriptors of one reader: training has two, and some machines allow 256 in all.
MAX_OPEN = min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

# Streams keep the draws of training, validation and inference apart under one seed.
TRAIN, VALIDATE, PREDICT = 0, 1, 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def counter_hash(keys: np.ndarray | np.uint64, *counters: int | np.ndarray) -> np.ndarray:
    """Hash keys with counters to 64 random bits each: a generator that needs no state.

    The finaliser is splitmix64's (Steele, Lea and Flood 2014); equal input gives equal output on
    every machine, in every worker and in every order.

    Args:
        keys: uint64, any shape.
        counters: integers, or integer arrays that broadcast against `keys`.

    Returns:
        uint64, the broadcast shape.
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
    return np.array([int(key, 16) for key in slide_keys], np.uint64)


def offsets(keys: np.ndarray, n_tiles: np.ndarray, *counters: int | np.ndarray) -> np.ndarray:
    """Draw the first row of each Bag uniformly from 0 to n_tiles - 1.

    Args:
        keys: of the Slides, uint64, shape (B,).
        n_tiles: rows to choose from, at least 1 and under 2**32, shape (B,).
        counters: seed, stream and draw (the epoch, or the resample).

    Returns:
        Rows, int64, shape (B,).
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


# -- which tiles may be drawn ---------------------------------------------------------------------

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def tile_filter(expression: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """Compile a condition such as `tissue > 0.5 and blur < 0.3`; nothing else can be said in it.

    Args:
        expression: comparisons (<, <=, >, >=) of tissue, blur, pen and numbers, joined by `and`,
            `or`, `not` and parentheses, in float16 as they are stored. A comparison with a missing
            score (NaN) is false.

    Returns:
        A function of the scores, each (N,), that gives the chosen rows, bool (N,).

    Raises:
        ConfigError: the expression says anything else.
    """

    def refuse() -> ConfigError:
        return ConfigError(
            f"--tiles takes comparisons of {', '.join(layout.SCORES)} with numbers, joined by "
            f"and, or, not, got {expression!r}. Example: --tiles 'tissue > 0.5 and blur < 0.3'"
        )

    def value(node: ast.expr, scores: dict[str, np.ndarray]) -> Any:
        match node:
            case ast.Name(id=name) if name in layout.SCORES:
                return np.asarray(scores[name], layout.SCORE_DTYPE)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                with np.errstate(over="ignore"):
                    return np.float16(number)  # as scores are stored, so that 0.3 equals 0.3
        raise refuse()

    def truth(node: ast.expr, scores: dict[str, np.ndarray]) -> np.ndarray:
        match node:
            case ast.BoolOp(op=op, values=parts):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                return join.reduce([truth(part, scores) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return np.logical_not(truth(part, scores))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = [value(side, scores) for side in (left, *rights)]
                if any(type(op) not in _COMPARE for op in ops) or all(map(np.isscalar, sides)):
                    raise refuse()
                pairs = zip(ops, sides, sides[1:], strict=False)
                return np.logical_and.reduce([_COMPARE[type(op)](a, b) for op, a, b in pairs])
        raise refuse()

    try:
        body = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refuse() from error
    truth(body, {name: np.zeros(1) for name in layout.SCORES})  # refuse now, not at the first slide
    return lambda scores: truth(body, scores)


# -- bags ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one batch holds: Slides by number in the frame, and which draw of each."""

    slides: np.ndarray  # int64 (B,)
    draws: np.ndarray  # int64 (B,): epoch or resample


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch in a borrowed buffer: it is overwritten once the next batch is asked for."""

    x: np.ndarray  # float16 (B, N, D), zero where padded
    mask: np.ndarray  # bool (B, N), true where there is a tile
    slides: np.ndarray  # int64 (B,)


class Sampler:
    """Decides which rows of which Slide a Bag holds, and never reads one.

    Args:
        bags: a frame of `FeatureStore.bags`; Slide i is its row i.
        bag_size: tiles per Bag; a Slide with fewer gives all it has.
        seed: of the draws.
        sampling: `block`, one circular block at a random offset, or `exact`, any subset.
    """

    def __init__(
        self, bags: pl.DataFrame, bag_size: int, seed: int, sampling: Sampling = "block"
    ) -> None:
        if bag_size < 1:
            raise ConfigError(f"bag-size must be at least 1, got {bag_size}")
        self.keys = slide_numbers(bags["slide_key"])
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
        self,
        reader: arrays.RowReader,
        slide: int,
        start: int,
        draw: int,
        stream: int,
        out: np.ndarray,
    ) -> None:
        """Let `reader` fill `out`, float16 (n, D), with a Bag of n = lengths[slide] rows."""
        if self.sampling == "block" and self.kept is None:
            reader.read_blocks([slide], [start], [len(out)], out[None])
            return
        rows = self.rows(slide, start, draw, stream, len(out))
        reader.read_rows(slide, rows if self.kept is None else self.kept[slide][rows], out)

    def fill(self, reader: arrays.RowReader, draw: Draw, stream: int, x: np.ndarray) -> np.ndarray:
        """Let `reader` fill `x`, float16 (B, N, D), with the Bags of a batch, zero behind each.

        Returns:
            mask, bool (B, N), true where there is a tile.
        """
        lengths, starts = self.lengths[draw.slides], self.starts(draw, stream).tolist()
        slides, n = draw.slides.tolist(), lengths.tolist()
        if self.sampling == "block" and self.kept is None:
            reader.read_blocks(slides, starts, n, x)
        else:
            for i, slide in enumerate(slides):
                self.read(reader, slide, starts[i], int(draw.draws[i]), stream, x[i, : n[i]])
        for i in np.flatnonzero(lengths < x.shape[1]).tolist():
            x[i, n[i] :] = 0  # finite: a weight of zero times NaN would be NaN
        return np.arange(x.shape[1]) < lengths[:, None]

    def rows(self, slide: int, start: int, draw: int, stream: int, k: int) -> np.ndarray:
        """Which k of the drawable rows of `slide` a Bag holds, int64 (k,)."""
        n = int(self.n_tiles[slide])
        if self.sampling == "exact":
            return exact_rows(self.keys[slide], n, k, self.seed, stream, draw)
        return circular_block(start, n, k)


def keep_tiles(store: FeatureStore, bags: pl.DataFrame, tiles: str | None) -> pl.DataFrame:
    """Apply a tile filter: a column `rows` lists what may be drawn; Slides with none are left out.

    Args:
        store: where the scores are.
        bags: a frame of `FeatureStore.bags`.
        tiles: see `tile_filter`; None keeps all tiles and adds no column.
    """
    if tiles is None:
        return bags
    choose = tile_filter(tiles)
    names = [name for name in layout.SCORES if name in tiles]
    ids = bags.select("slide_key", "tiling_id", "n_tiles").iter_rows()
    rows = [
        pl.Series(np.flatnonzero(choose(store.scores(key, tiling_id, n, names))))
        for key, tiling_id, n in ids
    ]
    bags = bags.with_columns(pl.Series("rows", rows, dtype=pl.List(pl.Int64)))
    bags = bags.filter(pl.col("rows").list.len() > 0)
    if bags.is_empty():
        raise TrainError(f"no tile of {len(rows)} slides passes --tiles {tiles!r}. Loosen it.")
    return bags


def kept_rows(bags: pl.DataFrame) -> list[np.ndarray] | None:
    """Per Slide the rows that may be drawn, int64; None where there is no filter."""
    return [rows.to_numpy() for rows in bags["rows"]] if "rows" in bags.columns else None


def n_drawable(bags: pl.DataFrame) -> np.ndarray:
    """Per Slide how many tiles may be drawn, int64."""
    count = pl.col("rows").list.len() if "rows" in bags.columns else pl.col("n_tiles")
    return bags.select(count.cast(pl.Int64)).to_series().to_numpy()


def batches(
    sampler: Sampler, reader: arrays.RowReader, plan: Iterable[Draw], stream: int
) -> Iterator[Batch]:
    """Read the planned batches in order; a thread prepares the next while one is in use.

    Two buffers are used in turn. Each Batch is as wide as its longest Bag.
    """
    if len(sampler.lengths) == 0:
        return
    free: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[Batch, np.ndarray] | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            for draw in plan:
                buffer = free.get()
                if stop.is_set():
                    return
                ready.put(_fill(sampler, reader, draw, stream, buffer))
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    for _ in range(2):
        free.put(np.empty(0, np.float16))
    thread = threading.Thread(target=work, name="bags", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
            free.put(item[1])
    finally:
        stop.set()
        free.put(np.empty(0, np.float16))
        thread.join()


def _fill(
    sampler: Sampler, reader: arrays.RowReader, draw: Draw, stream: int, buffer: np.ndarray
) -> tuple[Batch, np.ndarray]:
    shape = (len(draw.slides), int(sampler.lengths[draw.slides].max()), reader.dim)
    size = shape[0] * shape[1] * shape[2]
    if buffer.size < size:
        widest = int(sampler.lengths.max())
        buffer = np.empty(shape[0] * widest * shape[2], np.float16)
    x = buffer[:size].reshape(shape)
    mask = sampler.fill(reader, draw, stream, x)
    return Batch(x=x, mask=mask, slides=draw.slides), buffer


Tensors = tuple[torch.Tensor, torch.Tensor, np.ndarray]


def streamed(
    sampler: Sampler,
    reader: arrays.RowReader,
    plan: Iterable[Draw],
    stream: int,
    device: torch.device,
) -> Iterator[Tensors]:
    """Read the planned batches and move each to a device.

    Yields:
        x float16 (B, N, D), mask bool (B, N), slides int64 (B,); x is borrowed as in `batches`.
    """
    for batch in batches(sampler, reader, plan, stream):
        x, mask = torch.from_numpy(batch.x), torch.from_numpy(batch.mask)
        yield x.to(device), mask.to(device), batch.slides


def resident(
    sampler: Sampler,
    reader: arrays.RowReader,
    plan: Iterable[Draw],
    stream: int,
    device: torch.device,
) -> Iterator[Tensors]:
    """Yield what `streamed` does, from rows that are read once and then stay on the device.

    Raises:
        ConfigError: the rows do not fit.
    """
    n_bytes = int(sampler.n_tiles.sum()) * reader.row_bytes
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_ram()
    if n_bytes > 0.8 * free:
        raise ConfigError(
            f"--resident needs {n_bytes / 2**30:.1f} GiB and {device} has {free / 2**30:.1f} GiB "
            "free. Leave --resident out: bags are then read from the store."
        )
    first = np.cumsum(sampler.n_tiles) - sampler.n_tiles
    rows = torch.empty(int(sampler.n_tiles.sum()), reader.dim, dtype=torch.float16, device=device)
    for slide, n in enumerate(sampler.n_tiles.tolist()):
        whole = np.empty((n, reader.dim), np.float16)
        sampler.read(reader, slide, 0, 0, stream, whole)  # a Bag of all rows, in their order
        rows[first[slide] : first[slide] + n] = torch.from_numpy(whole).to(device)
    for draw in plan:
        starts, lengths = sampler.starts(draw, stream), sampler.lengths[draw.slides]
        mask = np.arange(lengths.max()) < lengths[:, None]
        index = np.zeros(mask.shape, np.int64)
        for i, (slide, n) in enumerate(zip(draw.slides.tolist(), lengths.tolist(), strict=True)):
            chosen = sampler.rows(slide, int(starts[i]), int(draw.draws[i]), stream, n)
            index[i, :n] = first[slide] + chosen
        x = rows[torch.from_numpy(index).to(device)]
        filled = torch.from_numpy(mask).to(device)
        yield x if mask.all() else x.masked_fill_(~filled[..., None], 0), filled, draw.slides


def _free_ram() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def training_plan(n_slides: int, batch_size: int, seed: int) -> Iterator[Draw]:
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


def inference_plan(sampler: Sampler, resamples: int, batch_size: int) -> Iterator[Draw]:
    """Every Slide `resamples` times, once where a Bag is the whole Slide; like lengths together."""
    repeats = np.where(sampler.n_tiles > sampler.bag_size, resamples, 1)
    order = np.argsort(sampler.lengths, kind="stable")
    slides = np.repeat(order, repeats[order])
    draws = np.concatenate([np.arange(r) for r in repeats[order]]) if len(order) else order
    for i in range(0, len(slides), batch_size):
        yield Draw(slides=slides[i : i + batch_size], draws=draws[i : i + batch_size])


class BagDataset(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]):
    """Bags of a Cohort for your own model: a plain map-style torch Dataset.

    Item i is (x float32 (bag_size, D), mask bool (bag_size,), y float32 ()) of row i of `frame`;
    y is the Label in the Target's own units. Each process opens its own files, and draws depend on
    seed, epoch and Slide alone, so any number of DataLoader workers gives the same Bags. Call
    `set_epoch` before each epoch for new draws.

    Args:
        store: where the Embeddings are.
        cohort: name of the Cohort.
        split: keep only this split; None keeps all.
        bag_size: tiles per Bag; smaller Slides are padded with zeros and masked.
        encoder_id: of the Embeddings, where the Cohort has several.
        tiling_id: of the Embeddings, where the Cohort has several.
        tiles: condition on the tiles' scores, see `tile_filter`.
        sampling: block or exact.
        seed: of the draws.
    """

    def __init__(
        self,
        store: FeatureStore,
        cohort: str,
        *,
        split: str | None = None,
        bag_size: int = 256,
        encoder_id: str | None = None,
        tiling_id: str | None = None,
        tiles: str | None = None,
        sampling: Sampling = "block",
        seed: int = 0,
    ) -> None:
        bags = store.bags(cohort, encoder_id, tiling_id)
        if split is not None:
            bags = bags.filter(pl.col("split") == split)
        self.frame = keep_tiles(store, bags, tiles)
        self.sampler = Sampler(self.frame, bag_size, seed, sampling)
        if self.frame.is_empty():
            raise TrainError(f"cohort {cohort!r} has no slides with tiles in split {split!r}")
        self.dim = int(self.frame["dim"][0])
        self.epoch = 0
        self._values = self.frame["value"].to_numpy().astype(np.float32)
        # Workers copy this unopened reader: polars, which made it, must not run after a fork.
        self._unopened = store.rows(self.frame, MAX_OPEN)
        self._reader: arrays.RowReader | None = None
        self._pid = -1

    def set_epoch(self, epoch: int) -> None:
        """Draw anew: the next items are those of this epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"item {i} of {len(self)} bags")
        i %= len(self)
        x = np.zeros((self.sampler.bag_size, self.dim), np.float16)
        n = int(self.sampler.lengths[i])
        draw = Draw(slides=np.array([i]), draws=np.array([self.epoch]))
        start = int(self.sampler.starts(draw, TRAIN)[0])
        self.sampler.read(self._open(), i, start, self.epoch, TRAIN, x[:n])
        mask = torch.arange(len(x)) < n
        return torch.from_numpy(x).float(), mask, torch.tensor(self._values[i])

    def _open(self) -> arrays.RowReader:
        if self._reader is None or self._pid != os.getpid():  # a forked worker has its own
            self._reader, self._pid = copy.deepcopy(self._unopened), os.getpid()
        return self._reader

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None, "_pid": -1}
