"""Import: find the files of a tool, read each, and publish what the store lacks."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.config import ImportConfig
from featurestore.errors import FeaturesRefused, StoreDamaged
from featurestore.exchange import bags, files
from featurestore.exchange.bags import ForeignBag, ForeignTiling
from featurestore.exchange.finding import Features, Finds, Given, People, Who, find
from featurestore.exchange.tools import TOOLS
from featurestore.ledger import nouns_of
from featurestore.types import ArrayIds, EncoderDescription, Failure, Progress, silent
from featurestore.words import counted, grouped

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

Read = Callable[[Features], ForeignBag]
Alike = tuple[Features, ForeignBag, ForeignBag, tuple[float | None, Any]]  # read, placed; its mpp
COMMIT_SLIDES = 32
PROBES = 5  # files of a folder that decide how wide an Encoder is
SCALE = "Pass --mpp, or a --manifest with a column mpp"
TO_WHAT_END = "to train on and to export to CLAM and Parquet, not to draw"
SAME_SCALE = 0.05  # of microns per pixel: slides that may stand under one Tiling


@dataclass(kw_only=True)
class ImportSummary:
    """What one import did; counts of bags, a Slide under an Encoder, unless the name says else."""

    tool: str
    encoders: dict[str, EncoderDescription] = field(default_factory=dict)  # by id
    slides: set[str] = field(default_factory=set)  # slide_ids
    imported: int = 0
    known: int = 0
    updated: int = 0  # known, with new metadata
    tiles: int = 0
    empty: int = 0  # without a tile
    unplaced: int = 0  # of whose tiles nobody says where they lie
    without_mpp: int = 0
    twice: int = 0  # tiles that stood in one file twice
    erased: int = 0  # of what was erased from the store
    copies: int = 0  # files that say the same as another
    without_features: int = 0  # of the manifest
    others: Mapping[str, int] = field(default_factory=dict)  # files left out, by whose they are
    failures: dict[str, str] = field(default_factory=dict)  # by path

    def text(self) -> str:
        """What `import` prints: counts, what is missing, reasons, the next command."""
        told = [
            (self.updated, "with new metadata"),
            (self.empty, "without a tile"),
            (len(self.failures), "failed"),
        ]
        notes = [
            (self.without_mpp, "bag", f"without mpp: their scale is unknown. {SCALE}"),
            (self.unplaced, "bag", f"without coordinates: {TO_WHAT_END}"),
            (self.twice, "tile", "twice in one file, taken once"),
            (self.erased, "bag", "of slides that were erased from the store, left out"),
            (self.copies, "file", "the same as another of their slide"),
            (self.without_features, "slide", "of the manifest without features here"),
            *((n, "file", f"left out, as those of {tool}") for tool, n in self.others.items()),
        ]
        lines = [
            f"{counted(len(self.slides), 'slide')}: {counted(self.imported, 'bag')} imported, "
            f"{counted(self.tiles, 'tile')}; {self.known:,} known"
            + "".join(f", {n:,} {what}" for n, what in told if n),
            *(f"encoder {one.name}, id {key}" for key, one in self.encoders.items()),
            *(f"note: {counted(n, noun)} {what}" for n, noun, what in notes if n),
            *grouped("failed", self.failures),
        ]
        lines += ["List what failed with: trephine sql 'from failures'"] * bool(self.failures)
        lines += ["Next: trephine label --table LABELS.csv"] * bool(self.slides)
        return "\n".join(lines)


def import_features(
    store: FeatureStore, config: ImportConfig, given: Given = (), *, progress: Progress = silent
) -> ImportSummary:
    """Take in the embeddings that another tool wrote, no slide touched.

    One bad file never stops the rest: it becomes a row in `failures`. What the store has is known.
    `given` are Slides and Cases of a manifest.

    Raises:
        FeaturesRefused: the folder has no features of this tool.
    """
    with closing(files.Apart()) as apart:
        finds = find(config.tool, config.path, apart.peek)
        if not finds.found and not finds.refused:
            raise FeaturesRefused(_nothing(config, finds))
        store.record()  # adopt what a killed import published without a row
        work = Taker(
            store, lambda one: apart.call(bags.read, one, one.path), given, config.tool, config
        )
        work.summary.others = finds.others
        for path, reason in finds.refused.items():
            work.fail(path, reason)
        groups = work.by_slide(finds.found)
        for done, ((_, _, slide_id), several) in enumerate(groups.items(), start=1):
            try:
                work.take(work.people.who(slide_id), several)
            except (FeaturesRefused, StoreDamaged) as error:
                work.fail(several[0].path, str(error), slide_id)
            if done % COMMIT_SLIDES == 0:
                work.commit()
            progress(done, len(groups), f"{len(work.summary.failures)} failed")
        work.commit()
    work.summary.without_features = len(given) - len(work.people.used)
    return work.summary


def _nothing(config: ImportConfig, finds: Finds) -> str:
    """Why there is nothing to take in: another tool's files, places of tiles alone, or no file."""
    tool = TOOLS[config.tool]
    if finds.others:
        word = max(finds.others, key=finds.others.__getitem__)
        name = " or ".join(TOOLS[one].title for one in word.split(" or "))
        command = ["trephine", "import", word.split()[0], str(config.path)]
        return (
            f"{config.path} looks like what {name} wrote, not {tool.title}. "
            f"Take it in with: {shlex.join(command)}"
        )
    if finds.places:
        return (
            f"{config.path} holds coordinates of tiles of {counted(finds.places, 'slide')}, and no "
            f"features. {tool.title} writes these to {tool.usual}. Give the folder that has both"
        )
    return (
        f"{config.path} holds no features of {tool.title}. Give the folder that it wrote; "
        "the formats are in docs/format.md"
    )


