"""What is to do about each Slide of an archive: one rule, for `plan` and for `ingest`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

from featurestore import FeatureStore
from featurestore.errors import TrephineError
from featurestore.types import Case, Failure, Slide, content_id, now
from ingest.slides import files as slide_files
from ingest.slides.archive import ArchiveSlide
from ingest.slides.config import Part, in_part

MOST_ATTEMPTS = 3
LOOKERS = 8  # threads that ask the file system, where the archive may lie on a network

# known: its Embeddings are in the store; new, changed and lacking are to be read: unknown by name
# and content, of another content than before, or known but without Embeddings of this kind;
# missing and refused cannot be read; given up failed too often; elsewhere is another shard's.
Standing = Literal[
    "known", "new", "changed", "lacking", "missing", "refused", "given up", "elsewhere"
]
TO_READ: tuple[Standing, ...] = ("new", "changed", "lacking")
TO_FAIL: tuple[Standing, ...] = ("missing", "refused")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one Slide of an archive is to the store."""

    slide: ArchiveSlide
    standing: Standing
    why: str = ""  # of what cannot be read
    attempts: int = 0  # that failed so far
    same: Slide | None = None  # what the store has of this content, under whatever name and path
    corrected: Slide | None = None  # that as the archive now has it, where it says otherwise

    @property
    def moved(self) -> bool:
        """Whether its content is known under another path."""
        return self.same is not None and self.same.path != self.slide.slide.path


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Whose Embeddings are wanted, and which Slides are not to be looked at."""

    tiling_id: str
    encoder_ids: Collection[str]  # any of them will do
    retry_failed: bool = False  # try also what failed three times
    part: Part | None = None


def worklist(store: FeatureStore, archive: Sequence[ArchiveSlide], wanted: Wanted) -> list[Work]:
    """Sort the Slides of an archive by what the store, and shards since, know of them.

    A Slide is told by its path, size, time and given mpp, one `stat` each; where one of them
    differs, by the content of the file, which is read only if a known Slide has its size.

    Args:
        store: the store.
        archive: the Slides, as `read_archive` lists them.
        wanted: what makes a Slide known.
    """
    known = _Known.of(store)
    with ThreadPoolExecutor(LOOKERS) as pool:
        return list(pool.map(lambda slide: _judge(store, slide, known, wanted), archive))


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the catalog, and the ledger's news, have of Slides."""

    slides: Mapping[str, Slide]  # by slide_id
    cases: Mapping[str, Case]  # by case_id
    attempts: Mapping[str, int]  # that failed, by path
    by_size: dict[int, list[Slide]] = field(default_factory=dict)

    @classmethod
    def of(cls, store: FeatureStore) -> _Known:
        attempts = dict(store.sql("select item, attempts from failures").iter_rows())
        for failure in store.pending(Failure):
            before = attempts.get(failure.item, 0)
            attempts[failure.item] = 0 if failure.mended else before + 1
        made = cls(
            slides={slide.slide_id: slide for slide in store.known(Slide)},
            cases={case.case_id: case for case in store.known(Case)},
            attempts=attempts,
        )
        for slide in made.slides.values():
            made.by_size.setdefault(slide.size_bytes, []).append(slide)
        return made


def _judge(store: FeatureStore, slide: ArchiveSlide, known: _Known, wanted: Wanted) -> Work:
    before = known.slides.get(slide.slide_id)
    attempts = known.attempts.get(slide.slide.path, 0)
    standing: Standing = "changed" if before else "new"
    same, mtime_ns, why = None, 0, slide.refused
    try:
        if not why and slide.path.exists():
            same, mtime_ns = _same_content(slide, before, known)
        elif not why:
            standing = "missing"
            why = f"slide {slide.path.name!r} is not there: {slide.path} does not exist."
    except (OSError, TrephineError) as error:
        why = str(error)
    if why and standing != "missing":
        standing = "refused"
    if same:
        is_there = any(
            store.has(same.slide_key, wanted.tiling_id, encoder_id)
            for encoder_id in wanted.encoder_ids
        )
        standing = "known" if is_there else "lacking"
    if standing != "known" and attempts >= MOST_ATTEMPTS and not wanted.retry_failed:
        standing = "given up"
    # What is new or changed has no key yet: its reader sorts it, and its name where that fails.
    key = same.slide_key if same else content_id(slide.slide_id)
    if standing not in ("new", "changed") and not in_part(key, wanted.part):
        standing = "elsewhere"
    corrected = _corrected(slide, same, mtime_ns, known) if same and standing == "known" else None
    return Work(
        slide=slide,
        standing=standing,
        why=why,
        attempts=attempts,
        same=same,
        corrected=corrected,
    )


def _same_content(
    slide: ArchiveSlide, before: Slide | None, known: _Known
) -> tuple[Slide | None, int]:
    """The known Slide with these bytes and this mpp, and the time of the files.

    Raises:
        SlideUnreadable: the files of the Slide cannot be listed or read.
    """
    size_bytes, mtime_ns = slide_files.file_stamp(slide.path)
    given = slide.slide
    if before and (given.path, size_bytes, mtime_ns, given.mpp_given) == (
        before.path,
        before.size_bytes,
        before.mtime_ns,
        before.mpp_given,
    ):
        return before, mtime_ns
    alike = [
        one
        for one in known.by_size.get(size_bytes, [])
        if given.mpp_given in (one.mpp_given, one.mpp)
    ]
    alike.sort(key=lambda one: one is not before)  # a copy under another name is no move
    mark = slide_files.fingerprint(slide.path) if alike else ""
    return next((one for one in alike if one.fingerprint == mark), None), mtime_ns


def _corrected(slide: ArchiveSlide, same: Slide, mtime_ns: int, known: _Known) -> Slide | None:
    row = replace(same, **vars(slide.slide), mtime_ns=mtime_ns)
    if row == known.slides.get(slide.slide_id) and slide.case == known.cases.get(
        slide.case.case_id
    ):
        return None
    return replace(row, ingested_at=now())
