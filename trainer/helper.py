"""Make Runs on this machine, where it pays in two processes: each fills half of it.

One training computes on half of torch's threads (`trainer.model.compute_threads`). Both processes
have the same libraries, threads and environment, so the same numbers.
"""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress

import torch

from featurestore import bounded_process
from featurestore.bounded_process import BoundedProcess, Bounds, Died
from featurestore.device import device_of
from featurestore.errors import TrephineError
from featurestore.types import Progress, silent
from trainer import fit
from trainer.config import TrainConfig
from trainer.shared_store import Shared

WORTH_S = 20.0  # of work that is left, over which the start of a second process pays
LIMITS = Bounds(silence_s=1e6, cpu_s=1e9, memory_bytes=1 << 60, one_thread=False)
Outcome = tuple[str, bool] | TrephineError  # a run_id and whether it is new, or why there is none


def train_here(
    store: Shared, configs: Mapping[str, TrainConfig], show: Callable[[str, int], Progress]
) -> Generator[tuple[str, Outcome]]:
    """Train Runs; yield the key of each, as in `configs`, and what came of it, as they are made.

    `show` gives what is called as the Run of a key is made, and so many are done. The second
    process takes Runs from the end; if it dies, the caller makes the rest alone.
    """
    todo, began, done = deque(configs.items()), time.perf_counter(), 0
    threads, made = torch.get_num_threads(), queue.SimpleQueue[tuple[str, Outcome]]()
    has_room = threads > 1 and all(
        device_of(one.device) == "cpu" and not one.resident for one in configs.values()
    )
    answer = functools.partial(_answer, store)  # there it keeps what it read
    process = BoundedProcess(LIMITS, functools.partial(bounded_process.serve, answer=answer))

    def work() -> None:
        with suppress(IndexError):  # none is left
            while True:
                key, config = todo.pop()
                try:
                    made.put((key, next(process.ask((key, config, threads)))))
                except Died:
                    todo.append((key, config))
                    return

    second = threading.Thread(target=work, daemon=True)
    try:
        while done < len(configs):
            try:
                key, config = todo.popleft()
                made.put((key, _outcome(store, key, config, show(key, done))))
            except IndexError:
                second.join()
            while not made.empty():
                yield made.get()
                done += 1
            left_s = (time.perf_counter() - began) / max(1, done) * len(todo)
            if second.ident is None and has_room and left_s > WORTH_S:
                second.start()
    finally:
        todo.clear()
        while second.is_alive():
            process.kill()
            second.join(0.1)
        process.close()


def _outcome(store: Shared, key: str, config: TrainConfig, show: Progress = silent) -> Outcome:
    try:
        with store.claimed(key) as known:
            return known or fit.train(store, config, show, draw=False).run_id, not known
    except TrephineError as error:
        return error


def _answer(store: Shared, request: tuple[str, TrainConfig, int]) -> Iterator[Outcome]:
    key, config, threads = request
    torch.set_num_threads(threads)
    yield _outcome(store, key, config)
