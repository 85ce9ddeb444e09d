"""Who is in an archive: turn a slide, a folder or a manifest into Slides and Cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from featurestore.errors import ArchiveError, ConfigError
from featurestore.fields import name_of, types_of
from featurestore.types import Case, GivenSlide
from ingest.slides import files as slide_files

MANIFESTS = (".csv", ".parquet")
NOT_IN_MANIFESTS = ("extra", "patient_made_up")  # these are made of the other columns


@dataclass(frozen=True, kw_only=True)
class ArchiveSlide:
    """One Slide of an archive and its Case, as the manifest or the folder names them."""

    slide: GivenSlide
    case: Case
    refused: str = ""  # why it is no Slide, where a folder's listing says so

    @property
    def path(self) -> Path:
        """Of its file or folder."""
        return Path(self.slide.path)

    @property
    def slide_id(self) -> str:
        """Its unique name."""
        return self.slide.slide_id


def read_archive(source: Path, *, mpp: float | None = None) -> list[ArchiveSlide]:
    """List the Slides of a slide file, a folder (searched recursively) or a manifest.

    Args:
        source: the slide, folder, `.csv` or `.parquet`.
        mpp: for the Slides whose manifest gives none.

    Raises:
        ArchiveError: nothing is there, a column or value makes no sense, two Slides share a name.
    """
    try:
        is_there = source.exists()
    except OSError as error:  # a folder above it is shut
        raise ArchiveError(f"{source} cannot be read: {error.strerror}.") from None
    if not is_there:
        raise ArchiveError(f"{source} does not exist. Give a slide, a folder or a manifest.")
    if source.suffix.lower() in MANIFESTS:
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


def manifest_columns() -> dict[str, str]:
    """What a manifest may say of a Slide and its Case: the column and the noun's field."""
    both = [*fields(GivenSlide), *fields(Case)]
    return {name_of(one): one.name for one in both if one.name not in NOT_IN_MANIFESTS}


def _list_slides(source: Path, mpp: float | None) -> list[ArchiveSlide]:
    """The Slides of a path or folder; then what was refused there, to become failures."""
    listing = slide_files.find_slides(source)
    found = [_slide({"slide_id": one.name}, one.path, mpp) for one in listing.slides]
    for one in listing.refused:
        slide = _slide({"slide_id": one.path}, Path(one.path), mpp)
        found.append(replace(slide, refused=one.reason))
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
    found = []
    for number, row in enumerate(frame.iter_rows(named=True), start=2):
        values = {k: v.strip() for k, v in row.items() if v is not None and v.strip()}
        try:
            if "path" not in values:
                raise ConfigError("there is no path")
            found.append(_slide(values, slide_files.as_given(source.parent / values["path"]), mpp))
        except ConfigError as error:
            raise ArchiveError(f"{error} in row {number} of {source.name}.") from error
    return found


def _slide(values: Mapping[str, str], path: Path, mpp: float | None) -> ArchiveSlide:
    """A Slide and its Case of the texts in a row of a manifest, which may be empty."""
    columns = manifest_columns()
    said: dict[str, Any] = {columns[k]: v for k, v in values.items() if k in columns}
    said["path"] = str(path)
    if "slide_id" not in said:
        said["slide_id"] = slide_files.slide_name(path)
    said.setdefault("case_id", said["slide_id"])
    said["patient_made_up"] = "patient_id" not in said
    said.setdefault("patient_id", said["case_id"])
    said.setdefault("mpp_given", mpp)
    if extra := {k: v for k, v in values.items() if k not in columns}:
        said["extra"] = json.dumps(extra, sort_keys=True)
    return ArchiveSlide(slide=_made(GivenSlide, said), case=_made(Case, said))


def _made(noun: Any, said: Mapping[str, Any]) -> Any:
    """Make a noun of what is said of it, numbers and dates out of texts."""
    values = {}
    for one in fields(noun):
        plain, _, choices = types_of(noun)[one.name]
        value = said.get(one.name)
        if value is not None:
            values[one.name] = _read(value, plain, bool(choices), name_of(one))
    return noun(**values)


def _read(value: Any, plain: Any, is_choice: bool, column: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        if plain is float:
            return float(value)
        if plain is date:
            return date.fromisoformat(value[:10])
    except ValueError:
        expected = "a number" if plain is float else "a date such as 2021-03-31"
        raise ConfigError(f"{column} must be {expected}, got {value!r}") from None
    return value.lower() if is_choice else value
