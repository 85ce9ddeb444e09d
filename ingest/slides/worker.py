"""Read a Slide in a process of its own, so that a file that kills or hangs it fails alone."""

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from featurestore import FeatureStore, bounded_process, row_order
from featurestore.bounded_process import BoundedProcess, Bounds, Died, Target
from featurestore.errors import SlideUnreadable, TrephineError
from featurestore.types import SCORES, Slide, Tiling, content_id
from ingest.slides import files as slide_files
from ingest.slides import tissue
from ingest.slides.archive import ArchiveSlide
from ingest.slides.config import Part, in_part
from ingest.slides.reader import open_slide
from ingest.slides.tiling import find_tiles

BLURRED = 0.5  # a tile with a higher blur score counts as out of focus
PENNED = 0.1  # a tile with a larger share of ink counts as marked


@dataclass(frozen=True, kw_only=True)
class Request:
    """One Slide to read, and what the store may already have of it."""

    store: FeatureStore
    slide: ArchiveSlide
    tiling: Tiling
    encoder_id: str | None  # None: no tiles are wanted, only what is told first
    fallback_mpp: float | None = None  # of a Slide of which nobody says one
    part: Part | None = None


@dataclass(frozen=True)
class Spent:
    """What a stage took of a Slide: seconds at work, without waiting for the next, and bytes."""

    seconds: float = 0.0
    bytes: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds + other.seconds, self.bytes + other.bytes)

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds - other.seconds, self.bytes - other.bytes)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a reader tells first: all but the pixels of the tiles."""

    slide: Slide
    coords: np.ndarray  # int32 (N, 2), in stored order; N = 0 where nothing is to embed
    scores: dict[str, np.ndarray]  # tissue, blur, pen: float16 (N,); blur follows with `Done`
    thumbnail: np.ndarray | None  # None: no tiles follow, only the row is new
    why_none: str
    spent: Spent = Spent()  # on opening


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Some tiles: their rows, int64 (k,), and pixels, uint8 (k, side, side, 3)."""

    rows: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Done:
    """The last word about a Slide that was read, or that failed."""

    blur: np.ndarray | None = None  # float16 (N,)
    slide: Slide | None = None  # as measured, its share of blurred tiles too
    spent: Spent = Spent()  # on reading tiles
    elsewhere: bool = False  # the Slide belongs to another shard
    stage: str = ""
    error: TrephineError | None = None


Message = Measured | Tiles | Done


def read_slide(request: Request) -> Iterator[Message]:
    """Read a Slide: once `Measured`, then `Tiles`, then `Done`."""
    stage = "open"
    try:
        for message in _read(request):
            stage = "read" if isinstance(message, Measured) else stage
            yield message
    except Exception as error:  # one bad Slide never stops the batch
        said = SlideUnreadable(f"{type(error).__name__}: {error}")
        yield _failed(request, stage, error if isinstance(error, TrephineError) else said)


def _failed(request: Request, stage: str, error: TrephineError) -> Done:
    """The last word; where no key is known yet, the name decides which shard says it."""
    is_ours = stage == "read" or in_part(content_id(request.slide.slide_id), request.part)
    return Done(stage=stage, error=error) if is_ours else Done(elsewhere=True)


def _now() -> Spent:
    """Seconds on the clock, and bytes that this process has asked of files so far."""
    try:
        said = Path("/proc/self/io").read_text().split()[1]  # rchar
    except OSError:
        said = "0"  # no Linux: bytes stay unknown
    return Spent(time.perf_counter(), int(said))


def _read(request: Request) -> Iterator[Message]:
    since, slide, tiling, store = _now(), request.slide, request.tiling, request.store
    size_bytes, mtime_ns = slide_files.file_stamp(slide.path)
    fingerprint = slide_files.fingerprint(slide.path)
    with open_slide(
        slide.path, mpp=slide.slide.mpp_given, fallback_mpp=request.fallback_mpp
    ) as reader:
        key = slide_files.slide_key(fingerprint, reader.mpp)
        if not in_part(key, request.part):
            yield Done(elsewhere=True)
            return
        found = find_tiles(reader, tiling)
        if store.has(key, tiling.tiling_id):
            stored = store.tiles(key, tiling.tiling_id)
        else:
            order = row_order(key, found.coords)
            stored = {name: getattr(found, name)[order] for name in ("coords", *SCORES)}
        wanted = request.encoder_id
        to_embed = wanted is not None and not store.has(key, tiling.tiling_id, wanted)
        row = slide.slide.measured(
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            fingerprint=fingerprint,
            slide_key=key,
            reader=reader.reader,
            width_px0=reader.size_px0[0],
            height_px0=reader.size_px0[1],
            **vars(reader.scale),
            tissue_mm2=found.tissue_mm2,
            black_share=found.black_share,
            pen_share=_share(stored["pen"] > PENNED),
        )
        yield Measured(
            slide=row,
            coords=stored["coords"],
            scores={name: stored[name] for name in SCORES},
            thumbnail=reader.thumbnail() if to_embed else None,
            why_none=found.why_none,
            spent=_now() - since,
        )
        blur, spent, since = stored["blur"], Spent(), _now()
        coords = stored["coords"] if to_embed else stored["coords"][:0]
        for rows, pixels in reader.read_tiles(coords, tiling.tile_px, tiling.tile_mpp):
            blur[rows] = tissue.blur_scores(pixels)
            spent += _now() - since
            yield Tiles(rows=rows, pixels=pixels)
            since = _now()  # it waited here until the Encoder had room
    row = replace(row, blurred_share=_share(blur > BLURRED))
    yield Done(blur=blur, slide=row, spent=spent + _now() - since)


def _share(flags: np.ndarray) -> float:
    return float(np.mean(flags)) if len(flags) else 0.0


_SERVE = functools.partial(bounded_process.serve, answer=read_slide)


class ReaderProcess(BoundedProcess):
    """A process that reads one Slide after the other, and is replaced when it dies or hangs."""

    def __init__(self, limits: Bounds | None = None, target: Target = _SERVE) -> None:
        super().__init__(limits or Bounds(), target)

    def read(self, request: Request) -> Iterator[Message]:
        """Read a Slide over there; ends with `Done`, whatever happens to the process."""
        stage = "open"
        try:
            for message in self.ask(request):
                stage = "read" if isinstance(message, Measured) else stage
                yield message
                if isinstance(message, Done):
                    return
        except Died as why:
            name = request.slide.path.name
            yield _failed(request, stage, SlideUnreadable(f"slide {name!r} {why}."))


NewReader = Callable[[], ReaderProcess]
