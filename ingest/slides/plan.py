"""What an ingest would do and cost, without doing it."""

import contextlib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from featurestore import FeatureStore
from featurestore.errors import SlideWithoutMpp, TrephineError
from featurestore.fields import arguments_of
from featurestore.types import Tiling
from featurestore.words import counted, duration, grouped, size
from ingest.slides.archive import Archive
from ingest.slides.config import HowConfig, PlanConfig, part_of
from ingest.slides.worker import Done, Measured, NewReader, ReaderProcess, Request
from ingest.slides.worklist import TO_READ, Work, scale_doubt, told, worklist

WIDTHS = {"small": 384, "base": 768, "large": 1024, "giant": 1536, "uni2": 1536}
OTHER_WIDTH = 1024  # columns of an Embedding of an Encoder that no one has met
THUMBNAIL_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an ingest would do; counts of Slides unless the name says otherwise."""

    source: str  # and the options that an ingest of it would take
    encoder: str
    workers: int
    total: int
    new: int
    known: int
    moved: int  # of the known: under another path
    changed: int
    lacking: int  # known, but not under this Tiling and Encoder
    missing: dict[str, str]  # no file: slide_id to reason
    unreadable: int  # no slides by what lies there, without opening it
    elsewhere: int  # of other shards
    given_up: int  # failed three times: not tried without --retry-failed
    failed_before: int  # of all the above
    missing_mpp: int  # estimated from the opened sample, as all that follow
    refused: dict[str, str]  # unopened, or of the opened sample: slide_id to reason
    opened: int
    tiles: int | None = None  # None: no Slide was opened, as also of all that hang on tiles
    tiles_per_slide: float
    store_bytes: int | None = None
    slide_bytes: int  # size of the files; not estimated
    read_bytes: int | None = None  # None: not measured yet
    hours: float | None = None  # None: not measured yet
    rates: dict[str, Any] | None = None  # row of `queries/ingest_rates`; None: not measured yet
    encoder_s_per_tile: float | None = None  # timed now, where there are no rates that hold
    note: str  # whose Embeddings make a Slide known, where that is not exact
    copies: dict[str, str]  # slide_id to whose content it has
    renamed: dict[str, str]  # slide_id to what is said of its name
    scales: dict[str, str]  # slide_id to how manifest and file disagree; of the opened sample
    notes: tuple[str, ...]  # of the manifest

    def text(self) -> str:
        """What `plan` prints."""
        counts = {  # those that are always told, and others where there are some
            "new": self.new,
            "changed": self.changed,
            "known": self.known,
            f"known but not by {self.encoder} and these tiles": self.lacking,
            "missing": len(self.missing),
            "cannot be read": self.unreadable,
            "given up after three tries": self.given_up,
            "of other shards": self.elsewhere,
        }
        always = ("new", "changed", "known", "missing")
        said = {what: f"{n} {what}" for what, n in counts.items() if n or what in always}
        said["known"] += f" ({self.moved} of them moved)" if self.moved else ""
        todo = self.new + self.changed + self.lacking
        again = " --retry-failed" if self.given_up and not todo else ""
        before = f"; {self.failed_before} of all failed before" if self.failed_before else ""
        read = ""
        if self.read_bytes is not None:  # a rate of other slides may ask for more than there is
            read = f", of which about {size(min(self.read_bytes, self.slide_bytes))} are read"
        lines = [
            f"{counted(self.total, 'slide')}: {', '.join(said.values())}{before}",
            *([self.note] if self.note else []),
            f"no mpp:   about {self.missing_mpp} slides (of {self.opened} opened)",
            f"to read:  {size(self.slide_bytes)}{read}",
        ]
        if self.tiles is None or self.store_bytes is None:
            lines.append("to embed: unknown, as no slide was opened; add --open N")
        else:
            lines += [
                f"to embed: about {self.tiles:,} tiles ({self.tiles_per_slide:.0f} a slide)",
                f"to write: about {size(self.store_bytes)}",
                f"time:     {self._time()}",
            ]
        lines += [f"note: {note}" for note in self.notes]
        told = {"missing": self.missing, "would fail": self.refused, "copy": self.copies}
        for what, reasons in (told | {"renamed": self.renamed, "scale": self.scales}).items():
            lines += grouped(what, reasons)
        lines.append(f"Nothing was changed. Next: trephine ingest {self.source}{again}")
        return "\n".join(lines)

    def _time(self) -> str:
        if not self.tiles:
            return "next to none, as there is no tile to embed"
        if self.hours is None:
            return f"unknown until the first slides are embedded by {self.encoder}"
        if self.rates is None:
            return (
                f"about {duration(3600 * self.hours)} for the encoder, timed now: {self.encoder} "
                f"embeds {1 / (self.encoder_s_per_tile or 1):.1f} tiles/s here; reading is not "
                "measured yet"
            )
        return (
            f"about {duration(3600 * self.hours)} with {self.workers} workers, as measured "
            f"on {counted(self.rates['slides'], 'slide')}: {self.encoder} ({self.rates['device']}) "
            f"embeds {1 / self.rates['embed_s_per_tile']:.1f} tiles/s, "
            f"a worker opens a slide in {self.rates['open_s_per_slide']:.2f} s "
            f"and reads {1 / self.rates['read_s_per_tile']:.0f} tiles/s"
        )


def plan_archive(
    store: FeatureStore,
    archive: Archive,
    tiling: Tiling,
    config: PlanConfig,
    *,
    source: str = "SLIDES",
    new_reader: NewReader = ReaderProcess,
) -> Plan:
    """Say what an ingest would do and cost, and change nothing.

    Slides are sorted as `ingest` sorts them. Tiles and missing mpp are those of a sample that is
    opened, in a process of its own; hours and bytes are those of earlier ingests.

    Raises:
        EncoderUnavailable: as `ingest` does.
    """
    encoder_ids, note = _encoder_ids(store, config)
    works = worklist(store, archive.slides, [(tiling.tiling_id, e) for e in encoder_ids], config)
    todo = [work for work in works if work.standing in TO_READ]
    n_by: Counter[str] = Counter(work.standing for work in works)
    same_names: Any = {k: n_by[k] for k in ("new", "known", "changed", "lacking", "elsewhere")}
    seen = _open_some(store, todo, tiling, config, new_reader)
    n_each = len(todo) / max(1, seen.opened)  # Slides that one of the sample stands for
    n_slides = len(seen.n_tiles) * n_each if seen.opened or not todo else None
    n_bare = sum(isinstance(why, SlideWithoutMpp) for why in seen.refused.values())
    per_slide = float(np.mean(seen.n_tiles)) if seen.n_tiles else 0.0
    n_bytes = sum(work.size_bytes for work in todo) * (1 - seen.elsewhere / max(1, seen.opened))
    return Plan(
        source=_asked(source, tiling, config),
        encoder=config.encoder,
        workers=config.workers,
        total=len(works),
        **same_names,
        moved=sum(work.moved for work in works if work.standing == "known"),
        missing={w.slide.slide_id: w.why for w in works if w.standing == "missing"},
        unreadable=n_by["refused"],
        given_up=n_by["given up"],
        failed_before=sum(work.attempts > 0 for work in works),
        missing_mpp=round(n_each * n_bare),
        refused={w.slide.slide_id: w.why for w in works if w.standing == "refused"}
        | {name: str(why) for name, why in seen.refused.items()},
        opened=seen.opened,
        slide_bytes=round(n_bytes),
        tiles_per_slide=per_slide,
        note=note if n_by["known"] + n_by["lacking"] else "",
        notes=(*archive.notes, *_caveats(config, seen)),
        **told(works, seen.doubts),
        **_costs(store, config, n_slides, per_slide),
    )


def _asked(source: str, tiling: Tiling, config: PlanConfig) -> str:
    """The arguments of the ingest that is planned."""
    ingest = replace(config, sample=PlanConfig.sample, measure_s=PlanConfig.measure_s)
    return shlex.join([source, *arguments_of(ingest), *arguments_of(tiling)])


def _encoder_ids(store: FeatureStore, config: PlanConfig) -> tuple[list[str], str]:
    """Whose Embeddings make a Slide known; and what is to be said where that is not exact."""
    if config.weights is not None:
        from ingest.slides import encoders  # slow to import; loading the weights is hashing them

        return [encoders.build(config.encoder, config.weights)[0].encoder_id], ""
    of_name = store.ask(
        "select encoder_id, weights from encoders where name = $name order by encoder_id",
        {"name": config.encoder},
    ).rows()
    if not of_name and config.encoder != PlanConfig.encoder:
        from ingest.slides import encoders

        encoders.architecture_of(config.encoder)
    hub = [encoder_id for encoder_id, weights in of_name if weights.startswith("hub:")]
    others = [weights for _, weights in of_name if not weights.startswith("hub:")]
    note = (
        f"known:    as embedded by {config.encoder}, with weights of the hub that were not loaded"
    )
    if others:
        note += f"; the store has others of that name: add --weights {others[0]}"
    return hub, note


@dataclass(kw_only=True)
class _Sample:
    """What the opened Slides show."""

    n_tiles: list[int] = field(default_factory=list)  # of each that can be tiled
    refused: dict[str, TrephineError] = field(default_factory=dict)  # slide_id to why it cannot
    doubts: dict[str, str] = field(default_factory=dict)  # slide_id to what is said of its scale
    elsewhere: int = 0  # of other shards

    @property
    def opened(self) -> int:
        return len(self.n_tiles) + len(self.refused) + self.elsewhere


def _open_some(
    store: FeatureStore, todo: Sequence[Work], tiling: Tiling, config: PlanConfig, new: NewReader
) -> _Sample:
    picks = np.unique(np.linspace(0, len(todo) - 1, min(config.sample, len(todo))).astype(int))
    seen = _Sample()
    about: dict[str, Any] = {"store": store, "tiling": tiling, "encoder_id": None}
    about |= {"fallback_mpp": config.mpp, "part": part_of(config.shard)}
    with contextlib.closing(new()) as reader:
        for slide in (todo[i].slide for i in picks):
            for message in reader.read(Request(slide=slide, **about)):
                if isinstance(message, Measured):
                    seen.n_tiles.append(len(message.coords))
                    seen.doubts[slide.slide_id] = scale_doubt(message.slide)
                elif isinstance(message, Done):
                    seen.elsewhere += message.elsewhere
                    seen.refused |= {slide.slide_id: message.error} if message.error else {}
    return seen


def _caveats(config: PlanConfig, seen: _Sample) -> Iterator[str]:
    if seen.elsewhere:  # whose a new Slide is shows when it is opened
        yield (
            f"whose a new slide is shows when it is opened: {seen.elsewhere} of {seen.opened} "
            "opened are of other shards"
        )
    if config.engine == "ray":
        yield "the time is that of one machine like this, not of the cluster"


def _costs(
    store: FeatureStore, config: PlanConfig, n_slides: float | None, tiles_per_slide: float
) -> dict[str, Any]:
    """Tiles, bytes and hours of so many readable Slides, by the rates of earlier ingests."""
    if n_slides is None:
        return {}
    tiles = round(n_slides * tiles_per_slide)
    found = store.named("queries/ingest_rates", {"encoder": config.encoder})
    each_s = hours = None
    is_other = any(getattr(config, one.name) != one.default for one in fields(HowConfig))
    if tiles and config.measure_s and (is_other or not found.height):  # is timed anew
        from ingest.slides import encoders, golden  # slow to import

        # which weights an Encoder has does not change its speed
        encoder = encoders.load(config.encoder, config.weights or "random", config)
        each_s = encoders.seconds_per_tile(encoder, golden.golden_tile(), config.measure_s)
    if found.height:
        rates = found.row(0, named=True)
        if each_s:
            rates |= {"embed_s_per_tile": each_s, "device": f"{encoder.how}, timed now"}
        opening, around = (n_slides * rates[f"{k}_bytes_per_slide"] for k in ("open", "write"))
        read_bytes = round(opening + tiles * rates["read_bytes_per_tile"])
        reading = n_slides * rates["open_s_per_slide"] + tiles * rates["read_s_per_tile"]
        embedding, writing = tiles * rates["embed_s_per_tile"], rates["write_s_per_slide"]
        slowest = max(reading / config.workers, embedding, n_slides * writing)  # side by side
        dim, hours = rates["dim"], float(slowest) / 3600
    else:
        rates, read_bytes, around = None, None, n_slides * THUMBNAIL_BYTES
        size_of = config.encoder.removeprefix("dinov2-").removesuffix("-reg")
        dim = WIDTHS.get(size_of, OTHER_WIDTH)
        hours = None if each_s is None else tiles * each_s / 3600
    return {
        "tiles": tiles,
        "store_bytes": round(tiles * (2 * dim + 14) + around),
        "read_bytes": read_bytes,
        "hours": hours,
        "rates": rates,
        "encoder_s_per_tile": each_s,
    }
