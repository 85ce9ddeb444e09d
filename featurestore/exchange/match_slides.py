"""Whose Slide a file is: by the manifest, by what the store knows, else by the file's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.errors import FeaturesRefused
from featurestore.exchange.bags import IMPORTED
from featurestore.types import Case, GivenSlide, MppSource, Slide, content_id

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

Given = Sequence[tuple[GivenSlide, Case]]  # rows of a manifest
LONGEST = 200  # characters of a name


@dataclass(frozen=True, kw_only=True)
class Who:
    """The Slide that a file is of."""

    slide_id: str
    given: GivenSlide | None  # by the manifest
    case: Case | None  # None: the store has it
    known: Slide | None  # as the store has it

    @property
    def names(self) -> set[tuple[str, str]]:
        """What may have been erased: the Slide, its Case, its Patient."""
        names = {("slide", self.slide_id)}
        names |= {("case", self.given.case_id)} if self.given else set()
        case = self.case
        return names | ({("case", case.case_id), ("patient", case.patient_id)} if case else set())

    def mpp(self, of_file: float | None, option: float | None) -> tuple[float | None, Any]:
        """Microns per level-0 pixel, and who says so."""
        known = self.known.mpp if self.known else None
        given = self.given.mpp_given if self.given else None
        is_other = option is not None and known not in (None, option) and given is None
        if is_other and self.known and self.known.mpp_source == "option":
            raise FeaturesRefused(
                f"is of slide {self.slide_id!r}, which has {known:g} microns per pixel by an "
                f"earlier --mpp, got {option:g}. Change it with --manifest: slide_id and mpp"
            )
        said: list[tuple[float | None, MppSource | None]] = [
            (given, "manifest"),
            (known, self.known.mpp_source if self.known else None),
            (of_file, "file"),
            (option, "option"),
        ]
        return next((one for one in said if one[0] is not None), (None, None))

    def slide(self, path: Path, tool: str, measured: dict[str, Any]) -> Slide:
        """The row of the Slide: as it is known, with what the manifest says now."""
        if self.known and not (self.known.reader or "").startswith(IMPORTED):
            return self.known  # a slide that was read: an import adds nothing to it
        name = self.slide_id
        given = self.given or GivenSlide(slide_id=name, case_id=name, path="")
        given = replace(given, path=given.path or str(path))
        if self.known:
            said = vars(given) if self.given else {}
            also = {name: measured[name] for name in ("mpp", "mpp_source") if measured["mpp"]}
            return replace(self.known, **said, **also)
        return given.measured(
            slide_key=content_id(["imported", name]), reader=IMPORTED + tool, **measured
        )


class People:
    """The Slides and Cases that a manifest and the store know."""

    def __init__(self, store: FeatureStore, given: Given) -> None:
        self._known = {slide.slide_id: slide for slide in store.known(Slide)}
        self._cases = {case.case_id: case for case in store.known(Case)}
        self._given = {slide.slide_id: (slide, case) for slide, case in given}
        self._by_name = _by_name(slide for slide, _ in given)
        self._stored = _by_name(self._known.values())
        self.used: set[str] = set()  # slide_ids of the manifest

    def who(self, name: str) -> Who:
        """Whose file it is that is named so."""
        if not name.isprintable() or not 0 < len(name) <= LONGEST:
            raise FeaturesRefused(f"is named {name!r}, which is no name of a slide. Rename it")
        slide_id = _one(name, self._by_name) or _one(name, self._stored) or name
        known = self._known.get(slide_id)
        given, case = self._given.get(slide_id, (None, None))
        if given is not None:
            self.used.add(slide_id)
        elif known is None and slide_id not in self._cases:
            case = Case(case_id=slide_id, patient_id=slide_id, patient_made_up=True)
        if case is not None and self._cases.get(case.case_id) == case:
            case = None
        return Who(slide_id=slide_id, given=given, case=case, known=known)

    def learn(self, slide: Slide) -> bool:
        """Take over a Slide's row; whether it says anything new."""
        before, self._known[slide.slide_id] = self._known.get(slide.slide_id), slide
        return before is None or replace(before, ingested_at=slide.ingested_at) != slide


def _by_name(slides: Iterable[GivenSlide]) -> dict[str, set[str]]:
    """slide_ids by every name that a tool may give the features of a Slide."""
    names: dict[str, set[str]] = {}
    for slide in slides:
        path = Path(slide.path)
        stem = path.stem if path.suffix else path.name
        may = {slide.slide_id, slide.slide_id.removesuffix(".ome")}
        may |= {stem, stem.removesuffix(".ome")} if slide.path else set()
        for name in may | {one.replace(" ", "_") for one in may}:
            names.setdefault(name, set()).add(slide.slide_id)
    return names


def _one(name: str, names: dict[str, set[str]]) -> str | None:
    """The slide_id that a name is meant to be: its own first."""
    found = names.get(name, set()) | names.get(name.removesuffix(".ome"), set())
    if name in found:
        return name
    if len(found) > 1:
        raise FeaturesRefused(
            f"may be of any of the slides {', '.join(map(repr, sorted(found)))}. Name it as one"
        )
    return next(iter(found), None)
