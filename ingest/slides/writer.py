"""Publish finished Slides and commit their rows in batches, in a thread of its own."""

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

import numpy as np

from featurestore import FeatureStore, SlideArrays
from featurestore.errors import NotFinite, TrephineError
from featurestore.types import (
    ArrayIds,
    EncoderDescription,
    Failure,
    IngestTime,
    Progress,
    Slide,
    Stage,
    Tiling,
)
from featurestore.words import counted, duration, grouped, size
from ingest.slides.archive import ArchiveSlide
from ingest.slides.config import Part
from ingest.slides.encoders import Encoder
from ingest.slides.worker import Spent
from ingest.slides.worklist import scale_doubt

COMMIT_SLIDES = 32
COMMIT_S = 10.0
T = TypeVar("T")
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, kw_only=True)
class Order:
    """What every Slide of one ingest is made into."""

    store: FeatureStore
    encoder: Encoder
    tiling: Tiling
    part: Part | None = None
    mpp: float | None = None  # of Slides of which nobody says one

    def record(self, rows: Iterable[Any], published: Iterable[ArrayIds] = ()) -> None:
        """Write rows to the ledger, and fold them in unless this is a shard; waits for the lock."""
        is_whole = self.part is None
        self.store.record(rows, published=published, fold=is_whole, wait_s=float("inf"))


@dataclass(kw_only=True)
class SlideJob:
    """One Slide on its way from reader to writer."""

    archived: ArchiveSlide
    attempts: int = 0  # that failed before
    slide: Slide | None = None  # once it was measured
    arrays: SlideArrays | None = None  # until they are published
    tiles: int | None = None  # None: published before, only the row is new
    left: int = 0  # tiles still to embed
    stage: str = ""
    error: TrephineError | None = None
    why_none: str = ""
    elsewhere: bool = False
    spent: dict[Stage, Spent] = field(default_factory=lambda: dict.fromkeys(STAGES, Spent()))


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What one call did; counts of Slides unless the name says otherwise."""

    encoder: EncoderDescription
    shard: str | None = None
    pictures: str | None = None  # folder of the previews
    slides: int = 0  # of the archive
    embedded: int = 0
    known: int = 0
    recognised: int = 0  # new or changed, but their Embeddings were there
    updated: int = 0  # known, with new metadata
    notes: tuple[str, ...] = ()  # of the manifest
    copies: dict[str, str] = field(default_factory=dict)  # slide_id to whose content it has
    renamed: dict[str, str] = field(default_factory=dict)  # slide_id to what is said of its name
    scales: dict[str, str] = field(default_factory=dict)  # slide_id to how two statements differ
    without_tiles: dict[str, str] = field(default_factory=dict)  # slide_id to why none was kept
    failures: dict[str, str] = field(default_factory=dict)  # slide_id to reason
    given_up: int = 0
    elsewhere: int = 0  # left to other shards
    tiles: int = 0
    seconds: float = 0.0
    stages: dict[Stage, Spent] = field(default_factory=dict)  # summed over Slides and workers

    def __add__(self, other: "IngestSummary") -> "IngestSummary":
        """Of both, where they are parts of one call."""
        mine, theirs = vars(self), vars(other)
        both = {k: v + theirs[k] for k, v in mine.items() if isinstance(v, int | float | tuple)}
        both |= {k: v | theirs[k] for k, v in mine.items() if isinstance(v, dict)}
        spent = dict.fromkeys(other.stages, Spent()) | self.stages
        both["stages"] = {k: v + other.stages.get(k, Spent()) for k, v in spent.items()}
        return replace(self, **both)

    @property
    def gave_up(self) -> int:
        """Slides that the store lacks and nobody tries again: the command leaves with 3."""
        return self.given_up

    def text(self) -> str:
        """What `ingest` prints: counts, time by stage, reasons, the next command."""
        rate = f" ({self.tiles / self.seconds:.1f} tiles/s)" if self.tiles else ""
        others = {
            "with new metadata": self.updated,
            "new or changed whose embeddings were there": self.recognised,
            "failed": len(self.failures),
            "given up after three tries": self.given_up,
            "of other shards": self.elsewhere,
        }
        lines = [
            f"{counted(self.slides, 'slide')} in {duration(self.seconds)}: "
            f"{self.embedded} embedded, {counted(self.tiles, 'tile')}{rate}; {self.known} known"
            + "".join(f", {n} {what}" for what, n in others.items() if n),
            f"encoder {self.encoder.name}, weights {self.encoder.weights}, "
            f"id {self.encoder.encoder_id}",
        ]
        if self.encoder.weights == "random":
            lines.append("The encoder's weights are random: its embeddings mean little.")
        if self.tiles:
            lines.append(f"{'stage':8}{'at work':>12}{'tiles/s':>10}{'bytes':>12}")
            lines += [
                f"{stage:8}{spent.seconds:10.1f} s{self.tiles / max(spent.seconds, 1e-9):10.1f}"
                f"{size(spent.bytes):>12}"
                for stage, spent in self.stages.items()
            ]
        lines += [f"note: {note}" for note in self.notes]
        told = {"no tiles": self.without_tiles, "failed": self.failures, "copy": self.copies}
        for what, reasons in (told | {"renamed": self.renamed, "scale": self.scales}).items():
            lines += grouped(what, reasons)
        if self.failures:
            lines.append(
                f"{len(self.failures)} failed; the next call tries again what failed less than "
                "three times. List them with: trephine sql 'from failures'"
            )
        if self.pictures:
            lines.append(f"The pictures are in {self.pictures}, named by slide_key.")
        if self.given_up:
            lines.append("To try again what failed three times, add: --retry-failed")
        if self.embedded or self.recognised or self.updated:
            after = "ingest --adopt-only" if self.shard else "label REPORTS"
            lines.append(f"Next: trephine {after}")
        return "\n".join(lines)


class Tally:
    """Counts what is done as it is done, in whatever thread, and tells it."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total, self._progress = total, progress
        self.workers = 0  # of a cluster, that are told too
        self._done: Counter[str] = Counter()
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def add(self, **more: int) -> None:
        """Count more slides, tiles or failed ones, and tell how far the work is."""
        with self._lock:
            self._done.update(more)
            tiles, failed = self._done["tiles"], self._done["failed"]
            rate = tiles / max(1e-9, time.monotonic() - self._began)
            note = f"{tiles:,} tiles, {rate:.1f} tiles/s, {failed} failed"
            note += f", {counted(self.workers, 'worker')}" if self.workers else ""
            self._progress(self._done["slides"], self._total, note)


