"""Turn a folder or manifest into rows of Slides and Cases, and plan what an ingest would do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore.errors import ArchiveError, SlideUnreadable, TrephineError
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest.slides import files as slide_files
from ingest.slides import reader as slides
from ingest.slides.tiling import find_tiles

SPECIMENS = ("core", "clot", "aspirate", "other")
MOST_ATTEMPTS = 3
PLAN_SAMPLE = 32  # slides opened to estimate the tiles of the rest
WIDTHS = {"dinov2-small": 384, "dinov2-base": 768, "dinov2-large": 1024}
WIDTHS |= {"dinov2-giant": 1536, "uni2": 1536}  # columns of float16
THUMBNAIL_BYTES = 1_000_000
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
    refused: str = ""  # why it is no Slide, where a folder's listing says so

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
    try:
        there = source.exists()
    except OSError as error:  # a folder above it is shut
        raise ArchiveError(f"{source} cannot be read: {error.strerror}.") from None
    if not there:
        raise ArchiveError(f"{source} does not exist. Give a slide, a folder or a manifest.")
    if source.suffix.lower() in (".csv", ".parquet"):
        found = _read_manifest(source, mpp)
    else:
        found = _list_slides(source, mpp)
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
    moved: int  # of the known: under another path or name
    changed: int
    lacking: int  # known, but not under this Tiling and Encoder
    missing: int  # no file
    given_up: int  # failed three times: not tried without --retry-failed
    failed_before: int  # of all the above
    missing_mpp: int  # estimated from the opened sample, as all that follow
    refused: dict[str, str]  # of the opened sample, and what is seen unopened: slide_id to reason
    opened: int
    tiles: int
    tiles_per_slide: float
    store_bytes: int
    slide_bytes: int  # size of the files; not estimated
    read_bytes: int | None  # None: not measured yet
    hours: float | None  # None: not measured yet
    rates: dict[str, Any] | None  # row of `queries/ingest_rates`; None: not measured yet


def plan(
    store: FeatureStore,
    archive: Sequence[ArchiveSlide],
    tiling: Tiling,
    *,
    encoder: str = "dinov2-small",
    workers: int = 2,
    sample: int = PLAN_SAMPLE,
) -> Plan:
    """Say what an ingest would do and cost, and change nothing.

    What is known is told by size and time, and by content where they differ; tiles and missing mpp
    are those of a sample that is opened; hours and bytes are those of earlier ingests.

    Args:
        store: the store.
        archive: the Slides, as `read_archive` lists them.
        tiling: how they would be cut.
        encoder: name of the Encoder that would embed them.
        workers: processes that would read.
        sample: how many Slides to open.
    """
    sorted_out, todo, refused, failed_before = _sort_out(store, archive, tiling, encoder)
    picks = np.unique(np.linspace(0, len(todo) - 1, min(sample, len(todo))).astype(int))
    n_tiles = []
    for slide in (todo[i] for i in picks):
        try:
            with slides.open_slide(slide.path, mpp=slide.mpp) as reader:
                n_tiles.append(len(find_tiles(reader, tiling).coords))
        except TrephineError as error:
            refused[slide.slide_id] = str(error)
    each = len(todo) / max(1, len(picks))  # Slides that one of the sample stands for
    readable = len(n_tiles) * each
    per_slide = float(np.mean(n_tiles)) if n_tiles else 0.0
    tiles = round(per_slide * readable)
    found = store.named("ingest_rates", {"encoder": encoder})
    rates = found.row(0, named=True) if found.height else None
    width = rates["dim"] if rates else WIDTHS.get(encoder.removesuffix("-reg"), 1024)
    around = rates["write_bytes_per_slide"] if rates else THUMBNAIL_BYTES
    read_bytes = hours = None
    if rates:
        opening, reading = rates["open_bytes_per_slide"], rates["read_bytes_per_tile"]
        read_bytes = round(readable * opening + tiles * reading)
        hours = _seconds(rates, readable, tiles, workers) / 3600
    return Plan(
        total=len(archive),
        **sorted_out,
        failed_before=failed_before,
        missing_mpp=round(each * sum("has no mpp" in reason for reason in refused.values())),
        refused=refused,
        opened=len(picks),
        tiles=tiles,
        tiles_per_slide=per_slide,
        store_bytes=round(tiles * (2 * width + 14) + readable * around),
        slide_bytes=sum(slide_files.file_stamp(slide.path)[0] for slide in todo),
        read_bytes=read_bytes,
        hours=hours,
        rates=rates,
    )


def _sort_out(
    store: FeatureStore, archive: Sequence[ArchiveSlide], tiling: Tiling, encoder: str
) -> tuple[dict[str, int], list[ArchiveSlide], dict[str, str], int]:
    """Count Slides by what an ingest would make of them; list what it would read or refuse."""
    rows = {row["slide_id"]: row for row in store.sql("from slides").iter_rows(named=True)}
    by_size: dict[int, list[dict[str, Any]]] = {}
    for known in rows.values():
        by_size.setdefault(known["size_bytes"], []).append(known)
    attempts = dict(store.sql("select item, attempts from failures").iter_rows())
    done = set(
        store.sql(
            "select slide_key from embeddings join encoders using (encoder_id)"
            " where tiling_id = $tiling and name = $encoder",
            {"tiling": tiling.tiling_id, "encoder": encoder},
        )["slide_key"]
    )
    names = ("new", "known", "moved", "changed", "lacking", "missing", "given_up")
    counts = dict.fromkeys(names, 0)
    todo: list[ArchiveSlide] = []
    refused: dict[str, str] = {}
    for slide in archive:
        row = rows.get(slide.slide_id)
        if attempts.get(str(slide.path), 0) >= MOST_ATTEMPTS:
            counts["given_up"] += 1
            continue
        try:
            if slide.refused:
                raise SlideUnreadable(slide.refused)
            if not slide.path.exists():
                counts["missing"] += 1
                continue
            same = row if row and is_unchanged(slide, row) else _same_content(slide, by_size)
        except (OSError, TrephineError) as error:
            refused[slide.slide_id] = str(error)
            continue
        if same and same["slide_key"] in done:
            counts["known"] += 1
            counts["moved"] += str(slide.path) != same["path"]
            continue
        counts["lacking" if same else "changed" if row else "new"] += 1
        todo.append(slide)
    return counts, todo, refused, sum(str(slide.path) in attempts for slide in archive)


def _same_content(
    slide: ArchiveSlide, by_size: dict[int, list[dict[str, Any]]]
) -> dict[str, Any] | None:
    """The known Slide with these bytes and this mpp; reads only files of a known size."""
    alike = by_size.get(slide_files.file_stamp(slide.path)[0], [])
    alike = [row for row in alike if slide.mpp in (row["mpp_given"], row["mpp"])]
    mark = slide_files.fingerprint(slide.path) if alike else ""
    return next((row for row in alike if row["fingerprint"] == mark), None)


def _seconds(rates: dict[str, Any], n_slides: float, tiles: int, workers: int) -> float:
    """The stages work side by side: the slowest decides."""
    reading = n_slides * rates["open_s_per_slide"] + tiles * rates["read_s_per_tile"]
    return max(
        reading / workers,
        tiles * rates["embed_s_per_tile"],
        n_slides * rates["write_s_per_slide"],
    )


def is_unchanged(slide: ArchiveSlide, row: dict[str, Any]) -> bool:
    """Whether a Slide's file is the one the catalog knows, by path, size, time and given mpp."""
    size, mtime = slide_files.file_stamp(slide.path)
    return (str(slide.path), size, mtime, slide.mpp) == (
        row["path"],
        row["size_bytes"],
        row["mtime_ns"],
        row["mpp_given"],
    )


def _list_slides(source: Path, mpp: float | None) -> list[ArchiveSlide]:
    """The Slides of a path or folder; then what was refused there, to become failures."""
    listing = slide_files.find_slides(source)
    found = [_slide({"slide_id": it.name}, it.path, "", mpp) for it in listing.slides]
    for item in listing.refused:
        path = Path(item.path)
        found.append(replace(_slide({"slide_id": item.path}, path, "", mpp), refused=item.reason))
    return found


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
        rows.append(
            _slide(values, slide_files.as_given(source.parent / values["path"]), where, mpp)
        )
    return rows


def _slide(values: dict[str, str], path: Path, where: str, mpp: float | None) -> ArchiveSlide:
    slide_id = values.get("slide_id") or slide_files.slide_name(path)
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
