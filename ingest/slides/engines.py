"""Place the ingest on a Ray cluster: the same pipeline in actors, one committer in the driver.

What must be shared, and what was tried, is in docs/cluster.md.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featurestore import FeatureStore
from featurestore.cluster import MOST_DEATHS, cluster
from featurestore.errors import EncoderUnavailable, SlideUnreadable
from featurestore.types import ArrayIds, GoldenTile, Tiling
from ingest.slides.config import IngestConfig
from ingest.slides.encoders import load_as
from ingest.slides.golden import compare_golden_tile
from ingest.slides.worklist import Work
from ingest.slides.writer import IngestSummary, Job, Order, Tally, Writer

MOST_CHUNK = 16  # Slides of a task
CHUNKS_PER_ACTOR = 8  # so that the last ones end together
ACTOR_CPUS = 8  # processors of an actor on large nodes, unless --threads says


Taken = tuple[IngestSummary, list[Any], list[ArrayIds]]  # what a task did; rows, published arrays


@dataclass(frozen=True, kw_only=True)
class _Kept(Order):
    """An Order whose rows are kept for the driver, which alone writes ledger and catalog."""

    rows: list[Any] = field(default_factory=list)
    published: list[ArrayIds] = field(default_factory=list)

    def record(self, rows: Iterable[Any], published: Iterable[ArrayIds] = ()) -> None:
        self.rows.extend(rows)
        self.published.extend(published)


class Pipeline:
    """Reads, embeds and publishes Slides, in an actor; its arrays go to the shared store."""

    def ready(
        self, store: FeatureStore, tiling: Tiling, config: IngestConfig, known: list[GoldenTile]
    ) -> None:
        """Load the Encoder, which must give here what it gave before."""
        encoder = load_as(config)
        compare_golden_tile(encoder, known)
        self._workers = config.workers
        self._order = Order(store=store, encoder=encoder, tiling=tiling, mpp=config.mpp)

    def take_in(self, works: Sequence[Work]) -> Taken:
        """Take some Slides in."""
        from ingest.slides.embed import take_in

        order = _Kept(**vars(self._order))
        summary = take_in(order, works, self._workers, Tally(len(works), lambda *_: None))
        return summary, order.rows, order.published


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
        fleet = _Fleet(ray, order, works, config)
        for taken, rows, published in fleet.results():
            order.record(rows, published)
            summary += taken
            failed = len(taken.failures)
            done = taken.embedded + taken.recognised + failed
            tally.workers = fleet.ready
            tally.add(slides=done, tiles=taken.tiles, failed=failed)
    writer = Writer(order, tally)
    for work in fleet.lost:
        error = SlideUnreadable(f"slide {work.slide.slide_id!r} took down {MOST_DEATHS} workers.")
        writer.put(Job(archived=work.slide, stage="read", error=error, attempts=work.attempts))
    return summary + writer.finish()


class _Fleet:
    """The actors of a cluster, one a GPU or a group of processors, and the Slides still to do."""

    def __init__(self, ray: Any, order: Order, works: Sequence[Work], config: IngestConfig) -> None:
        self.lost: list[Work] = []  # took down too many actors
        self._ray = ray
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = int(sum(node.get("GPU", 0) for node in nodes)) if config.device != "cpu" else 0
        largest = int(max((node.get("CPU", 1) for node in nodes), default=1))
        cpus = config.threads or max(1, min(ACTOR_CPUS, largest))
        groups = sum(int(node.get("CPU", 0)) // cpus for node in nodes)
        needs = {"num_gpus": 1, "num_cpus": 1} if gpus else {"num_cpus": cpus}
        self._class = ray.remote(Pipeline).options(max_restarts=0, **needs)
        here = replace(config, threads=cpus, engine="local", address=None)
        self._given = (order.store, order.tiling, here, order.store.known(GoldenTile))
        self._n = min(gpus or max(1, groups), len(works))
        size = max(1, min(MOST_CHUNK, len(works) // (CHUNKS_PER_ACTOR * self._n)))
        self._todo = deque(list(works[i : i + size]) for i in range(0, len(works), size))
        self._deaths: Counter[str] = Counter()
        self._stillborn = 0
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, list[Work]]] = {}  # by reference: actor, its Slides

    def results(self) -> Iterator[Taken]:
        """Give each task's outcome as it ends, until all Slides are done or lost."""
        for _ in range(self._n):
            self._start()
        while self._todo or any(works for _, works in self._running.values()):
            (reference, *_), _ = self._ray.wait(list(self._running))
            actor, works = self._running.pop(reference)
            try:
                taken = self._ray.get(reference)
            except self._ray.exceptions.RayActorError:
                self._mourn(works)
                if len(self._running) + len(self._idle) < self._n and self._todo:
                    self._start()
            except self._ray.exceptions.RayTaskError as error:
                raise (error.cause or error) from error
            else:
                self._idle.append(actor)
                if taken is not None:
                    yield taken
            while self._todo and self._idle:
                actor, chunk = self._idle.pop(), self._todo.popleft()
                self._running[actor.take_in.remote(chunk)] = (actor, chunk)

    @property
    def ready(self) -> int:
        """Actors that have the Encoder."""
        return len(self._idle) + sum(bool(works) for _, works in self._running.values())

    def _start(self) -> None:
        """Start an actor; where a node was lost it waits for room, and the others go on."""
        actor = self._class.remote()
        self._running[actor.ready.remote(*self._given)] = (actor, [])

    def _mourn(self, works: Sequence[Work]) -> None:
        """Give the Slides of a lost actor to others, one at a time."""
        self._stillborn = 0 if works else self._stillborn + 1
        if self._stillborn > MOST_DEATHS * self._n:
            raise EncoderUnavailable(
                f"{self._stillborn} workers died while they loaded the encoder, the last one too. "
                "Give them more memory or fewer --threads; what is embedded is kept."
            )
        for work in works:
            self._deaths[work.slide.slide_id] += 1
            if self._deaths[work.slide.slide_id] < MOST_DEATHS:
                self._todo.append([work])
            else:
                self.lost.append(work)
