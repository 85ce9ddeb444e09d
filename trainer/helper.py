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
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import torch

from featurestore import bounded_process
from featurestore.bounded_process import BoundedProcess, Died, Limits
from featurestore.device import device_of
from featurestore.errors import TrephineError
from featurestore.types import Progress
from trainer import fit
from trainer.config import TrainConfig
from trainer.shared_store import Shared

WORTH_S = 20.0  # of work that is left, over which the start of a second process pays
LIMITS = Limits(silence_s=1e6, cpu_s=1e9, memory_bytes=1 << 60, one_thread=False)
Outcome = str | TrephineError  # a run_id, or why there is none
Todo = deque[tuple[str, TrainConfig]]  # Runs to make, with their key


def train_here(
    store: Shared,
    configs: Mapping[str, TrainConfig],
    show: Callable[[str, int], Progress | None],
) -> Iterator[tuple[str, Outcome]]:
    """Train Runs; yield the key of each, as in `configs`, and what came of it, as they are made.

    `show` gives what is called as the Run of a key is made, and so many are done.
    """
    todo, began, done = deque(configs.items()), time.perf_counter(), 0
    has_room = torch.get_num_threads() > 1 and all(
        device_of(one.device) == "cpu" and not one.resident for one in configs.values()
    )
    second: Helper | None = None
    with ExitStack() as stack:
        while todo or second is not None:
            taken = _taken(todo.popleft)
            made = [] if second is None else [*second.made(wait=taken is None)]
            if taken is not None:
                made.append((taken[0], _outcome(store, taken[1], show(taken[0], done))))
            elif not todo and not made:
                return
            done += len(made)
            yield from made
            left_s = (time.perf_counter() - began) / max(1, done) * len(todo)
            if second is None and has_room and left_s > WORTH_S:
                second = stack.enter_context(closing(Helper(store.root, todo)))


def _taken(pop: Callable[[], tuple[str, TrainConfig]]) -> tuple[str, TrainConfig] | None:
    try:
        return pop()
    except IndexError:  # the other process took the last one
        return None


def _outcome(store: Shared, config: TrainConfig, show: Progress | None = None) -> Outcome:
    try:
        return fit.train(store, config, show, draw=False).run_id
    except TrephineError as error:
        return error


class Helper:
    """A second process: it takes Runs from the end of `todo` until none is left.

    If it dies, its Run is in `todo` again, for the caller to make.
    """

    def __init__(self, root: Path, todo: Todo) -> None:
        self._made: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        self._root, self._todo, self._threads = root, todo, torch.get_num_threads()
        self._process = BoundedProcess(LIMITS, _SERVE)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (taken := _taken(self._todo.pop)) is not None:
            try:
                said = next(self._process.ask((self._root, taken[1], self._threads)))
            except Died:
                self._todo.append(taken)
                return
            self._made.put((taken[0], said))

    def made(self, *, wait: bool) -> Iterator[tuple[str, Outcome]]:
        """What it has made since this was asked last; `wait` for all of it."""
        if wait:
            self._thread.join()
        while not self._made.empty():
            yield self._made.get()

    def close(self) -> None:
        """End it at once."""
        self._todo.clear()
        while self._thread.is_alive():
            self._process.kill()
            self._thread.join(0.1)
        self._process.close()


def _answer(request: tuple[Path, TrainConfig, int]) -> Iterator[Outcome]:
    root, config, threads = request
    torch.set_num_threads(threads)
    yield _outcome(_shared(root), config)


_shared = functools.cache(Shared)
_SERVE = functools.partial(bounded_process.serve, answer=_answer)
