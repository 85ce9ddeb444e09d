"""What is to do about each Slide of an archive: one rule, for `plan` and for `ingest`."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from featurestore import FeatureStore
from featurestore.errors import TrephineError
from featurestore.types import Case, Failure, GivenSlide, MppSource, Slide, content_id, now
from ingest.slides import files as slide_files
from ingest.slides.archive import ArchiveSlide
from ingest.slides.config import IngestConfig, in_part, part_of

MOST_ATTEMPTS = 3
MOST_APART = 0.05  # share by which two statements of a scale may differ untold
LOOKERS = 8  # threads that ask the file system, where the archive may lie on a network

# known: its Embeddings are in the store; new, changed and lacking are to be read: unknown by name
# and content, of another content than before, or known but without Embeddings of this kind;
# missing and refused cannot be read; given up failed too often; elsewhere is another shard's.
Standing = Literal[
    "known", "new", "changed", "lacking", "missing", "refused", "given up", "elsewhere"
]
Wanted = Sequence[tuple[str, str]]  # tiling_id and encoder_id of Embeddings: any of them will do
TO_READ: tuple[Standing, ...] = ("new", "changed", "lacking")
TO_FAIL: tuple[Standing, ...] = ("missing", "refused")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one Slide of an archive is to the store."""

    slide: ArchiveSlide
    standing: Standing
    why: str = ""  # of what cannot be read
    attempts: int = 0  # that failed so far
    size_bytes: int = 0  # of its files
    same: Slide | None = None  # what the store has of this content, under whatever name and path
    corrected: Slide | None = None  # that as the archive now has it, where it says otherwise
    copy_of: str = ""  # slide_id of another Slide, here or in the store, with this content
    renamed: str = ""  # what is to be said of its name

    @property
    def moved(self) -> bool:
        """Whether its content is known under another path."""
        return self.same is not None and self.same.path != self.slide.slide.path


def worklist(
    store: FeatureStore, archive: Sequence[ArchiveSlide], wanted: Wanted, config: IngestConfig
) -> list[Work]:
    """Sort the Slides of an archive by what the store, and shards since, know of them.

    A Slide is told by its path, size, time and mpp, one `stat` each; where one of them differs, by
    the content of its files, which are read only if another Slide has their size.
    """
    known, gone = _Known(store, wanted, config), store.withdrawn()
    archive = [slide for slide in archive if not gone.has(slide.names)]
    taken = {slide.slide_id for slide in archive} & known.slides.keys()
    with ThreadPoolExecutor(LOOKERS) as pool:
        works = list(pool.map(known.judge, archive))
        for number, (slide, work) in enumerate(zip(archive, works, strict=True)):
            if (name := work.slide.slide_id) != slide.slide_id and name in taken:  # it has one file
                works[number] = known.judge(replace(slide, is_listed=False))
            taken.add(name)
        return known.with_copies(works, pool)


def told(works: Sequence[Work], doubts: Mapping[str, str]) -> dict[str, Any]:
    """What is to be said of Slides, by slide_id: whose content, whose name, and which scale."""
    said = {work.slide.slide_id: work for work in works}
    scales = {name: scale_doubt(work.corrected or work.same) for name, work in said.items()}
    copies = {k: f"has the same content as {w.copy_of!r}" for k, w in said.items() if w.copy_of}
    return {
        "copies": copies,
        "renamed": {name: work.renamed for name, work in said.items() if work.renamed},
        "scales": {name: doubt for name, doubt in {**scales, **doubts}.items() if doubt},
    }


def scale_doubt(slide: Slide | None) -> str:
    """That manifest and file disagree on the scale by more than 5%; empty if they do not."""
    if slide is None or slide.mpp_source != "manifest" or not (slide.mpp and slide.mpp_file):
        return ""
    if abs(slide.mpp - slide.mpp_file) <= MOST_APART * slide.mpp_file:
        return ""
    return (
        f"the manifest says {slide.mpp:.4g} microns per pixel, which is taken, and its file "
        f"{slide.mpp_file:.4g}"
    )


