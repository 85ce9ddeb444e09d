"""The ingest pipeline: readers, one queue of tiles across Slides, the Encoder, the writer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featurestore import arrays, catalog, ledger
from featurestore.errors import TrephineError
from featurestore.store import FeatureStore
from featurestore.types import Tiling, content_id
from ingest.slides.archive import MOST_ATTEMPTS, ArchiveSlide, is_unchanged
from ingest.slides.encoders import Encoder
from ingest.slides.golden import check_golden_tile
from ingest.slides.worker import (
    BLURRED,
    Measured,
    ReaderProcess,
    Request,
    Shard,
    Spent,
    Tiles,
    in_shard,
    share,
)

BATCH_TILES = 32
COMMIT_SLIDES = 32
COMMIT_S = 10.0
STAGES = ("open", "read", "embed", "write")


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What one call did; counts of Slides unless the name says otherwise."""

    embedded: int = 0
    known: int = 0
    updated: int = 0  # known, with new metadata
    without_tiles: dict[str, str] = field(default_factory=dict)  # slide_id to why none was kept
    failures: dict[str, str] = field(default_factory=dict)  # slide_id to reason
    given_up: int = 0
    elsewhere: int = 0  # left to other shards
    tiles: int = 0
    seconds: float = 0.0
    stages: dict[str, Spent] = field(default_factory=dict)  # summed over Slides and workers


@dataclass(kw_only=True)
class _Job:
    """One Slide on its way from reader to writer."""

    slide: ArchiveSlide
    row: dict[str, Any]  # of table slides
    arrays: arrays.SlideArrays | None = None  # until they are published
    tiles: int | None = None  # None: published before, only the row is new
    left: int = 0  # tiles still to embed
    error: TrephineError | None = None
    stage: str = ""
    why_none: str = ""
    elsewhere: bool = False
    spent: dict[str, Spent] = field(default_factory=lambda: dict.fromkeys(STAGES, Spent()))


Progress = Callable[[str, int], None]  # an event ("tiles", "slide", "failed") and a count


def ingest(
    store: FeatureStore,
    archive: Sequence[ArchiveSlide],
    encoder: Encoder,
    tiling: Tiling,
    *,
    workers: int = 2,
    retry_failed: bool = False,
    shard: Shard | None = None,
    progress: Progress = lambda event, n: None,
    new_reader: Callable[[], ReaderProcess] = ReaderProcess,
) -> IngestSummary:
    """Tile and embed every Slide that the store lacks; the rest costs one `stat` each.

    One bad Slide never stops the batch: it becomes a row in `failures`.

    Args:
        store: where the arrays and rows go.
        archive: the Slides, as `read_archive` lists them.
        encoder: the frozen Encoder.
        tiling: how Slides are cut.
        workers: processes that read.
        retry_failed: try also what failed three times.
        shard: (i, n): only part i of n, and write arrays and ledger, not the catalog; see `adopt`.
        progress: called with each event.
        new_reader: makes the process of a worker.
    """
    started = time.monotonic()
    if shard is None:
        catalog.fold(store.root)  # adopt what a killed ingest published without a row
    check_golden_tile(store, encoder)
    sorted_out = _sort_out(store, archive, tiling, encoder, retry_failed, shard)
    todo, moved = sorted_out.todo, sorted_out.moved
    progress("slide", len(archive) - len(todo))
    writer = _Writer(store, encoder, tiling, sorted_out.attempts, progress, folds=shard is None)
    reading = _Reading(store, todo, encoder, tiling, workers, shard, progress, new_reader)
    corrected = {
        "slides": [row | {"ingested_at": catalog.now()} for row in moved.values()],
        "cases": [slide.case_row() for slide in archive if slide.slide_id in moved],
    }
    try:
        writer.record(corrected)
        with reading as items:
            _embed(items, encoder, writer)
    finally:
        summary = writer.finish()  # what is finished is kept, also where the rest was interrupted
    return replace(
        summary,
        known=summary.known + sorted_out.known,
        updated=len(moved),
        given_up=sorted_out.given_up,
        elsewhere=sorted_out.elsewhere + reading.elsewhere,
        seconds=time.monotonic() - started,
    )