def put_while(line: queue.Queue[T], item: T, is_wanted: Callable[[], bool]) -> bool:
    """Wait for room; False where nobody wants it any more."""
    while is_wanted():
        with suppress(queue.Full):
            line.put(item, timeout=0.2)
            return True
    return False


class Writer:
    """Publishes the SlideJobs that it is handed; ledger and catalog follow in batches."""

    def __init__(self, order: Order, tally: Tally) -> None:
        self._order, self._tally = order, tally
        # bounded: a disk slower than the encoder must hold it up, not fill the memory
        self._queue: queue.Queue[SlideJob | None] = queue.Queue(maxsize=COMMIT_SLIDES)
        self._done: list[SlideJob] = []
        self._summary = IngestSummary(encoder=order.encoder.description)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    def put(self, job: SlideJob | None) -> None:
        """Hand over a finished or failed Slide; None is the last. Raises what an earlier met."""
        put_while(self._queue, job, self._thread.is_alive)
        if self._error:
            raise self._error

    def finish(self) -> IngestSummary:
        """Wait until all is written; raises as `put`."""
        self.put(None)
        self._thread.join()
        if self._error:
            raise self._error
        return self._summary

    def _run(self) -> None:
        last = time.monotonic()
        try:
            while (job := self._queue.get()) is not None:
                self._publish(job)
                if len(self._done) >= COMMIT_SLIDES or time.monotonic() - last > COMMIT_S:
                    self._commit()
                    last = time.monotonic()
            self._commit()
        except BaseException as error:  # raised again in the caller's thread
            self._error = error

    def _publish(self, job: SlideJob) -> None:
        arrays, job.arrays = job.arrays, None  # the row waits for its commit; the arrays need not
        if arrays is not None and job.error is None:
            n = int((~np.isfinite(arrays.embeddings).all(axis=1)).sum())
            if n:
                job.stage = "embed"
                job.error = NotFinite(
                    f"slide {job.archived.slide_id!r}: {n} of {len(arrays.embeddings)} embeddings "
                    f"are not finite in float16, as {self._order.encoder.how} gave them. "
                    "Pass --precision float32 --retry-failed, or check the weights."
                )
            else:
                began = time.perf_counter()
                n_bytes = self._order.store.publish(arrays)
                job.spent["write"] = Spent(time.perf_counter() - began, n_bytes)
        self._summary += _summed(job, self._summary.encoder)
        self._tally.add(slides=1, failed=job.error is not None)
        if not job.elsewhere:
            self._done.append(job)

    def _commit(self) -> None:
        """Ledger first, then the catalog: what a kill cuts off here, the next call folds in."""
        done, self._done = self._done, []
        rows: list[Any] = []
        published: list[ArrayIds] = []
        tiling_id, encoder = self._order.tiling.tiling_id, self._order.encoder
        for job in done:
            if job.error is None and job.slide:
                ids = ArrayIds(job.slide.slide_key, tiling_id, encoder.encoder_id)
                published.append(ids)
                rows += [job.archived.case, job.slide]
                times: Any = {**ids._asdict(), "tiles": job.tiles, "device": encoder.device}
                spent = job.spent if job.tiles is not None else {}  # they were there before
                rows += [IngestTime(**times, stage=k, **vars(v)) for k, v in spent.items()]
            if job.error or job.attempts:
                failure = Failure(
                    item=job.archived.slide.path,
                    stage=job.stage,
                    reason=str(job.error or ""),
                    slide_id=job.archived.slide_id,
                    mended=job.error is None,
                )
                rows.append(failure)
        self._order.record(rows, published)


def _summed(job: SlideJob, encoder: EncoderDescription) -> IngestSummary:
    slide_id = job.archived.slide_id
    doubt = scale_doubt(job.slide)
    seen = IngestSummary(encoder=encoder, scales={slide_id: doubt} if doubt else {})
    if job.error:
        return replace(seen, failures={slide_id: str(job.error)})
    if job.elsewhere:
        return replace(seen, elsewhere=1)
    if job.tiles is None:  # recognised by content
        return replace(seen, recognised=1)
    without = {slide_id: job.why_none} if job.why_none else {}
    return replace(seen, embedded=1, tiles=job.tiles, without_tiles=without, stages=job.spent)