class _Known:
    """What the catalog, and the ledger's news, have of Slides, and what is wanted of them."""

    def __init__(self, store: FeatureStore, wanted: Wanted, config: IngestConfig) -> None:
        self._store, self._wanted, self._config = store, wanted, config
        self._part = part_of(config.shard)
        self.slides = {slide.slide_id: slide for slide in store.known(Slide)}
        self._cases = {case.case_id: case for case in store.known(Case)}
        self._by_size: dict[int, list[Slide]] = {}
        for slide in self.slides.values():
            self._by_size.setdefault(slide.size_bytes, []).append(slide)
        # that failed, by path
        self._attempts = Counter(dict(store.ask("select item, attempts from failures").iter_rows()))
        for failure in store.pending(Failure):
            n = self._attempts[failure.item]
            self._attempts[failure.item] = 0 if failure.mended else n + 1

    def judge(self, slide: ArchiveSlide) -> Work:
        """Say what a Slide is to the store, but for copies."""
        given, before = slide, self.slides.get(slide.slide_id)
        if before and slide.is_listed:  # a folder knows less than the store
            slide = self._as_known(slide, before)
        attempts = self._attempts[slide.slide.path]
        standing: Standing = "changed" if before else "new"
        same, size_bytes, mtime_ns, why = None, 0, 0, slide.refused
        try:
            if not why and slide.path.exists():
                size_bytes, mtime_ns = slide_files.file_stamp(slide.path)
                same = self._same_content(slide, size_bytes, mtime_ns)
            elif not why:
                standing = "missing"
                why = f"slide {slide.path.name!r} is not there: {slide.path} does not exist."
        except (OSError, TrephineError) as error:
            why = str(error)
        if why and standing != "missing":
            standing = "refused"
        renamed = ""
        if same and slide.is_listed and not before and _has_left(same, slide):
            slide = self._as_known(slide, same)
            renamed = _left(given, same)
        elif before and not why:
            renamed = _changed(slide, before, same)
        if same:
            is_there = (self._store.has(same.slide_key, *ids) for ids in self._wanted)
            standing = "known" if any(is_there) else "lacking"
        if standing != "known" and attempts >= MOST_ATTEMPTS and not self._config.retry_failed:
            standing = "given up"
        # What is new or changed has no key yet: its reader sorts it, and its name where that fails.
        key = same.slide_key if same else content_id(slide.slide_id)
        if standing not in ("new", "changed") and not in_part(key, self._part):
            standing = "elsewhere"
        corrected = self._corrected(slide, same, mtime_ns) if same and standing == "known" else None
        return Work(
            slide=slide,
            standing=standing,
            why=why,
            attempts=attempts,
            size_bytes=size_bytes,
            same=same,
            renamed=renamed,
            corrected=corrected,
        )

    def _as_known(self, slide: ArchiveSlide, same: Slide) -> ArchiveSlide:
        """A listed Slide with all that an earlier manifest said of it."""
        said = {one.name: getattr(same, one.name) for one in fields(GivenSlide)}
        given = GivenSlide(**said | {"path": slide.slide.path})
        return replace(slide, slide=given, case=self._cases.get(same.case_id, slide.case))

    def _same_content(self, slide: ArchiveSlide, size_bytes: int, mtime_ns: int) -> Slide | None:
        """The known Slide with these bytes and this mpp; raises as `files.fingerprint`."""
        before = self.slides.get(slide.slide_id)
        alike = [
            one
            for one in self._by_size.get(size_bytes, [])
            if self._scale(slide, one)[0] == one.mpp
            or (slide.is_listed and not before and _has_left(one, slide))
        ]
        for one in alike:
            if one is before and (one.path, one.mtime_ns) == (slide.slide.path, mtime_ns):
                return one
        alike.sort(key=lambda one: one is not before)  # a copy under another name is no move
        mark = slide_files.fingerprint(slide.path) if alike else ""
        return next((one for one in alike if one.fingerprint == mark), None)

    def _scale(self, slide: ArchiveSlide, same: Slide) -> tuple[float | None, MppSource | None]:
        """The mpp that a Slide of known content has now, and who decides; None: nobody knows."""
        if slide.slide.mpp_given is not None:
            return slide.slide.mpp_given, "manifest"
        if same.mpp_source is None:  # of an earlier version, which called the option's given, too
            return (same.mpp if same.mpp_given is None else None), None
        if same.mpp_file is not None:
            return same.mpp_file, "file"
        if same.mpp_source == "option" and self._config.mpp is None:
            return same.mpp, "option"
        return self._config.mpp, "option"

    def _corrected(self, slide: ArchiveSlide, same: Slide, mtime_ns: int) -> Slide | None:
        source = self._scale(slide, same)[1] if same.mpp_source else None
        row = replace(same, **vars(slide.slide), mtime_ns=mtime_ns, mpp_source=source)
        is_right = row == self.slides.get(slide.slide_id)
        if is_right and slide.case == self._cases.get(slide.case.case_id):
            return None
        return replace(row, ingested_at=now())

    def with_copies(self, works: Sequence[Work], pool: ThreadPoolExecutor) -> list[Work]:
        """Say which Slides have the content of another, in the archive or in the store."""
        sizes = Counter(work.size_bytes for work in works)
        sizes.update([*self._by_size])  # a copy may have another scale there
        asked = [w for w in works if not w.same and w.size_bytes and sizes[w.size_bytes] > 1]
        marks = {id(w): mark for w, mark in zip(asked, pool.map(_mark, asked), strict=True) if mark}
        marks |= {id(work): work.same.fingerprint for work in works if work.same}
        left = (w for w in works if w.standing == "changed" or (w.same and w.renamed))
        gone = {work.slide.slide_id for work in left}
        first = {
            slide.fingerprint: slide.slide_id
            for slide in reversed(self.slides.values())
            if slide.fingerprint and slide.slide_id not in gone
        }
        out = []
        for work in works:
            name = work.slide.slide_id
            other = first.setdefault(marks[id(work)], name) if id(work) in marks else name
            out.append(work if other == name else replace(work, copy_of=other))
        return out


def _left(given: ArchiveSlide, same: Slide) -> str:
    if same.path == given.slide.path:
        return ""
    return (
        f"was known as {same.path}, which is gone: the file is named {given.slide_id!r} now, and "
        f"stays slide {same.slide_id!r}, as only a manifest gives new names"
    )


def _changed(slide: ArchiveSlide, before: Slide, same: Slide | None) -> str:
    """What is said of a known Slide whose pixels are others now: a slip in a manifest does that."""
    if same:
        other = f"shows what slide {same.slide_id!r} showed, no longer what it did"
        return other if same.fingerprint != before.fingerprint else ""
    where = "there" if before.path == slide.slide.path else f"at {before.path}"
    said = f"has other content or another scale than the store knew {where}"
    if before.case_id != slide.case.case_id:
        said += f", and of case {slide.case.case_id!r}, no longer {before.case_id!r}"
    return said


def _has_left(same: Slide, slide: ArchiveSlide) -> bool:
    """Whether a known Slide is no longer where it was, unless that is this one's place."""
    return same.path == slide.slide.path or not os.path.lexists(same.path)


def _mark(work: Work) -> str:
    try:
        return slide_files.fingerprint(work.slide.path)
    except (OSError, TrephineError):
        return ""  # its reader will say why
