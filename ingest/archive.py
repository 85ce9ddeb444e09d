"""Turn a folder or manifest into rows of Slides and Cases, and plan what an ingest would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import ArchiveError, TrephineError
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest import slide_files, slides
from ingest.tiling import find_tiles

SPECIMENS = ("core", "clot", "aspirate", "other")
MOST_ATTEMPTS = 3
PLAN_SAMPLE = 32  # slides opened to estimate the tiles of the rest
COLUMNS = (
    "path",
    "slide_id",
    "case_id",
    "patient_id",
    "scanned_on",
    "specimen",
    "stain",
    "scanner",
    "age_years",
    "mpp",
)


@dataclass(frozen=True, kw_only=True)
class ArchiveSlide:
    """One row of an archive: a Slide's file and what the manifest says of it."""

    path: Path
    slide_id: str
    case_id: str
    patient_id: str
    patient_made_up: bool
    scanned_on: date | None = None
    specimen: str | None = None
    stain: str | None = None
    scanner: str | None = None
    age_years: float | None = None
    mpp: float | None = None  # microns per level-0 pixel, over what the file says
    extra: dict[str, str] = field(default_factory=dict)

    def slide_row(self) -> dict[str, Any]:
        """The columns of table `slides` that come from the manifest."""
        return {
            "slide_id": self.slide_id,
            "case_id": self.case_id,
            "path": str(self.path),
            "scanned_on": self.scanned_on,
            "specimen": self.specimen,
            "stain": self.stain,
            "scanner": self.scanner,
            "mpp_given": self.mpp,
            "extra": json.dumps(self.extra, sort_keys=True) if self.extra else None,
        }

    def case_row(self) -> dict[str, Any]:
        """The row of table `cases`."""
        return {
            "case_id": self.case_id,
            "patient_id": self.patient_id,
            "patient_made_up": self.patient_made_up,
            "age_years": self.age_years,
        }


def read_archive(source: Path, *, mpp: float | None = None) -> list[ArchiveSlide]:
    """List the Slides of a slide file, a folder (searched recursively) or a manifest.

    Args:
        source: the slide, folder, `.csv` or `.parquet`.
        mpp: for the Slides whose manifest gives none.

    Raises:
        ArchiveError: nothing is there, a column or value makes no sense, two Slides share a name.
    """
    if not source.exists():
        raise ArchiveError(f"{source} does not exist. Give a slide, a folder or a manifest.")
    if source.suffix.lower() in (".csv", ".parquet"):
        found = _read_manifest(source, mpp)
    else:
        paths = slide_files.find_slides(source) if source.is_dir() else [source]
        found = [_slide({"path": str(path)}, path.resolve(), "", mpp) for path in paths]
    if not found:
        raise ArchiveError(
            f"no slide lies under {source}; looked for {', '.join(sorted(slide_files.SUFFIXES))}."
        )
    seen: dict[str, Path] = {}
    for slide in found:
        if slide.slide_id in seen:
            raise ArchiveError(
                f"two slides are named {slide.slide_id!r}: {seen[slide.slide_id]} and "
                f"{slide.path}. "
                "Give them unique names in a manifest with the columns path and slide_id."
            )
        seen[slide.slide_id] = slide.path
    return found


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What an ingest would do; counts of Slides unless the name says otherwise."""

    total: int
    new: int
    known: int
    changed: int
    failed_before: int
    given_up: int
    missing: int
    refused: dict[str, str]  # of the opened sample: slide_id to reason
    opened: int
    tiles: int  # estimated from the opened sample
    tiles_per_slide: float
    store_bytes: int  # estimated, at 384 columns of float16
    slide_bytes: int  # of the files to read


def plan(store: FeatureStore, archive: Sequence[ArchiveSlide], tiling: Tiling) -> Plan:
    """Say what an ingest would do, from file sizes and times and a sample of opened Slides."""
    known = {row["slide_id"]: row for row in store.sql("from slides").iter_rows(named=True)}
    attempts = dict(store.sql("select item, attempts from failures").iter_rows())
    counts = dict.fromkeys(("new", "known", "changed", "missing"), 0)
    todo: list[ArchiveSlide] = []
    for slide in archive:
        if not slide.path.exists():
            counts["missing"] += 1
        elif slide.slide_id not in known:
            counts["new"] += 1
            todo.append(slide)
        elif is_unchanged(slide, known[slide.slide_id]):
            counts["known"] += 1
        else:
            counts["changed"] += 1
            todo.append(slide)
    picks = np.unique(np.linspace(0, len(todo) - 1, min(PLAN_SAMPLE, len(todo))).astype(int))
    sample = [todo[i] for i in picks]
    n_tiles, refused = [], {}
    for slide in sample:
        try:
            with slides.open_slide(slide.path, mpp=slide.mpp) as reader:
                n_tiles.append(len(find_tiles(reader, tiling).coords))
        except TrephineError as error:
            refused[slide.slide_id] = str(error)
    readable = 1 - len(refused) / max(1, len(sample))
    per_slide = float(np.mean(n_tiles)) if n_tiles else 0.0
    tiles = round(per_slide * len(todo) * readable)
    return Plan(
        total=len(archive),
        **counts,
        failed_before=sum(str(s.path) in attempts for s in archive),
        given_up=sum(attempts.get(str(s.path), 0) >= MOST_ATTEMPTS for s in archive),
        refused=refused,
        opened=len(sample),
        tiles=tiles,
        tiles_per_slide=per_slide,
        store_bytes=tiles * (384 * 2 + 14) + len(todo) * 1_000_000,
        slide_bytes=sum(f.stat().st_size for s in todo for f in slide_files.slide_files(s.path)),
    )


def is_unchanged(slide: ArchiveSlide, row: dict[str, Any]) -> bool:
    """Whether a Slide's file is the one the catalog knows, by path, size, time and given mpp."""
    size, mtime = file_stamp(slide.path)
    return (str(slide.path), size, mtime, slide.mpp) == (
        row["path"],
        row["size_bytes"],
        row["mtime_ns"],
        row["mpp_given"],
    )


