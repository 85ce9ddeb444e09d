"""Place the ingest on a Ray cluster: the same pipeline in actors, one committer in the driver.

What must be shared, and what was tried: docs/cluster.md.
"""

import queue
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from featurestore import FeatureStore
from featurestore.device import MOST_DEATHS, cluster, processors
from featurestore.errors import ConfigError, EncoderUnavailable, SlideUnreadable
from featurestore.types import ArrayIds, GoldenTile, Tiling
from featurestore.words import counted
from ingest.slides.config import IngestConfig
from ingest.slides.encoders import load
from ingest.slides.golden import compare_golden_tile
from ingest.slides.worklist import Work
from ingest.slides.writer import IngestSummary, Order, SlideJob, Tally, Writer

MOST_CHUNK = 16  # Slides of a task
TELL_S = 1.0
CHUNKS_PER_ACTOR = 8  # so that the last ones end together
ACTOR_CPUS = 8  # processors of an actor on large nodes, unless --threads says

Taken = tuple[IngestSummary, list[Any], list[ArrayIds]]  # what a task did; rows, published arrays
Known = list[GoldenTile]
Counts = Counter[str]  # of a Tally: what an actor did since it last told


@dataclass(frozen=True, kw_only=True)
class _Keeping(Order):
    """An Order whose rows are kept for the driver, which alone writes ledger and catalog."""

    rows: list[Any] = field(default_factory=list)
    published: list[ArrayIds] = field(default_factory=list)

    def record(self, rows: Iterable[Any], published: Iterable[ArrayIds] = ()) -> None:
        self.rows.extend(rows)
        self.published.extend(published)


class _Relay(Tally):
    """Hands over what is counted, for another process to tell."""

    def __init__(self) -> None:
        super().__init__(0, lambda *_: None)
        self._counts: queue.SimpleQueue[Counts | None] = queue.SimpleQueue()

    def add(self, **more: int) -> None:
        self._counts.put(Counter(more))

    def end(self, _: Any) -> None:
        self._counts.put(None)

    def counts(self) -> Iterator[Counts]:
        """Give what was counted, with each Slide and about once a second."""
        since, last = Counts(), time.monotonic()
        for more in iter(self._counts.get, None):
            since.update(more)
            if since["slides"] or time.monotonic() > last + TELL_S:
                yield since
                since, last = Counts(), time.monotonic()


class Pipeline:
    """Reads, embeds and publishes Slides, in an actor; its arrays go to the shared store."""

    def ready(
        self, store: FeatureStore, tiling: Tiling, config: IngestConfig, known: Known, cpus: int
    ) -> Iterator[Counts]:
        """Load the Encoder, which must give here what it gave before."""
        threads = config.threads or min(cpus, processors())
        # made anew, it is checked against this machine
        config = replace(config, engine="local", address=None, threads=threads)
        encoder = load(config.encoder, config.weights, config)
        compare_golden_tile(encoder, known)
        self._workers = config.workers
        self._order = Order(store=store, encoder=encoder, tiling=tiling, mpp=config.mpp)
        yield Counts()

    def take_in(self, works: Sequence[Work]) -> Iterator[Counts | Taken]:
        """Take some Slides in; gives how far it is, and last what was done."""
        from ingest.slides.embed import take_in

        order, relay = _Keeping(**vars(self._order)), _Relay()
        with ThreadPoolExecutor(1) as pool:
            doing = pool.submit(take_in, order, works, self._workers, relay)
            doing.add_done_callback(relay.end)
            yield from relay.counts()
            yield doing.result(), order.rows, order.published


def take_in_on_ray(
    order: Order, works: Sequence[Work], config: IngestConfig, tally: Tally
) -> IngestSummary:
    """Spread Slides over a Ray cluster; the driver alone writes ledger and catalog.

    What a lost worker was doing is given to others, one Slide at a time; a Slide that takes down
    three workers fails. What a lost one had published is recognised, and not made again.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
    summary = IngestSummary(encoder=order.encoder.description)
    with cluster(config.address) as ray:
        fleet = _Fleet(ray, order, works, config, tally)
        for taken, rows, published in fleet.results():
            order.record(rows, published)
            summary += taken
    writer = Writer(order, tally)
    for work in fleet.lost:
        error = SlideUnreadable(f"slide {work.slide.slide_id!r} took down {MOST_DEATHS} workers.")
        writer.put(SlideJob(archived=work.slide, stage="read", error=error, attempts=work.attempts))
    return summary + writer.finish()


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What an actor does: load the Encoder, or take Slides in."""

    actor: Any
    works: Sequence[Work] = ()
    told: Counts = field(default_factory=Counts)