def adopt(store: FeatureStore) -> dict[str, int]:
    """Fold what shards wrote into the catalog; return how many rows each table gained."""
    tables = ("slides", "embeddings", "failures")
    text = f"select {', '.join(f'(select count(*) from {t}) as {t}' for t in tables)}"
    before = store.sql(text).row(0, named=True)
    catalog.fold(store.root, timeout_s=float("inf"))
    after = store.sql(text).row(0, named=True)
    return {table: after[table] - before[table] for table in tables}


@dataclass(kw_only=True)
class _Sorted:
    """What an archive's Slides are to the store."""

    todo: list[ArchiveSlide] = field(default_factory=list)
    moved: dict[str, dict[str, Any]] = field(default_factory=dict)  # slide_id to its new row
    known: int = 0
    given_up: int = 0
    elsewhere: int = 0
    attempts: dict[str, int] = field(default_factory=dict)  # path to failures so far


def _sort_out(
    store: FeatureStore,
    archive: Sequence[ArchiveSlide],
    tiling: Tiling,
    encoder: Encoder,
    retry_failed: bool,
    shard: Shard | None,
) -> _Sorted:
    """Sort Slides by the catalog and by what shards said since, one `stat` each."""
    out = _Sorted(attempts=dict(store.sql("select item, attempts from failures").iter_rows()))
    for item, mended in catalog.unfolded(store.root, "failures")["item", "mended"].iter_rows():
        out.attempts[item] = 0 if mended else out.attempts.get(item, 0) + 1
    rows, cases = (_said(store, kind) for kind in ("slides", "cases"))
    for slide in archive:
        row = rows.get(slide.slide_id)
        unchanged = row is not None and _is_unchanged(slide, row)
        # a Slide without a key yet is sorted by its reader, and by its name where that fails
        key = row["slide_key"] if row and unchanged else content_id(slide.slide_id)
        is_given_up = not retry_failed and out.attempts.get(str(slide.path), 0) >= MOST_ATTEMPTS
        if (unchanged or is_given_up) and not in_shard(key, shard):
            out.elsewhere += 1
        elif is_given_up:
            out.given_up += 1
        elif unchanged and arrays.has(store.root, key, tiling.tiling_id, encoder.encoder_id):
            out.known += 1
            if row and _differs(slide, row, cases.get(slide.case_id)):
                out.moved[slide.slide_id] = row | slide.slide_row()
        else:
            out.todo.append(slide)
    return out


def _said(store: FeatureStore, kind: str) -> dict[str, dict[str, Any]]:
    """Rows of table `slides` or `cases` by id, as the catalog and then the ledger have them."""
    known = store.sql(f"from {kind}").iter_rows(named=True)
    since = catalog.unfolded(store.root, kind).iter_rows(named=True)
    return {row[f"{kind.removesuffix('s')}_id"]: row for row in (*known, *since)}


def _is_unchanged(slide: ArchiveSlide, row: dict[str, Any]) -> bool:
    try:
        return is_unchanged(slide, row)
    except (OSError, TrephineError):
        return False  # its reader will say why


def _differs(slide: ArchiveSlide, row: dict[str, Any], case: dict[str, Any] | None) -> bool:
    said = slide.slide_row()
    return any(row[k] != v for k, v in said.items()) or case != slide.case_row()


# -- readers ----------------------------------------------------------------------------------