def file_stamp(path: Path) -> tuple[int, int]:
    """Size in bytes of all files of a Slide, and the newest modification time in nanoseconds."""
    stats = [file.stat() for file in slide_files.slide_files(path)]
    return sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)


def _read_manifest(source: Path, mpp: float | None) -> list[ArchiveSlide]:
    try:
        if source.suffix.lower() == ".csv":
            frame = pl.read_csv(source, infer_schema=False)
        else:
            frame = pl.read_parquet(source).with_columns(pl.all().cast(pl.String))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ArchiveError(f"the manifest {source} cannot be read: {error}") from error
    if "path" not in frame.columns:
        raise ArchiveError(
            f"the manifest {source} has no column path, got {', '.join(frame.columns)}. "
            "Add it: the slides' paths, absolute or relative to the manifest."
        )
    rows = []
    for number, row in enumerate(frame.iter_rows(named=True), start=2):
        values = {k: v.strip() for k, v in row.items() if v is not None and v.strip()}
        where = f" in row {number} of {source.name}"
        if "path" not in values:
            raise ArchiveError(f"there is no path{where}.")
        rows.append(_slide(values, (source.parent / values["path"]).resolve(), where, mpp))
    return rows


def _slide(values: dict[str, str], path: Path, where: str, mpp: float | None) -> ArchiveSlide:
    slide_id = values.get("slide_id", path.stem)
    case_id = values.get("case_id", slide_id)
    specimen = values["specimen"].lower() if "specimen" in values else None
    if specimen is not None and specimen not in SPECIMENS:
        raise ArchiveError(f"specimen must be {', '.join(SPECIMENS)}, got {specimen!r}{where}.")
    given = _number(values, "mpp", where)
    return ArchiveSlide(
        path=path,
        slide_id=slide_id,
        case_id=case_id,
        patient_id=values.get("patient_id", case_id),
        patient_made_up="patient_id" not in values,
        scanned_on=_day(values, "scanned_on", where),
        specimen=specimen,
        stain=values.get("stain"),
        scanner=values.get("scanner"),
        age_years=_number(values, "age_years", where),
        mpp=mpp if given is None else given,
        extra={k: v for k, v in values.items() if k not in COLUMNS},
    )


def _number(values: dict[str, str], column: str, where: str) -> float | None:
    if column not in values:
        return None
    try:
        return float(values[column])
    except ValueError:
        raise ArchiveError(f"{column} must be a number, got {values[column]!r}{where}.") from None


def _day(values: dict[str, str], column: str, where: str) -> date | None:
    if column not in values:
        return None
    try:
        return date.fromisoformat(values[column][:10])
    except ValueError:
        raise ArchiveError(
            f"{column} must be a date such as 2021-03-31, got {values[column]!r}{where}."
        ) from None
