"""Find what a tool wrote in a folder: whose files they are, what stands beside, whose Slides."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.errors import FeaturesRefused
from featurestore.exchange import files
from featurestore.exchange.tools import IMPORTED, ROWS, TOOLS, Tool
from featurestore.types import Case, GivenSlide, Slide, content_id

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

PROBES = 3  # files of a folder that may say whose it is
ABOVE, ASIDE = 2, ("patches", "tiles", "coordinates")  # where places lie of a folder of features
NO_FILE = "is a pipe or a link to nothing, expected a file. Put the file of its features there"
LOCKED = "is unfinished: its lock is still there. Extract the slide again"
OWNED = (".h5", ".pt", ".npz")

Peek = Callable[[Path], files.Inside]
Places = dict[str | None, list[tuple[str, str, Path]]]  # by Slide: base, cut and file
Given = Sequence[tuple[GivenSlide, Case]]  # rows of a manifest
LONGEST = 200  # characters of a name


@dataclass(frozen=True, kw_only=True)
class Features:
    """A file of features, not read yet."""

    path: Path
    tool: str
    name: str  # of the Slide, as the file is named
    folder: str  # that tells one Encoder from another
    encoder: str  # the Encoder's name, as the folder says it
    cut: str = ""  # tells one way to cut Slides from another
    beside: tuple[Path, ...] = ()  # files that say where its tiles lie, or more of it
    is_empty: bool = False  # a Slide without a tile, of which there are no features
    twins: tuple[Path, ...] = ()  # of another kind, that must hold the same rows


@dataclass(frozen=True, kw_only=True)
class Finds:
    """What there is in a folder."""

    found: Sequence[Features]
    refused: Mapping[Path, str]  # and why
    others: Mapping[str, int]  # files left out, by whose they are
    places: int  # Slides of which there are places of tiles


def files_in(root: Path) -> list[Path]:
    """A file, or the regular files under a folder, sorted; links are followed, folders once."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise FeaturesRefused(f"{root} does not exist. Give the folder that the tool wrote.")
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for folder, inner, names in os.walk(root, followlinks=True):
        at = Path(folder).stat()
        if (at.st_dev, at.st_ino) in seen:
            inner.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        found += [path for name in names if (path := Path(folder) / name).is_file()]
    return sorted(found)


def find(tool: str, root: Path, peek: Peek) -> Finds:
    """Find a tool's features in a folder or a file, and what is unfinished or another tool's."""
    there = files_in(root)
    owners, bare = _owners(there, peek)
    foreign = {folder for folder, tools in owners.items() if tools and tool not in tools}
    left = (path for path in there if path.parent in foreign and path.suffix in OWNED)
    others = Counter(" or ".join(sorted(owners[path.parent])) for path in left)
    own = [path for path in there if path.parent not in foreign]
    places = _places(TOOLS[tool], own, bare)
    n_places = len(places.keys() - {None})
    folder = (root.parent if root.is_file() else root).absolute()
    for near in (above / aside for above in folder.parents[:ABOVE] for aside in ASIDE):
        if near.is_dir():
            for slide, some in _places(TOOLS[tool], files_in(near), bare).items():
                places.setdefault(slide, []).extend(some)
    locks = [path for path in own if path.name.endswith((".h5.lock", ".pt.lock"))]
    shut = {path.with_suffix("") for path in locks}
    owned = (path for path in root.rglob("*") if path.suffix in OWNED)
    no_files = [path for path in owned if not (path.is_file() or path.is_dir())]
    open_to_read = [path for path in own if path not in shut and path.parent not in bare]
    found = list(_features(tool, open_to_read, places))
    return Finds(
        found=[*found, *_empty(found, places, peek)],
        refused=dict.fromkeys(locks, LOCKED) | dict.fromkeys(no_files, NO_FILE),
        others=dict(others),
        places=n_places,
    )