class _Reading:
    """Read Slides, one process a worker; iterate over (job, rows, tiles), tiles None at its end."""

    def __init__(
        self,
        store: FeatureStore,
        todo: Sequence[ArchiveSlide],
        encoder: Encoder,
        tiling: Tiling,
        workers: int,
        shard: Shard | None,
        progress: Progress,
        new_reader: Callable[[], ReaderProcess],
    ) -> None:
        self.elsewhere = 0
        self._store, self._encoder, self._tiling = store, encoder, tiling
        self._shard, self._progress = shard, progress
        self._todo: queue.SimpleQueue[ArchiveSlide] = queue.SimpleQueue()
        for slide in todo:
            self._todo.put(slide)
        self._n = len(todo)
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=8 * workers)
        self._stop = threading.Event()
        self._new_reader = new_reader
        self._threads = [
            threading.Thread(target=self._work, name=f"reader {i}")
            for i in range(min(workers, len(todo)))
        ]

    def __enter__(self) -> Iterator[tuple[_Job, np.ndarray, np.ndarray]]:
        for thread in self._threads:
            thread.start()
        return self._items()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _items(self) -> Iterator[tuple[_Job, np.ndarray, np.ndarray]]:
        done = 0
        while done < self._n:
            item = self._queue.get()
            done += item[2] is None
            if item[0].elsewhere:
                self.elsewhere += 1
                self._progress("slide", 1)
            else:
                yield item

    def _work(self) -> None:
        reader = self._new_reader()
        try:
            while not self._stop.is_set():
                try:
                    slide = self._todo.get_nowait()
                except queue.Empty:
                    return
                self._read(reader, slide)
        finally:
            reader.close()

    def _read(self, reader: ReaderProcess, slide: ArchiveSlide) -> None:
        job = _Job(slide=slide, row={})
        request = Request(
            root=self._store.root,
            slide=slide,
            tiling=self._tiling,
            encoder_id=self._encoder.encoder_id,
            shard=self._shard,
        )
        for message in reader.read(request):
            if isinstance(message, Measured):
                job.row, job.why_none = message.row, message.why_none
                job.spent["open"] = message.spent
                if message.thumbnail is not None:
                    job.left = job.tiles = len(message.coords)
                    job.arrays = self._arrays(message)
                job.row["blurred_share"] = share(message.scores["blur"] > BLURRED)
            elif isinstance(message, Tiles):
                self._put((job, message.rows, message.pixels))
            else:
                job.stage, job.error = message.stage, message.error
                job.spent["read"] = message.spent
                job.elsewhere = message.elsewhere or (
                    not job.row  # no key is known: its name decides who tells the failure
                    and not in_shard(content_id(slide.slide_id), self._shard)
                )
                if job.arrays is not None and message.blur is not None:
                    job.arrays.scores["blur"][:] = message.blur
                    job.row["blurred_share"] = share(message.blur > BLURRED)
            if self._stop.is_set():
                return
        self._put((job, np.empty(0, np.int64), None))

    def _arrays(self, measured: Measured) -> arrays.SlideArrays:
        assert measured.thumbnail is not None
        return arrays.SlideArrays(
            slide_key=measured.row["slide_key"],
            attributes=measured.attributes,
            thumbnail=measured.thumbnail,
            tiling=self._tiling,
            coords=measured.coords,
            scores=measured.scores,
            encoder_id=self._encoder.encoder_id,
            embeddings=np.empty((len(measured.coords), self._encoder.dim), np.float16),
            provenance={
                "encoder": self._encoder.description,
                "precision": self._encoder.precision,
                "device": self._encoder.device,
            },
        )

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue


# -- encoder ----------------------------------------------------------------------------------


def _embed(
    items: Iterable[tuple[_Job, np.ndarray, np.ndarray]], encoder: Encoder, writer: _Writer
) -> None:
    """Fill batches across Slides, so that the Encoder sees full ones whatever a Slide holds."""
    batch: list[tuple[_Job, np.ndarray, np.ndarray]] = []
    waiting: list[_Job] = []
    n = 0

    def flush() -> None:
        nonlocal n
        if batch:
            began = time.perf_counter()
            pixels = np.concatenate([tiles for _, _, tiles in batch])
            vectors = encoder.embed(pixels)
            per_tile = (time.perf_counter() - began) / n
            start = 0
            for job, rows, _ in batch:
                if job.arrays is not None:
                    job.arrays.embeddings[rows] = vectors[start : start + len(rows)]
                job.spent["embed"] += Spent(per_tile * len(rows), len(rows) * pixels[0].nbytes)
                job.left -= len(rows)
                start += len(rows)
            writer.progress("tiles", n)
        batch.clear()
        n = 0
        for job in [job for job in waiting if job.error or job.left == 0]:
            waiting.remove(job)
            writer.put(job)

    for job, rows, tiles in items:
        if tiles is None:
            waiting.append(job)
            if job.error or job.left == 0:
                flush()
            continue
        while len(rows):
            room = BATCH_TILES - n
            batch.append((job, rows[:room], tiles[:room]))
            n += len(rows[:room])
            rows, tiles = rows[room:], tiles[room:]
            if n == BATCH_TILES:
                flush()
    flush()


# -- writer -----------------------------------------------------------------------------------