class Taker:
    """One import on its way: what it knows, and the rows that wait for their commit."""

    def __init__(
        self, store: FeatureStore, read: Read, given: Given, tool: str, config: ImportConfig | None
    ) -> None:
        self.summary = ImportSummary(tool=tool)
        self.people = People(store, given)
        self._store, self._read = store, read
        said = (config.mpp, config.name, config.cut) if config else (None, None, None)
        self._mpp, self._name, self._cut = said
        self._gone = store.erased()
        self._rows: list[Any] = []
        self._published: list[ArrayIds] = []
        self._dims: dict[str, int | None] = {}  # by folder
        self._tilings = nouns_of(ForeignTiling, store.ask("from tilings"))
        known = nouns_of(EncoderDescription, store.ask("from encoders"))
        # an Encoder stays as it stands in the store, whatever version of the tool went on with it
        self._versions: dict[tuple[Any, ...], str | None] = {
            tuple(map(one.identity.get, bags.NAMES)): one.identity.get("version") for one in known
        }
        self._failed = set(store.ask("select item from failures where stage = 'import'")["item"])

    def by_slide(self, found: Sequence[Features]) -> dict[tuple[str, str, str], list[Features]]:
        """Files by folder, way to cut, and Slide; the names that are none fail."""
        groups: dict[tuple[str, str, str], list[Features]] = {}
        for one in found:
            try:
                who = self.people.who(one.name)
            except FeaturesRefused as error:
                self.fail(one.path, str(error))
                continue
            if self._gone.has(who.names):
                self.summary.erased += 1
            else:
                groups.setdefault((one.folder, one.cut, who.slide_id), []).append(one)
        for folder in {key[0] for key in groups}:
            of_folder = [group[0] for key, group in groups.items() if key[0] == folder]
            self._dims[folder] = self._dim_of(of_folder)
        return groups

    def _dim_of(self, of_folder: list[Features]) -> int | None:
        """How wide the rows of a folder are: what most of a few files say."""
        widths: Counter[int] = Counter()
        for one in of_folder[:: max(1, len(of_folder) // PROBES)]:
            with suppress(FeaturesRefused), files.told(one.path):
                widths[self._read(one).rows.shape[1]] += 1
        del widths[0]
        return widths.most_common(1)[0][0] if widths else None

    def take(self, who: Who, several: list[Features]) -> None:
        """Read the files of one Slide, which must say the same, and publish what is new."""
        first, bag, it, mpp = self._read_alike(who, several)
        key = (first.tool, self._name or bag.encoder or first.encoder, first.folder)
        encoder = bags.description(*key, self._versions.setdefault(key, bag.version))
        tiling = self._tiling(first, bag, mpp[0])
        measured = {
            "fingerprint": it.fingerprint,
            "mpp": mpp[0],
            "mpp_source": mpp[1],
            "mpp_file": bag.mpp,
            "width_px0": bag.size_px0[0] if bag.size_px0 else None,
            "height_px0": bag.size_px0[1] if bag.size_px0 else None,
        }
        slide = who.slide(first.path, first.tool, measured)
        before = who.known.mpp if who.known else None
        it = bags.as_stored(self._store, slide, tiling, bag, it, before)
        arrays = bags.slide_arrays(self._store, slide, it, encoder, tiling)
        is_new, is_known = self.people.learn(slide), arrays is None
        told = self.summary
        told.known += is_known
        told.updated += is_known and is_new
        told.imported += not is_known
        told.tiles += 0 if is_known else len(it.rows)
        told.empty += len(it.rows) == 0
        told.twice += it.twice
        told.unplaced += it.unit == "row"
        told.without_mpp += mpp[0] is None
        self._rows += [who.case] if who.case else []
        self._rows += [slide] if is_new else []
        if arrays is not None:
            self._store.publish(arrays)
            ids = ArrayIds(slide.slide_key, tiling.tiling_id, encoder.encoder_id)
            self._published.append(ids)
        told.encoders[encoder.encoder_id] = encoder
        told.slides.add(slide.slide_id)
        mended = self._failed & {str(one.path) for one in several}
        self._rows += [Failure(item=item, mended=True) for item in sorted(mended)]

    def _read_alike(self, who: Who, several: list[Features]) -> Alike:
        kept: list[Alike] = []
        for one in several:
            try:
                with files.told(one.path):
                    bag = self._read(one)
                    mpp = who.mpp(bag.mpp, self._mpp)
                    it = bags.placed(bag, mpp[0], self._dims[one.folder])
            except FeaturesRefused as error:
                if len(several) == 1:
                    raise
                self.fail(one.path, str(error), who.slide_id)
                continue
            kept.append((one, bag, it, mpp))
        if not kept:
            raise FeaturesRefused("cannot be read, nor can the other files of its slide")
        if len({it.fingerprint for _, _, it, _ in kept}) > 1:
            names = " and ".join(str(one.path) for one, *_ in kept)
            for one, *_ in kept[1:]:
                self.fail(one.path, "is one of several of its name", who.slide_id)
            raise FeaturesRefused(
                f"is one of several of slide {who.slide_id!r}, which differ: {names}. Keep one, or "
                "give the slides names of their own"
            )
        self.summary.copies += len(kept) - 1
        return kept[0]

    def _tiling(self, found: Features, bag: ForeignBag, mpp: float | None) -> ForeignTiling:
        """How the Slide was cut: as it stands in the store for slides of nearly the same scale."""
        scale = bag.tile_mpp
        if scale is None and mpp and bag.tile_px and bag.tile_px0:
            scale = mpp * bag.tile_px0 / bag.tile_px
        made = ForeignTiling(
            tile_px=bag.tile_px,
            tile_mpp=scale,
            min_tissue=bag.min_tissue,
            filter_version=" ".join(filter(None, [found.tool, self._cut or found.cut])),
        )
        for one in self._tilings:
            is_alike = (one.filter_version, one.tile_px) == (made.filter_version, made.tile_px)
            apart = abs(one.tile_mpp - scale) / scale if one.tile_mpp and scale else 0.0
            if is_alike and apart <= SAME_SCALE:
                return one
        self._tilings.append(made)
        return made

    def fail(self, path: Path, reason: str, slide_id: str | None = None) -> None:
        """Remember that a file is not taken, and why."""
        said = reason if path.name in reason else f"{path.name} {reason}"
        self.summary.failures[str(path)] = said
        self._rows.append(Failure(item=str(path), stage="import", reason=said, slide_id=slide_id))

    def commit(self) -> None:
        """Ledger first, then the catalog: what a kill cuts off here, the next call folds in."""
        rows, self._rows = self._rows, []
        published, self._published = self._published, []
        self._store.record(rows, published=published, wait_s=float("inf"))