def _owners(there: Sequence[Path], peek: Peek) -> tuple[dict[Path, set[str]], set[Path]]:
    """Which tools may have written each folder, none where nothing tells; and those of coords."""
    owners: dict[Path, set[str]] = {}
    bare: set[Path] = set()
    owned = sorted((path for path in there if path.suffix in OWNED), key=attrgetter("parent"))
    for folder, some in groupby(owned, attrgetter("parent")):
        looks: dict[Path, files.Inside] = {}
        for path in islice(some, PROBES):
            with suppress(FeaturesRefused):
                looks[path] = peek(path) if path.suffix == ".h5" else {}
        if looks and all("coords" in held and not ROWS & held.keys() for held in looks.values()):
            bare.add(folder)
        named = (_owners_of(path, held) for path, held in looks.items())
        owners[folder] = next(filter(None, named), set())
    return owners, bare


def _owners_of(path: Path, held: files.Inside) -> set[str]:
    """Who may have written a file, by what it holds, else by the names of its folders."""
    for name, tool in TOOLS.items():
        if held.keys() & tool.signs or _match(tool.own, path):
            return {name}
    if path.suffix == ".h5":
        return {"trident", "clam"} if {"features", "coords"} <= held.keys() else set()
    once = path.parent.name == "features" and (path.parents[1] / "coordinates").is_dir()
    return {"slide2vec"} if once else set()


def _match(pattern: str, path: Path) -> re.Match[str] | None:
    return re.search(f"/{pattern}$", path.absolute().as_posix())


def _places(tool: Tool, there: Sequence[Path], bare: set[Path]) -> Places:
    """Files of places by Slide; by None what is of all Slides."""
    places: Places = {}
    for path in there:
        if match := _match(tool.places, path):
            said = match.groupdict()
            at = (_upto(match, "base"), said.get("cut") or "", path)
            places.setdefault(said.get("slide"), []).append(at)
        elif path.parent in bare and path.suffix == ".h5":
            places.setdefault(path.stem, []).append(("", "", path))
    return places


def _upto(match: re.Match[str], group: str) -> str:
    """The path up to the end of a group; empty where the pattern has none."""
    return match.string[: match.end(group)] if group in match.re.groupindex else ""


def _features(tool: str, there: Iterable[Path], places: Places) -> Iterator[Features]:
    """Features by Slide: of files of several kinds, those of the first kind."""
    by_slide: dict[tuple[str, ...], list[tuple[int, Features]]] = {}
    for path in there:
        matches = ((rank, _match(one, path)) for rank, one in enumerate(TOOLS[tool].features))
        rank, match = next((one for one in matches if one[1]), (0, None))
        if match is None:
            continue
        said = {name: word or "" for name, word in match.groupdict().items()}
        name, folder, cut = said["slide"], said["folder"], said.get("cut", "")
        near = sorted([*places.get(name, ()), *places.get(None, ())], key=lambda one: -len(one[0]))
        found = Features(
            path=path,
            tool=tool,
            name=name,
            folder=folder,
            encoder=said.get("encoder") or folder,
            cut=cut,
            beside=tuple(
                beside
                for base, its_cut, beside in near
                if match.string.startswith(f"{base}/") and its_cut in ("", cut)
            ),
            is_empty=path.suffix == ".json",
        )
        by_slide.setdefault((_upto(match, "folder"), name, cut), []).append((rank, found))
    for several in by_slide.values():
        first = min(rank for rank, _ in several)
        twins = tuple(one.path for rank, one in several if rank > first and TOOLS[tool].is_twice)
        yield from (replace(one, twins=twins) for rank, one in several if rank == first)


def _empty(found: Sequence[Features], places: Places, peek: Peek) -> Iterator[Features]:
    """Slides without a tile, of which TRIDENT may write no features: one for each Encoder."""
    used = {path for one in found for path in one.beside}
    folders = {(one.path.parent.parent.absolute().as_posix(), one.folder): one for one in found}
    for name, some in places.items():
        for base, _, path in some:
            if name is None or not base or path.suffix != ".h5" or path in used:
                continue
            alike = [one for (job, _), one in folders.items() if job == base]
            with suppress(FeaturesRefused):
                if alike and math.prod(peek(path).get("coords", (1,))) == 0:
                    for one in alike:
                        yield replace(one, path=path, name=name, beside=(), is_empty=True)


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
        own = self.known.mpp_source if self.known else None
        said = ((given, "manifest"), (known, own), (of_file, "file"), (option, "option"))
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
