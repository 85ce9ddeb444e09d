"""Spread Runs over a Ray cluster: each is a task, and the caller alone writes to the store.

What must be shared, and what was tried, is in docs/cluster.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from featurestore import FeatureStore
from featurestore.device import MOST_DEATHS, cluster, device_of
from featurestore.errors import ConfigError, TrainError, TrephineError
from featurestore.types import Prediction, RunRecord
from trainer import fit
from trainer.config import TrainConfig
from trainer.feed import MAX_OPEN
from trainer.helper import Outcome
from trainer.shared_store import Shared
from trainer.training_loop import STATE

# a finished Run that no store has yet; its files by name: weights, metrics.jsonl
Made = tuple[RunRecord, Sequence[Prediction], Mapping[str, bytes]]


class _Lent(Shared):
    """A store that a task reads; what it makes is kept for the one who writes."""

    made: Made

    @contextmanager
    def workplace(self, key: str) -> Iterator[Path]:
        """A folder of the task's own machine."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)

    def publish_run(self, work: Path, record: RunRecord, predictions: Sequence[Prediction]) -> Path:
        """Keep a finished Run."""
        files = {file.name: file.read_bytes() for file in work.iterdir()}
        self.made = record, predictions, files
        return work


def train_on_ray(
    store: Shared, configs: Mapping[str, TrainConfig], address: str | None
) -> Generator[tuple[str, Outcome]]:
    """Train Runs on a cluster, and publish each as it ends.

    On machines of one kind they are those of this machine to the last digit: each computes with as
    many threads as it would here. The workers find the store under the same path.

    Yields:
        The key of a Run, as in `configs`, and what came of it.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    threads = torch.get_num_threads()
    with cluster(address) as ray, ExitStack() as claims:
        nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        cpus = max(1, min(threads // 2, int(max(nodes, default=1))))  # see `compute_threads`
        task, how = ray.remote(_train), {"num_cpus": cpus, "max_retries": MOST_DEATHS - 1}
        todo, waiting = sorted(configs, reverse=True), dict[object, tuple[str, ExitStack]]()
        while todo or waiting:
            if todo and len(waiting) < MAX_OPEN:  # a claim is an open folder
                key, claim = todo.pop(), claims.enter_context(ExitStack())
                if known := claim.enter_context(store.claimed(key)):  # in one order: no deadlock
                    claim.close()
                    yield key, (known, False)
                    continue
                config = configs[key]
                placed = task.options(**how, num_gpus=int(device_of(config.device) == "cuda"))
                waiting[placed.remote(store, config, threads)] = key, claim
                continue
            (reference, *_), _ = ray.wait(list(waiting))
            key, claim = waiting.pop(reference)
            try:
                with claim:
                    yield key, (_published(store, key, ray.get(reference)), True)
            except TrephineError as error:
                yield key, error
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, TrephineError):
                    raise error.cause or error from error
                yield key, error.cause
            except ray.exceptions.RayError:
                yield key, TrainError(f"it took down {MOST_DEATHS} workers: give them more memory.")


def _train(store: Shared, config: TrainConfig, threads: int) -> Made:
    """Train one Run, in a task."""
    torch.set_num_threads(threads)
    lent = _Lent.of(store)
    fit.train(lent, config, draw=False)
    return lent.made


def _published(store: FeatureStore, key: str, made: Made) -> str:
    record, predictions, files = made
    if record.key != key:
        raise ConfigError(
            "the worker that trained it has another trephine, torch, numpy or device than this "
            "machine. Install the same on all"
        )
    with store.workplace(key) as work:
        (work / STATE).unlink(missing_ok=True)  # of one that was broken off here
        for name, content in files.items():
            (work / name).write_bytes(content)
        store.publish_run(work, record, predictions)
    return record.run_id