class _Fleet:
    """The actors of a cluster, one a GPU or a group of processors, and the Slides still to do."""

    def __init__(
        self, ray: Any, order: Order, works: Sequence[Work], config: IngestConfig, tally: Tally
    ) -> None:
        self.lost: list[Work] = []  # took down too many actors
        self._ray, self._tally = ray, tally
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes)) if config.device != "cpu" else 0
        largest = int(max((node.get("CPU", 0) for node in nodes), default=0))
        cpus = config.threads or max(1, min(ACTOR_CPUS, largest))
        groups = sum(int(node.get("CPU", 0)) // cpus for node in nodes)
        if not (gpus or groups):
            raise ConfigError(
                f"no node of the Ray cluster has {counted(cpus, 'processor')} for a worker, the "
                f"largest has {largest}. Start others, or pass a smaller --threads."
            )
        needs = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": cpus}
        self._class = ray.remote(Pipeline).options(max_restarts=0, **needs)
        self._given = (order.store, order.tiling, config, order.store.known(GoldenTile), cpus)
        self._n = min(gpus or groups, len(works))
        size = max(1, min(MOST_CHUNK, len(works) // (CHUNKS_PER_ACTOR * self._n)))
        self._todo = deque(list(works[i : i + size]) for i in range(0, len(works), size))
        self._deaths: Counter[str] = Counter()
        self._stillborn = 0
        self._idle: list[Any] = []
        self._running: dict[Any, _Task] = {}  # by the stream of what it tells

    def results(self) -> Iterator[Taken]:
        """Give each task's outcome as it ends, until all Slides are done or lost."""
        for _ in range(self._n):
            self._start()
        while self._todo or any(task.works for task in self._running.values()):
            (stream, *_), _ = self._ray.wait(list(self._running))
            task = self._running[stream]
            try:
                said = self._ray.get(next(stream))
            except self._ray.exceptions.RayActorError:
                self._mourn(self._running.pop(stream))
                if len(self._running) + len(self._idle) < self._n and self._todo:
                    self._start()
            except self._ray.exceptions.RayTaskError as error:
                raise (error.cause or error) from error
            else:
                counts, taken = (said, None) if isinstance(said, Counter) else (Counts(), said)
                task.told.update(counts)
                if taken or not task.works:
                    self._idle.append(self._running.pop(stream).actor)
                self._tell(counts)
                if taken:
                    yield taken
            while self._todo and self._idle:
                task = _Task(actor=self._idle.pop(), works=self._todo.popleft())
                self._running[task.actor.take_in.remote(task.works)] = task

    def _tell(self, counts: Counts) -> None:
        self._tally.workers = len(self._idle) + sum(bool(t.works) for t in self._running.values())
        self._tally.add(**counts)

    def _start(self) -> None:
        """Start an actor; where a node was lost it waits for room, and the others go on."""
        actor = self._class.remote()
        self._running[actor.ready.remote(*self._given)] = _Task(actor=actor)

    def _mourn(self, task: _Task) -> None:
        """Give the Slides of a lost actor to others, one at a time, and count them anew."""
        self._tell(Counts({name: -n for name, n in task.told.items()}))
        self._stillborn = 0 if task.works else self._stillborn + 1
        if self._stillborn > MOST_DEATHS * self._n:
            raise EncoderUnavailable(
                f"{self._stillborn} workers died while they loaded the encoder, the last one too. "
                "Give them more memory or fewer --threads; what is embedded is kept."
            )
        for work in task.works:
            self._deaths[work.slide.slide_id] += 1
            if self._deaths[work.slide.slide_id] < MOST_DEATHS:
                self._todo.append([work])
            else:
                self.lost.append(work)