class _Writer:
    """Publish finished Slides and commit their rows in batches, in a thread of its own."""

    def __init__(
        self,
        store: FeatureStore,
        encoder: Encoder,
        tiling: Tiling,
        attempts: dict[str, int],
        progress: Progress,
        folds: bool,
    ) -> None:
        self.progress = progress
        self._folds = folds
        self._store, self._encoder, self._tiling = store, encoder, tiling
        self._attempts = attempts
        # bounded: a disk slower than the encoder must hold it up, not fill the memory
        self._queue: queue.Queue[_Job | None] = queue.Queue(maxsize=COMMIT_SLIDES)
        self._done: list[_Job] = []
        self._summary = IngestSummary()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    def put(self, job: _Job) -> None:
        self._offer(job)
        if self._error:
            raise self._error

    def finish(self) -> IngestSummary:
        self._offer(None)
        self._thread.join()
        if self._error:
            raise self._error
        return self._summary

    def _offer(self, job: _Job | None) -> None:
        while self._thread.is_alive():
            try:
                return self._queue.put(job, timeout=0.2)
            except queue.Full:
                continue

    def _run(self) -> None:
        last = time.monotonic()
        try:
            while (job := self._queue.get()) is not None:
                self._publish(job)
                self._done.append(job)
                if len(self._done) >= COMMIT_SLIDES or time.monotonic() - last > COMMIT_S:
                    self._commit()
                    last = time.monotonic()
            self._commit()
        except BaseException as error:  # raised again in the caller's thread
            self._error = error

    def _publish(self, job: _Job) -> None:
        if job.error is None and job.arrays is not None:
            began = time.perf_counter()
            n_bytes = arrays.publish(self._store.root, job.arrays)
            job.spent["write"] = Spent(time.perf_counter() - began, n_bytes)
        job.arrays = None  # the row waits for its commit; the arrays need not
        seen = self._summary
        if job.error:
            reasons = seen.failures | {job.slide.slide_id: str(job.error)}
            self._summary = replace(seen, failures=reasons)
            self.progress("failed", 1)
        elif job.tiles is None:  # recognised by content
            self._summary = replace(seen, known=seen.known + 1)
        else:
            empty = {job.slide.slide_id: job.why_none} if job.why_none else {}
            self._summary = replace(
                seen,
                embedded=seen.embedded + 1,
                tiles=seen.tiles + job.tiles,
                without_tiles=seen.without_tiles | empty,
                stages={s: seen.stages.get(s, Spent()) + job.spent[s] for s in STAGES},
            )
        self.progress("slide", 1)

    def _commit(self) -> None:
        """Ledger first, then the catalog: what a kill cuts off here, the next call folds in."""
        done, self._done = self._done, []
        now = catalog.now()
        good = [job for job in done if job.error is None]
        failures = [
            {
                "item": str(job.slide.path),
                "stage": job.stage,
                "reason": str(job.error) if job.error else "",
                "slide_id": job.slide.slide_id,
                "mended": job.error is None,
                "seen_at": now,
            }
            for job in done
            if job.error or str(job.slide.path) in self._attempts
        ]
        ids = (self._tiling.tiling_id, self._encoder.encoder_id)
        times = [
            {
                "slide_key": job.row["slide_key"],
                "tiling_id": ids[0],
                "encoder_id": ids[1],
                "stage": stage,
                "seconds": spent.seconds,
                "bytes": spent.bytes,
                "tiles": job.tiles,
                "device": self._encoder.device,
                "measured_at": now,
            }
            for job in good
            if job.tiles is not None  # else it was published before: nothing was measured
            for stage, spent in job.spent.items()
        ]
        self.record(
            {
                "cases": [job.slide.case_row() for job in good],
                "slides": [{**job.row, "ingested_at": now} for job in good],
                "failures": failures,
                "ingest_times": times,
            },
            [(job.row["slide_key"], *ids) for job in good],
        )

    def record(
        self,
        said: Mapping[str, Sequence[Mapping[str, Any]]],
        published: Iterable[tuple[str, str, str]] = (),
    ) -> None:
        """Write rows to the ledger, by kind, and fold them in unless this is a shard."""
        for kind, rows in said.items():
            if rows:
                ledger.append(self._store.root, kind, rows)
        if self._folds and any(said.values()):
            catalog.fold(self._store.root, published=published, timeout_s=float("inf"))
