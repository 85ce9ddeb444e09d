"""Read planned Bags into batches, one ahead of the model, streamed or resident on its device."""

from __future__ import annotations

import math
import os
import queue
import resource
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from featurestore import RowReader
from featurestore.errors import ConfigError
from trainer.bags import Draw, Sampler

# Descriptors of one reader: training has two, and some machines allow 256 in all.
MAX_OPEN = min(256, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


Tensors = tuple[torch.Tensor, torch.Tensor, np.ndarray]


def streamed(
    sampler: Sampler, reader: RowReader, plan: Iterable[Draw], stream: int, device: torch.device
) -> Iterator[Tensors]:
    """Read the planned batches in order, and move each to a device.

    A thread prepares the next while one is in use, in two buffers by turns.

    Yields:
        x float16 (B, N, D), as wide as its longest Bag and zero where padded; mask bool (B, N),
        true where there is a tile; slides int64 (B,). x is overwritten once the next is asked for.
    """
    if len(sampler.lengths) == 0:
        return
    free: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[np.ndarray, ...] | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            for draw in plan:
                buffer = free.get()
                if stop.is_set():
                    return
                shape = (len(draw.slides), int(sampler.lengths[draw.slides].max()), reader.dim)
                size = math.prod(shape)
                if buffer.size < size:
                    widest = int(sampler.lengths.max())
                    buffer = np.empty(shape[0] * widest * shape[2], np.float16)
                x = buffer[:size].reshape(shape)
                ready.put((x, sampler.fill(reader, draw, stream, x), draw.slides, buffer))
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
            x, mask, slides, buffer = item
            yield torch.from_numpy(x).to(device), torch.from_numpy(mask).to(device), slides
            free.put(buffer)
    finally:
        stop.set()
        free.put(np.empty(0, np.float16))
        thread.join()


def resident(
    sampler: Sampler, reader: RowReader, plan: Iterable[Draw], stream: int, device: torch.device
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
