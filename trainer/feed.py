"""Read planned Bags into batches, one ahead of the model, streamed or resident on its device."""

from __future__ import annotations

import functools
import math
import os
import queue
import resource
import threading
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from featurestore import RowReader
from featurestore.errors import ConfigError
from trainer.bags import Draw, Sampler

# Descriptors of one reader: training has two, and some machines allow 256 in all.
MAX_OPEN = min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)

Tensors = tuple[torch.Tensor, torch.Tensor, np.ndarray]
Batch = tuple[torch.Tensor, torch.Tensor, np.ndarray, torch.Tensor]  # with its buffer


def begin(later: list[Callable[[], object]]) -> None:
    """Do what was put off."""
    while later:
        later.pop()()


def streamed(
    sampler: Sampler,
    reader: RowReader,
    plan: Iterable[Draw],
    stream: int,
    device: torch.device,
    shift: torch.Tensor | None = None,
    later: list[Callable[[], object]] | None = None,
) -> Iterator[Tensors]:
    """Read the planned batches in order, and move each to a device.

    A thread prepares the next while one is in use, in two buffers by turns. While it keeps up, what
    lets it begin is put into `later`, for a moment at which the caller needs no Python: two threads
    that take it by turns wait for each other many times a step.

    Yields:
        x float16 (B, N, D), as wide as its longest Bag and zero where padded, or with a `shift`,
        float32 (D,), bfloat16 of x - shift; mask bool (B, N), true where there is a tile; slides
        int64 (B,). x is overwritten once the next is asked for.
    """
    if len(sampler.lengths) == 0:
        return
    later = [] if later is None else later
    free: queue.SimpleQueue[torch.Tensor] = queue.SimpleQueue()
    ready: queue.SimpleQueue[Batch | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        torch.set_num_threads(1)  # of this thread alone
        try:
            for draw in plan:
                buffer = free.get()
                if stop.is_set():
                    return
                ready.put(_filled(sampler, reader, draw, stream, shift, buffer))
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    for _ in range(2):
        free.put(torch.empty(0))
    thread = threading.Thread(target=work, name="bags", daemon=True)
    thread.start()
    try:
        while True:
            keeps_up = not ready.empty()
            if (item := ready.get()) is None:
                return
            if isinstance(item, BaseException):
                raise item
            x, mask, slides, buffer = item
            yield x.to(device), mask.to(device), slides
            begin(later)  # the caller had no such moment
            if keeps_up:
                later.append(functools.partial(free.put, buffer))
            else:
                free.put(buffer)
    finally:
        stop.set()
        free.put(torch.empty(0))
        thread.join()


def _filled(
    sampler: Sampler,
    reader: RowReader,
    draw: Draw,
    stream: int,
    shift: torch.Tensor | None,
    buffer: torch.Tensor,
) -> Batch:
    """Read one batch into a buffer, or a larger one; Bags that are shifted one after the other."""
    widest, dim = int(sampler.lengths.max()), reader.dim
    shape = (len(draw.slides), int(sampler.lengths[draw.slides].max()), dim)
    if buffer.numel() < math.prod(shape):
        dtype = torch.float16 if shift is None else torch.bfloat16
        buffer = torch.empty(shape[0] * widest * dim, dtype=dtype)
    x = buffer[: math.prod(shape)].view(shape)
    if shift is None:
        mask = sampler.fill(reader, draw, stream, x.numpy())
    else:
        bag = torch.empty(shape[1:], dtype=torch.float16)  # stays in a processor's cache
        wide = torch.empty(shape[1:])  # a `sub` of two types makes three such
        mask = sampler.fill(
            reader, draw, stream, bag.numpy(), lambda i: x[i].copy_(wide.copy_(bag).sub_(shift))
        )
    return x, torch.from_numpy(mask), draw.slides, buffer


def resident(
    sampler: Sampler,
    reader: RowReader,
    plan: Iterable[Draw],
    stream: int,
    device: torch.device,
    shift: torch.Tensor | None = None,
) -> Iterator[Tensors]:
    """Yield what `streamed` does, from rows that are read once and then stay on the device.

    Raises:
        ConfigError: the rows do not fit.
    """
    n_bytes = int(sampler.n_tiles.sum()) * reader.row_bytes
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if n_bytes > (most := 0.8 * free):
        needs, may = math.ceil(n_bytes / 2**20), int(most / 2**20)  # so that they differ as printed
        raise ConfigError(
            f"--resident needs {needs:,} MiB and may take {may:,} MiB, 80% of what is "
            f"free on {device}. Leave --resident out: bags are then read from the store."
        )
    first = np.cumsum(sampler.n_tiles) - sampler.n_tiles
    dtype = torch.float16 if shift is None else torch.bfloat16
    rows = torch.empty(int(sampler.n_tiles.sum()), reader.dim, dtype=dtype, device=device)
    for slide, n in enumerate(sampler.n_tiles.tolist()):
        whole = np.empty((n, reader.dim), np.float16)
        sampler.read(reader, slide, 0, 0, stream, whole)  # a Bag of all rows, in their order
        bag = torch.from_numpy(whole).to(device)
        rows[first[slide] : first[slide] + n] = bag if shift is None else bag - shift.to(device)
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
