"""The ingest pipeline: readers, one queue of tiles across Slides, the Encoder, the writer."""

import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from featurestore import FeatureStore, SlideArrays, starting
from featurestore.errors import SlideUnreadable
from featurestore.fields import to_json
from featurestore.types import Progress, Tiling, silent
from featurestore.words import Told, counted
from ingest.slides.archive import Archive, read_archive
from ingest.slides.config import IngestConfig, part_of
from ingest.slides.encoders import Encoder, load
from ingest.slides.golden import check_golden_tile
from ingest.slides.preview import draw_previews
from ingest.slides.worker import Measured, NewReader, ReaderProcess, Request, Spent, Tiles
from ingest.slides.worklist import TO_FAIL, TO_READ, Work, told, worklist
from ingest.slides.writer import IngestSummary, Order, SlideJob, Tally, Writer, put_while

Batch = tuple[SlideJob, np.ndarray, np.ndarray | None]  # rows and pixels; None: the Slide's end


def ingest(
    store: FeatureStore,
    source: Path,
    tiling: Tiling,
    config: IngestConfig,
    *,
    progress: Progress = silent,
) -> IngestSummary:
    """Tile and embed every Slide of a slide, folder or manifest that the store lacks.

    Raises:
        ArchiveError: there is no archive at `source`, or it cannot be understood.
        EncoderUnavailable: the Encoder cannot be loaded, or computes otherwise than before.
        StoreUnwritable: the disk is full or read-only.
    """
    archive = read_archive(source, config)
    encoder = load(config.encoder, config.weights, config)
    summary = ingest_archive(store, archive, encoder, tiling, config, progress=progress)
    if config.preview is None or config.shard is not None:  # the catalog lacks a shard's Slides yet
        return summary
    draw_previews(store, {one.slide.path for one in archive.slides}, tiling, config.preview)
    return replace(summary, pictures=str(config.preview))


def ingest_archive(
    store: FeatureStore,
    archive: Archive,
    encoder: Encoder,
    tiling: Tiling,
    config: IngestConfig,
    *,
    progress: Progress = silent,
    new_reader: NewReader = ReaderProcess,
) -> IngestSummary:
    """Tile and embed every Slide that the store lacks; the rest costs one `stat` each.

    One bad Slide never stops the batch: it becomes a row in `failures`. A shard writes arrays and
    ledger, not the catalog.
    """
    started = time.monotonic()
    part = part_of(config.shard)
    order = Order(store=store, encoder=encoder, tiling=tiling, part=part, mpp=config.mpp)
    if part is None:
        store.record()  # adopt what a killed ingest published without a row
    check_golden_tile(store, encoder)
    wanted = [(tiling.tiling_id, encoder.encoder_id)]
    works = worklist(store, archive.slides, wanted, config)
    summary = _work_off(order, works, config, Tally(len(works), progress), new_reader)
    if part is None:
        store.compact()
    n_by = Counter(work.standing for work in works)
    n_out = len(archive.slides) - len(works)
    out = f"slides that were retired, or erased from the store, left out: {n_out:,}"
    return replace(
        summary,
        shard=config.shard,
        notes=(*archive.notes, out) if n_out else archive.notes,
        **told(works, summary.scales),
        slides=len(works),
        known=n_by["known"],
        given_up=n_by["given up"],
        elsewhere=summary.elsewhere + n_by["elsewhere"],
        seconds=time.monotonic() - started,
    )


def _work_off(
    order: Order, works: Sequence[Work], config: IngestConfig, tally: Tally, new_reader: NewReader
) -> IngestSummary:
    """Correct what is known, fail what cannot be read, take in the rest here or on a cluster."""
    todo = [work for work in works if work.standing in TO_READ]
    bad = [work for work in works if work.standing in TO_FAIL]
    corrected = [work for work in works if work.corrected]
    tally.add(slides=len(works) - len(todo) - len(bad))
    order.record([row for work in corrected for row in (work.slide.case, work.corrected)])
    writer = Writer(order, tally)
    for work in bad:
        error = SlideUnreadable(work.why)
        writer.put(SlideJob(archived=work.slide, stage="archive", error=error))
    done = replace(writer.finish(), updated=len(corrected))
    if config.engine == "ray" and todo:
        from ingest.slides.engines import take_in_on_ray

        return done + take_in_on_ray(order, todo, config, tally)
    return done + take_in(order, todo, config.workers, tally, new_reader)


def take_in(
    order: Order, todo: Sequence[Work], workers: int, tally: Tally, new: NewReader = ReaderProcess
) -> IngestSummary:
    """Read, embed and write Slides: the pipeline, on this machine."""
    writer = Writer(order, tally)
    try:
        with _reading(order, todo, workers, new) as items:
            _embed(items, order.encoder, writer, tally)
    finally:
        summary = writer.finish()  # what is finished is kept, also where the rest was interrupted
    return summary


def adopt(store: FeatureStore) -> Told:
    """Fold what shards wrote into the catalog; tell how many rows each table gained."""
    tables = ("slides", "embeddings", "failures")
    text = f"select {', '.join(f'(select count(*) from {t}) as {t}' for t in tables)}"
    before = store.ask(text).row(0, named=True)
    store.record(wait_s=float("inf"))
    store.compact()
    after = store.ask(text).row(0, named=True)
    more = {table: after[table] - before[table] for table in tables}
    said = (
        f"adopted {counted(more['slides'], 'slide')}, {more['embeddings']} arrays of embeddings, "
        f"{more['failures']} failures. Next: trephine label REPORTS"
    )
    return Told(said, more, gave_up=more["failures"] > 0)


