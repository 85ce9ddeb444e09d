"""The ingest pipeline: readers, one queue of tiles across Slides, the Encoder, the writer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featurestore import arrays, catalog, layout, ledger
from featurestore.errors import TrephineError
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest import slides, tissue
from ingest.archive import MOST_ATTEMPTS, ArchiveSlide, file_stamp, is_unchanged
from ingest.encoders import Encoder
from ingest.tiling import find_tiles

BATCH_TILES = 32
COMMIT_SLIDES = 32
COMMIT_S = 10.0
BLURRED = 0.5  # a tile with a higher blur score counts as out of focus


@dataclass(frozen=True, kw_only=True)
class IngestSummary:
    """What one call did; counts of Slides unless the name says otherwise."""

    embedded: int = 0
    known: int = 0
    updated: int = 0  # known, with new metadata
    without_tiles: dict[str, str] = field(default_factory=dict)  # slide_id to why none was kept
    failures: dict[str, str] = field(default_factory=dict)  # slide_id to reason
    given_up: int = 0
    tiles: int = 0
    seconds: float = 0.0


@dataclass(kw_only=True)
class _Job:
    """One Slide on its way from reader to writer."""

    slide: ArchiveSlide
    row: dict[str, Any]  # of table slides
    arrays: arrays.SlideArrays | None = None  # None: published already, only the row is new
    left: int = 0  # tiles still to embed
    error: TrephineError | None = None
    stage: str = ""
    why_none: str = ""


Progress = Callable[[str, int], None]  # an event ("tiles", "slide", "failed") and a count


def ingest(
    store: FeatureStore,
    archive: Sequence[ArchiveSlide],
    encoder: Encoder,
    tiling: Tiling,
    *,
    workers: int = 2,
    retry_failed: bool = False,
    progress: Progress = lambda event, n: None,
) -> IngestSummary:
    """Tile and embed every Slide that the store lacks; the rest costs one `stat` each.

    One bad Slide never stops the batch: it becomes a row in `failures`.

    Args:
        store: where the arrays and rows go.
        archive: the Slides, as `read_archive` lists them.
        encoder: the frozen Encoder.
        tiling: how Slides are cut.
        workers: reader threads.
        retry_failed: try also what failed three times.
        progress: called with each event.
    """
    started = time.monotonic()
    catalog.fold(store.root)  # adopt what a killed ingest published without a row
    rows = {row["slide_id"]: row for row in store.sql("from slides").iter_rows(named=True)}
    cases = {row["case_id"]: row for row in store.sql("from cases").iter_rows(named=True)}
    attempts = dict(store.sql("select item, attempts from failures").iter_rows())
    todo, moved, known, given_up = [], [], 0, 0
    for slide in archive:
        row = rows.get(slide.slide_id)
        if not retry_failed and attempts.get(str(slide.path), 0) >= MOST_ATTEMPTS:
            given_up += 1
        elif row and _is_done(store, slide, row, tiling, encoder):
            known += 1
            if _differs(slide, row, cases.get(slide.case_id)):
                moved.append(slide)
        else:
            todo.append(slide)
    now = catalog.now()
    ledger_rows = [{**rows[s.slide_id], **s.slide_row(), "ingested_at": now} for s in moved]
    _record(store, ledger_rows, [s.case_row() for s in moved], [], [])
    writer = _Writer(store, encoder, tiling, attempts, progress)
    try:
        with _reading(store, todo, encoder, tiling, workers) as items:
            _embed(items, encoder, writer)
    finally:
        summary = writer.finish()  # what is finished is kept, also where the rest was interrupted
    return replace(
        summary,
        known=known,
        updated=len(moved),
        given_up=given_up,
        seconds=time.monotonic() - started,
    )


def _is_done(
    store: FeatureStore, slide: ArchiveSlide, row: dict[str, Any], tiling: Tiling, encoder: Encoder
) -> bool:
    try:
        unchanged = is_unchanged(slide, row)
    except (OSError, TrephineError):
        return False
    ids = (row["slide_key"], tiling.tiling_id, encoder.encoder_id)
    return unchanged and arrays.has(store.root, *ids)


def _differs(slide: ArchiveSlide, row: dict[str, Any], case: dict[str, Any] | None) -> bool:
    said = slide.slide_row()
    return any(row[k] != v for k, v in said.items()) or case != slide.case_row()


# -- readers ----------------------------------------------------------------------------------


class _reading:
    """Read Slides in threads; iterate over (job, rows, tiles), tiles None when a job is read."""

    def __init__(
        self,
        store: FeatureStore,
        todo: Sequence[ArchiveSlide],
        encoder: Encoder,
        tiling: Tiling,
        workers: int,
    ) -> None:
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=8 * workers)
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="reader")
        self._n = len(todo)
        self._ahead = threading.Semaphore(4 * workers)  # Slides in memory
        self._args = (store, encoder, tiling)
        self._todo = todo

    def __enter__(self) -> Iterator[tuple[_Job, np.ndarray, np.ndarray]]:
        for slide in self._todo:
            self._pool.submit(self._read, slide)
        return self._items()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def _items(self) -> Iterator[tuple[_Job, np.ndarray, np.ndarray]]:
        done = 0
        while done < self._n:
            item = self._queue.get()
            done += item[2] is None
            if item[2] is None:
                self._ahead.release()
            yield item

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _read(self, slide: ArchiveSlide) -> None:
        while not self._ahead.acquire(timeout=0.2):
            if self._stop.is_set():
                return
        job = _Job(slide=slide, row={}, stage="open")
        try:
            _read_slide(*self._args, job, lambda rows, tiles: self._put((job, rows, tiles)))
        except TrephineError as error:
            job.error = error
        except Exception as error:  # one bad Slide never stops the batch
            job.error = TrephineError(f"{type(error).__name__}: {error}")
        self._put((job, np.empty(0, np.int64), None))


def _read_slide(
    store: FeatureStore,
    encoder: Encoder,
    tiling: Tiling,
    job: _Job,
    put: Callable[[np.ndarray, np.ndarray], None],
) -> None:
    slide = job.slide
    size_bytes, mtime_ns = file_stamp(slide.path)
    fingerprint = slides.fingerprint(slide.path)
    with slides.open_slide(slide.path, mpp=slide.mpp) as reader:
        key = slides.slide_key(fingerprint, reader.mpp)
        found = find_tiles(reader, tiling)
        job.row = {
            **slide.slide_row(),
            "size_bytes": size_bytes,
            "mtime_ns": mtime_ns,
            "fingerprint": fingerprint,
            "slide_key": key,
            "reader": reader.reader,
            "width_px0": reader.size_px0[0],
            "height_px0": reader.size_px0[1],
            "mpp": reader.mpp,
            "tissue_mm2": found.tissue_mm2,
            "black_share": found.black_share,
            "pen_share": float(np.mean(found.pen > 0.1)) if len(found.pen) else 0.0,
        }
        if arrays.has(store.root, key, tiling.tiling_id, encoder.encoder_id):
            stored = arrays.read_tiles(store.root, key, tiling.tiling_id)
            job.row["blurred_share"] = _share(stored["blur"] > BLURRED)
            return
        if layout.tiles_dir(store.root, key, tiling.tiling_id).exists():
            stored = arrays.read_tiles(store.root, key, tiling.tiling_id)
        else:
            order = arrays.row_order(key, found.coords)
            stored = {
                "coords": found.coords[order],
                "tissue": found.tissue[order],
                "pen": found.pen[order],
                "blur": np.zeros(len(order), np.float16),
            }
        n = len(stored["coords"])
        job.left = n
        job.why_none = found.why_none
        job.stage = "read"
        job.arrays = arrays.SlideArrays(
            slide_key=key,
            attributes={
                "fingerprint": fingerprint,
                "size_px0": list(reader.size_px0),
                "mpp": reader.mpp,
                "reader": reader.reader,
            },
            thumbnail=reader.thumbnail(),
            tiling=tiling,
            coords=stored["coords"],
            scores={name: stored[name] for name in layout.SCORES},
            encoder_id=encoder.encoder_id,
            embeddings=np.empty((n, encoder.dim), np.float16),
            provenance={
                "encoder": encoder.description,
                "precision": encoder.precision,
                "device": encoder.device,
            },
        )
        for rows, tiles in reader.read_tiles(stored["coords"], tiling.tile_px, tiling.tile_mpp):
            stored["blur"][rows] = tissue.blur_scores(tiles)
            put(rows, tiles)
        job.row["blurred_share"] = _share(stored["blur"] > BLURRED)
        job.stage = "embed"


def _share(flags: np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else 0.0


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
            vectors = encoder.embed(np.concatenate([tiles for _, _, tiles in batch]))
            start = 0
            for job, rows, _ in batch:
                if job.arrays is not None:
                    job.arrays.embeddings[rows] = vectors[start : start + len(rows)]
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
    ) -> None:
        self.progress = progress
        self._store, self._encoder, self._tiling = store, encoder, tiling
        self._attempts = attempts
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._done: list[_Job] = []
        self._summary = IngestSummary()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")
        self._thread.start()

    def put(self, job: _Job) -> None:
        if self._error:
            raise self._error
        self._queue.put(job)

    def finish(self) -> IngestSummary:
        self._queue.put(None)
        self._thread.join()
        if self._error:
            raise self._error
        return self._summary

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
        except OSError as error:
            self._error = TrephineError(
                f"cannot write to the store {self._store.root}: {error}. Finished slides are kept; "
                "mend it and run the same command again."
            )
        except BaseException as error:  # raised again in the caller's thread
            self._error = error

    def _publish(self, job: _Job) -> None:
        if job.error is None and job.arrays is not None:
            arrays.publish(self._store.root, job.arrays)
        seen = self._summary
        if job.error:
            reasons = seen.failures | {job.slide.slide_id: str(job.error)}
            self._summary = replace(seen, failures=reasons)
            self.progress("failed", 1)
        else:
            n = len(job.arrays.coords) if job.arrays else 0
            empty = {job.slide.slide_id: job.why_none} if job.why_none else {}
            self._summary = replace(
                seen,
                embedded=seen.embedded + 1,
                tiles=seen.tiles + n,
                without_tiles=seen.without_tiles | empty,
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
        _record(
            self._store,
            [{**job.row, "ingested_at": now} for job in good],
            [job.slide.case_row() for job in good],
            failures,
            [(job.row["slide_key"], *ids) for job in good],
        )


def _record(
    store: FeatureStore,
    slide_rows: list[dict[str, Any]],
    case_rows: list[dict[str, Any]],
    failures: list[dict[str, Any]],
    published: list[tuple[str, str, str]],
) -> None:
    for kind, rows in (("cases", case_rows), ("slides", slide_rows), ("failures", failures)):
        if rows:
            ledger.append(store.root, kind, rows)
    if slide_rows or failures:
        catalog.fold(store.root, published=published, timeout_s=float("inf"))
