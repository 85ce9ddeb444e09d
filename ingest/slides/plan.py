"""What an ingest would do and cost, without doing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featurestore import FeatureStore
from featurestore.errors import SlideWithoutMpp, TrephineError
from featurestore.types import Tiling
from featurestore.words import duration, size
from ingest.slides import files as slide_files
from ingest.slides.archive import ArchiveSlide, read_archive
from ingest.slides.config import PlanConfig
from ingest.slides.reader import open_slide
from ingest.slides.tiling import find_tiles
from ingest.slides.worklist import TO_READ, Wanted, Work, worklist

WIDTHS = {"small": 384, "base": 768, "large": 1024, "giant": 1536, "uni2": 1536}
OTHER_WIDTH = 1024  # columns of an Embedding of an Encoder that no one has met
THUMBNAIL_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an ingest would do; counts of Slides unless the name says otherwise."""

    source: str
    encoder: str
    workers: int
    total: int
    new: int
    known: int
    moved: int  # of the known: under another path
    changed: int
    lacking: int  # known, but not under this Tiling and Encoder
    missing: int  # no file
    given_up: int  # failed three times: not tried without --retry-failed
    failed_before: int  # of all the above
    missing_mpp: int  # estimated from the opened sample, as all that follow
    refused: dict[str, str]  # of the opened sample: slide_id to reason
    opened: int
    tiles: int
    tiles_per_slide: float
    store_bytes: int
    slide_bytes: int  # size of the files; not estimated
    read_bytes: int | None  # None: not measured yet
    hours: float | None  # None: not measured yet
    rates: dict[str, Any] | None  # row of `queries/ingest_rates`; None: not measured yet
    note: str  # whose Embeddings make a Slide known, where that is not exact

    def text(self) -> str:
        """What `plan` prints."""
        lines = [
            f"{self.total} slides: {self.new} new, {self.changed} changed, {self.known} known"
            + (f" ({self.moved} of them moved)" if self.moved else "")
            + (
                f", {self.lacking} known but not by {self.encoder} and these tiles"
                if self.lacking
                else ""
            )
            + f", {self.missing} missing, {self.failed_before} failed before"
            + (f", {self.given_up} of them three times" if self.given_up else "")
        ]
        lines += [self.note] if self.note else []
        is_measured = self.read_bytes is not None
        read = f", of which about {size(self.read_bytes or 0)} are read" if is_measured else ""
        lines += [
            f"no mpp:   about {self.missing_mpp} slides (of {self.opened} opened)",
            f"to read:  {size(self.slide_bytes)}{read}",
            f"to embed: about {self.tiles:,} tiles ({self.tiles_per_slide:.0f} a slide)",
            f"to write: about {size(self.store_bytes)}",
            f"time:     {self._time()}",
            *(f"would fail: {slide_id}: {why}" for slide_id, why in self.refused.items()),
            f"Nothing was changed. Next: trephine ingest {self.source}",
        ]
        return "\n".join(lines)

    def _time(self) -> str:
        if self.rates is None or self.hours is None:
            return f"unknown until the first slides are embedded by {self.encoder}"
        return (
            f"about {duration(3600 * self.hours)} with {self.workers} workers, as measured "
            f"on {self.rates['slides']} slides: {self.encoder} on {self.rates['device']} embeds "
            f"{1 / self.rates['embed_s_per_tile']:.1f} tiles/s, "
            f"a worker opens a slide in {self.rates['open_s_per_slide']:.2f} s "
            f"and reads {1 / self.rates['read_s_per_tile']:.0f} tiles/s"
        )


def plan(
    store: FeatureStore, source: Path, tiling: Tiling, config: PlanConfig | None = None
) -> Plan:
    """Say what an ingest of a slide, folder or manifest would do and cost, and change nothing.

    Raises:
        ArchiveError: there is no archive at `source`, or it cannot be understood.
        EncoderUnavailable: weights are named and cannot be loaded.
    """
    config = config or PlanConfig()
    archive = read_archive(source, mpp=config.mpp)
    return plan_archive(store, archive, tiling, config, source=str(source))