@contextmanager
def _reading(
    order: Order, todo: Sequence[Work], workers: int, new_reader: NewReader
) -> Iterator[Iterator[Batch]]:
    """Read Slides, one process a worker; gives their tiles and, last, their ends."""
    waiting = iter(todo)  # that all threads share
    read: queue.Queue[Batch] = queue.Queue(maxsize=8 * workers)
    stop = threading.Event()
    readers: list[ReaderProcess] = []

    def read_some() -> None:
        # what stops the parent is for it alone: the processes that this thread starts do not see it
        signal.pthread_sigmask(signal.SIG_BLOCK, starting.STOPPING)
        with closing(new_reader()) as reader:
            readers.append(reader)
            for work in waiting:
                for item in _read(reader, work, order):
                    if not put_while(read, item, lambda: not stop.is_set()):
                        return

    threads = [threading.Thread(target=read_some) for _ in range(min(workers, len(todo)))]
    try:
        for thread in threads:
            thread.start()
        yield _items(read, len(todo))
    finally:
        stop.set()
        for thread in filter(threading.Thread.is_alive, threads):
            while thread.is_alive():  # it may be about to start another process
                for reader in readers:
                    reader.kill()
                thread.join(0.05)


def _items(read: queue.Queue[Batch], left: int) -> Iterator[Batch]:
    """What was read, until that many Slides have ended."""
    while left:
        try:  # a wait without end does not hear a Ctrl-C that another thread was given
            item = read.get(timeout=0.2)
        except queue.Empty:
            continue
        left -= item[2] is None
        yield item


def _read(reader: ReaderProcess, work: Work, order: Order) -> Iterator[Batch]:
    job = SlideJob(archived=work.slide, attempts=work.attempts)
    request = Request(
        store=order.store,
        slide=work.slide,
        tiling=order.tiling,
        encoder_id=order.encoder.encoder_id,
        fallback_mpp=order.mpp,
        part=order.part,
    )
    for message in reader.read(request):
        if isinstance(message, Tiles):
            yield job, message.rows, message.pixels
        elif isinstance(message, Measured):
            _begin(job, message, order)
        else:
            job.stage, job.spent["read"] = message.stage, message.spent
            job.elsewhere, job.error = message.elsewhere, message.error
            job.slide = message.slide or job.slide
            if job.arrays is not None and message.blur is not None:
                job.arrays.scores["blur"][:] = message.blur
    yield job, np.empty(0, np.int64), None


def _begin(job: SlideJob, measured: Measured, order: Order) -> None:
    """Take down what a reader says of a Slide before its tiles."""
    job.why_none, job.spent["open"] = measured.why_none, measured.spent
    job.slide = slide = measured.slide
    if measured.thumbnail is None:
        return
    encoder = order.encoder
    job.left = job.tiles = len(measured.coords)
    job.arrays = SlideArrays(
        slide_key=slide.slide_key,
        attributes=slide.of_group(),
        thumbnail=measured.thumbnail,
        tiling=order.tiling,
        coords=measured.coords,
        scores=measured.scores,
        encoder_id=encoder.encoder_id,
        embeddings=np.empty((len(measured.coords), encoder.dim), np.float16),
        provenance={
            "encoder": to_json(encoder.description),
            **{name: getattr(encoder, name) for name in ("precision", "device", "runtime")},
        },
    )


def _embed(items: Iterable[Batch], encoder: Encoder, writer: Writer, tally: Tally) -> None:
    """Fill batches across Slides, so that the Encoder sees full ones whatever a Slide holds."""
    filling: list[tuple[SlideJob, np.ndarray, np.ndarray]] = []  # rows and pixels of one batch
    waiting: list[SlideJob] = []

    def hand_over() -> None:
        for job in [job for job in waiting if job.error or job.left == 0]:
            waiting.remove(job)
            writer.put(job)

    def flush() -> None:
        began, start = time.perf_counter(), 0
        pixels = np.concatenate([tiles for _, _, tiles in filling])
        vectors = encoder.embed(pixels)
        per_tile = (time.perf_counter() - began) / len(pixels)
        for job, rows, _ in filling:
            if job.arrays is not None:
                job.arrays.embeddings[rows] = vectors[start : start + len(rows)]
            job.spent["embed"] += Spent(per_tile * len(rows), len(rows) * pixels[0].nbytes)
            job.left -= len(rows)
            start += len(rows)
        tally.add(tiles=len(pixels))
        filling.clear()

    for job, rows, pixels in items:
        if pixels is None:
            waiting.append(job)
            if job.error and filling:
                flush()  # while its arrays are there to take what it read
            hand_over()
        while pixels is not None and len(rows):
            room = encoder.batch_tiles - sum(len(some) for _, some, _ in filling)
            filling.append((job, rows[:room], pixels[:room]))
            if len(rows) >= room:
                flush()
                hand_over()
            rows, pixels = rows[room:], pixels[room:]
    if filling:
        flush()
    hand_over()
