"""Who is in an archive: turn a slide, a folder or a manifest into Slides and Cases."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from featurestore.errors import ArchiveError, reading
from featurestore.fields import name_of
from featurestore.types import Case, GivenSlide
from ingest.config import TableConfig
from ingest.slides import files as slide_files
from ingest.table import SUFFIXES, Column, Row, column_of, read_table

_FIELDS = {one.name: (noun, one) for noun in (Case, GivenSlide) for one in fields(noun)}
NOT_IN_MANIFESTS = ("extra", "patient_made_up")  # these are made of the other columns
# Ages over 89 are not given away: some archives shift them to 300, others write 90+ or >89.
AGE_CODES = r"3\d\d(?:\.0*)?|(?:>|>=|≥)\s*\d+|\d+\s*\+"


@dataclass(frozen=True, kw_only=True)
class ArchiveSlide:
    """One Slide of an archive and its Case, as the manifest or the folder names them."""

    slide: GivenSlide
    case: Case
    refused: str = ""  # why it is no Slide, where a folder's listing says so
    is_listed: bool = False  # by a folder, which knows no more than files

    @property
    def path(self) -> Path:
        """Of its file or folder."""
        return Path(self.slide.path)

    @property
    def slide_id(self) -> str:
        """Its unique name."""
        return self.slide.slide_id

    @property
    def names(self) -> set[tuple[str, str]]:
        """What may be taken out of a store for good: the Slide, its Case, its Patient."""
        case = self.case
        return {("slide", self.slide_id), ("case", case.case_id), ("patient", case.patient_id)}


@dataclass(frozen=True, kw_only=True)
class Archive:
    """The Slides of an archive, and what its reader has to tell of them."""

    slides: Sequence[ArchiveSlide]
    notes: tuple[str, ...] = ()


def read_archive(source: Path, config: TableConfig | None = None) -> Archive:
    """List the Slides of a slide file, a folder (searched recursively) or a manifest table.

    Raises:
        ArchiveError: nothing is there, columns or values make no sense, two Slides share a name.
    """
    with reading(source, ArchiveError, "Give a slide, a folder or a manifest."):
        source.stat()
    if source.suffix.lower() in SUFFIXES and not source.is_dir():
        return _read_manifest(source, config)
    found, refused = slide_files.find_slides(source)
    slides = [_named(one.name, one.path) for one in found]
    slides += [_named(path, Path(path), why) for path, why in refused.items()]
    if not slides:
        raise ArchiveError(
            f"no slide lies under {source}; looked for {', '.join(sorted(slide_files.SUFFIXES))}."
        )
    seen: dict[str, Path] = {}
    for one in slides:
        if (before := seen.setdefault(one.slide_id, one.path)) != one.path:
            raise ArchiveError(
                f"two slides are named {one.slide_id!r}: {before} and {one.path}. "
                "Give them unique names in a manifest with the columns path and slide_id."
            )
    return Archive(slides=slides)


def _named(name: str, path: Path, refused: str = "") -> ArchiveSlide:
    """A Slide of which no more than its name is known; what was refused becomes a failure."""
    return ArchiveSlide(
        refused=refused,
        slide=GivenSlide(slide_id=name, case_id=name, path=str(path)),
        case=Case(case_id=name, patient_id=name, patient_made_up=True),
        is_listed=True,
    )


def manifest_columns() -> list[Column]:
    """What a manifest may say of a Slide and its Case: the nouns' own fields and limits."""
    more: dict[str, dict[str, Any]] = {
        "path": {"kind": "path", "needed": True, "filled": True},
        "age_years": {"missing": AGE_CODES},
    }
    return [
        column_of(noun, name, **{"name": name_of(one), **more.get(name, {})})
        for name, (noun, one) in _FIELDS.items()
        if name not in NOT_IN_MANIFESTS
    ]


def read_given(source: Path | None) -> list[tuple[GivenSlide, Case]]:
    """The Slides and Cases of a manifest whose slides need not be there: path or slide_id."""
    if source is None:
        return []
    return [(one.slide, one.case) for one in _read_manifest(source, None, with_path=False).slides]


def _read_manifest(source: Path, config: TableConfig | None, with_path: bool = True) -> Archive:
    columns = [
        replace(one, needed=with_path, filled=with_path) if one.name == "path" else one
        for one in manifest_columns()
    ]
    table = read_table(source, columns, config, error=ArchiveError)
    if not table.found & {"path", "slide_id"}:
        raise ArchiveError(f"{source} has neither a column path nor slide_id. Name one so.")
    rows = {row.number: _said(row) for row in table.sound()}
    table.faults.extend((n, "no path or slide_id") for n in rows if not rows[n]["slide_id"])
    cases, faults = _cases({n: said for n, said in rows.items() if said["slide_id"]})
    table.faults.extend(faults)
    table.refuse(ArchiveError)
    names = [one.name for one in fields(GivenSlide)]
    given = [GivenSlide(**{name: said[name] for name in names}) for said in rows.values()]
    slides = [ArchiveSlide(slide=slide, case=cases[slide.case_id]) for slide in given]
    return Archive(slides=slides, notes=tuple(table.notes))


def _said(row: Row) -> dict[str, Any]:
    """What a row says, by the nouns' fields; names that it leaves out are made of its path."""
    said: dict[str, Any] = {k: row.values.get(name_of(one)) for k, (_, one) in _FIELDS.items()}
    path = slide_files.as_given(said["path"]) if said["path"] else None
    said["path"] = str(path or "")
    said["slide_id"] = said["slide_id"] or (slide_files.slide_name(path) if path else "")
    said["case_id"] = said["case_id"] or said["slide_id"]
    said["extra"] = json.dumps(dict(row.extra), sort_keys=True) if row.extra else None
    return said


def _cases(rows: dict[int, dict[str, Any]]) -> tuple[dict[str, Case], list[tuple[int, str]]]:
    """The Cases by their id, each of what any of its rows says; and rows that contradict others."""
    cases: dict[str, Case] = {}
    first: dict[str, int] = {}
    faults: list[tuple[int, str]] = []
    for number, said in rows.items():
        if (before := first.setdefault(said["slide_id"], number)) != number:
            both = f"{rows[before]['path']} of row {before} and {said['path']}"
            advice = "Give them unique names in the column slide_id"
            faults.append((number, f"two slides are named {said['slide_id']!r}: {both}. {advice}"))
        name, patient_id = said["case_id"], said["patient_id"]
        case = cases.get(name) or Case(case_id=name, patient_id=name, patient_made_up=True)
        if patient_id is not None and case.patient_made_up:
            case = replace(case, patient_id=patient_id, patient_made_up=False)
        elif patient_id not in (None, case.patient_id):
            other = f"patient_id {patient_id!r}, but {case.patient_id!r} in a row before"
            faults.append((number, f"case {name!r} has {other}"))
        if case.age_years is None:
            case = replace(case, age_years=said["age_years"])
        cases[name] = case
    return cases, faults