def plan_archive(
    store: FeatureStore,
    archive: Sequence[ArchiveSlide],
    tiling: Tiling,
    config: PlanConfig,
    *,
    source: str = "SLIDES",
) -> Plan:
    """Say what an ingest would do and cost, and change nothing.

    Slides are sorted as `ingest` sorts them. Tiles and missing mpp are those of a sample that is
    opened; hours and bytes are those of earlier ingests.

    Args:
        store: the store.
        archive: the Slides, as `read_archive` lists them.
        tiling: how they would be cut.
        config: whose Embeddings are wanted; how many Slides to open.
        source: what the archive is called.
    """
    encoder_ids, note = _encoder_ids(store, config)
    wanted = Wanted(tiling_id=tiling.tiling_id, encoder_ids=encoder_ids)
    works = worklist(store, archive, wanted)
    todo = [work for work in works if work.standing in TO_READ]
    counts = Counter(work.standing for work in works)
    n_tiles, refused = _open_some(todo, tiling, config.sample)
    opened = len(n_tiles) + len(refused)
    n_each = len(todo) / max(1, opened)  # Slides that one of the sample stands for
    per_slide = float(np.mean(n_tiles)) if n_tiles else 0.0
    return Plan(
        source=source,
        encoder=config.encoder,
        workers=config.workers,
        total=len(archive),
        new=counts["new"],
        known=counts["known"],
        moved=sum(work.moved for work in works if work.standing == "known"),
        changed=counts["changed"],
        lacking=counts["lacking"],
        missing=counts["missing"],
        given_up=counts["given up"],
        failed_before=sum(work.attempts > 0 for work in works),
        missing_mpp=round(
            n_each * sum(isinstance(why, SlideWithoutMpp) for why in refused.values())
        ),
        refused={
            **{work.slide.slide_id: work.why for work in works if work.standing == "refused"},
            **{slide_id: str(why) for slide_id, why in refused.items()},
        },
        opened=opened,
        slide_bytes=sum(slide_files.file_stamp(work.slide.path)[0] for work in todo),
        tiles_per_slide=per_slide,
        note=note if counts["known"] + counts["lacking"] else "",
        **_costs(store, config, n_slides=len(n_tiles) * n_each, tiles_per_slide=per_slide),
    )


def _encoder_ids(store: FeatureStore, config: PlanConfig) -> tuple[list[str], str]:
    """Whose Embeddings make a Slide known; and what is to be said where that is not exact."""
    if config.weights is not None:
        from ingest.slides import encoders  # slow to import; loading the weights is hashing them

        return [encoders.describe(config.encoder, config.weights).encoder_id], ""
    of_name = store.sql(
        "select encoder_id, weights from encoders where name = $name order by encoder_id",
        {"name": config.encoder},
    ).rows()
    hub = [encoder_id for encoder_id, weights in of_name if weights.startswith("hub:")]
    others = [weights for _, weights in of_name if not weights.startswith("hub:")]
    note = (
        f"known:    as embedded by {config.encoder} with the weights of the hub, which were not "
        "loaded"
    )
    if others:
        note += f"; the store has others of that name: add --weights {others[0]}"
    return hub, note


def _open_some(
    todo: Sequence[Work], tiling: Tiling, sample: int
) -> tuple[list[int], dict[str, TrephineError]]:
    """Open Slides at even distances: the tiles of each, or by slide_id why it cannot be tiled."""
    picks = np.unique(np.linspace(0, len(todo) - 1, min(sample, len(todo))).astype(int))
    n_tiles: list[int] = []
    refused: dict[str, TrephineError] = {}
    for slide in (todo[i].slide for i in picks):
        try:
            with open_slide(slide.path, mpp=slide.slide.mpp_given) as reader:
                n_tiles.append(len(find_tiles(reader, tiling).coords))
        except TrephineError as error:
            refused[slide.slide_id] = error
    return n_tiles, refused


def _costs(
    store: FeatureStore, config: PlanConfig, *, n_slides: float, tiles_per_slide: float
) -> dict[str, Any]:
    """Tiles, bytes and hours of so many readable Slides, by the rates of earlier ingests."""
    tiles = round(n_slides * tiles_per_slide)
    found = store.named("queries/ingest_rates", {"encoder": config.encoder})
    if not found.height:
        size_of = config.encoder.removeprefix("dinov2-").removesuffix("-reg")
        row_bytes = 2 * WIDTHS.get(size_of, OTHER_WIDTH) + 14
        return {
            "tiles": tiles,
            "store_bytes": round(tiles * row_bytes + n_slides * THUMBNAIL_BYTES),
            "read_bytes": None,
            "hours": None,
            "rates": None,
        }
    rates = found.row(0, named=True)
    around = n_slides * rates["write_bytes_per_slide"]
    opening = n_slides * rates["open_bytes_per_slide"]
    return {
        "tiles": tiles,
        "store_bytes": round(tiles * (2 * rates["dim"] + 14) + around),
        "read_bytes": round(opening + tiles * rates["read_bytes_per_tile"]),
        "hours": _seconds(rates, n_slides, tiles, config.workers) / 3600,
        "rates": rates,
    }


def _seconds(rates: Mapping[str, Any], n_slides: float, tiles: int, workers: int) -> float:
    """The stages work side by side: the slowest decides."""
    reading = n_slides * rates["open_s_per_slide"] + tiles * rates["read_s_per_tile"]
    return max(
        float(reading) / workers,
        tiles * float(rates["embed_s_per_tile"]),
        n_slides * float(rates["write_s_per_slide"]),
    )
