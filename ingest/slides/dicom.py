"""Which DICOM files of a folder are one Slide, told from a few kilobytes of each."""

import functools
import os
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAGIC_AT, MAGIC = 128, b"DICM"
SUFFIXES = frozenset({".dcm", ".dicom"})
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage
BESIDE = frozenset({"LABEL", "OVERVIEW", "THUMBNAIL"})  # third value of Image Type: no level
MEDIA_CLASS, SYNTAX = 0x00020002, 0x00020010
FIRST, IMAGE_TYPE, SOP_CLASS, INSTANCE = 0x00080000, 0x00080008, 0x00080016, 0x00080018
MODALITY, SERIES = 0x00080060, 0x0020000E
UID_LIKE = re.compile(r"[\w.-]{1,64}", re.ASCII)  # some archives make theirs of letters too
FRESH_NS = 2 * 10**9  # a folder changed so lately may change again without a new time
MOST_READ = 2**20  # bytes of one header


@dataclass(frozen=True, kw_only=True)
class Series:
    """Files of one folder that are one Slide, or that are none for one reason."""

    series: str  # SeriesInstanceUID; empty where none is known
    names: tuple[str, ...]  # sorted
    instances: frozenset[str] = frozenset()  # SOPInstanceUIDs
    reason: str = ""  # why they are no Slide, as the end of a sentence


def suffix_of(name: str) -> str:
    """A file name's suffix in lower case; a Path made for it alone costs five times as much."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def may_be_dicom(name: str) -> bool:
    """Whether a file of this name is worth a look: .dcm, no suffix, or a number as UIDs end in."""
    suffix = suffix_of(name)
    return suffix in SUFFIXES or not suffix or suffix[1:].isdigit()


def groups(folder: Path) -> Mapping[str, Series]:
    """The DICOM files right in a folder, by name; a header is read once while nothing changes."""
    about = folder.stat()
    is_fresh = abs(time.time_ns() - about.st_mtime_ns) < FRESH_NS
    once = _group.__wrapped__ if is_fresh else _group
    return once(folder, about.st_dev, about.st_ino, about.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _group(folder: Path, *told: int) -> Mapping[str, Series]:
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and may_be_dicom(entry.name) and _is_file(entry)
        )
    read = [header for name in names if (header := _read_header(folder / name)) is not None]
    has_series = any(header.series for header in read)
    alike: dict[tuple[str, str], list[_Header]] = {}
    for header in read:
        if has_series or suffix_of(header.name) in SUFFIXES:  # else an empty file is nobody's
            key = header.series or header.name  # what has no series is told file by file
            alike.setdefault((key, header.reason), []).append(header)
    found: dict[str, Series] = {}
    for (_, reason), headers in alike.items():
        if all(header.kind in BESIDE for header in headers):
            kinds = " and ".join(sorted({header.kind.lower() for header in headers}))
            reason = reason or f"holds no level of a slide, only its {kinds}"
        members = tuple(header.name for header in headers)
        instances = frozenset(header.instance for header in headers)
        group = Series(series=headers[0].series, names=members, instances=instances, reason=reason)
        found |= dict.fromkeys(members, group)
    return found


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


@dataclass(frozen=True, kw_only=True)
class _Header:
    name: str
    series: str = ""
    instance: str = ""
    kind: str = ""  # third value of Image Type: VOLUME, LABEL, OVERVIEW, THUMBNAIL
    reason: str = ""


class _Bounded:
    """A file that gives no more than so many bytes: a header may say that it fills the disk."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, MOST_READ
        self.seek, self.tell, self.name = stream.seek, stream.tell, stream.name

    def read(self, length: int = MOST_READ + 1) -> bytes:
        self._left -= length
        if self._left < 0 <= length:
            raise ValueError("the header is too long")
        return self._stream.read(length)


def _read_header(file: Path) -> _Header | None:
    """What the file says up to its series; None where neither name nor content is DICOM's."""
    try:
        with file.open("rb") as stream:
            start = stream.read(MAGIC_AT + len(MAGIC))
            if start.startswith(MAGIC, MAGIC_AT):
                return _parse(file.name, _Bounded(stream))
        if not start:  # perhaps an instance whose copy failed
            return _Header(name=file.name, reason="is empty")
        reason = "is no DICOM file: it has no DICM at byte 128"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    return _Header(name=file.name, reason=reason) if suffix_of(file.name) in SUFFIXES else None


def _parse(name: str, stream: Any) -> _Header:
    """What stands behind the magic: how the file is written, then what it is."""
    from pydicom.filereader import read_dataset  # slow to import, and most archives hold none
    from pydicom.uid import UID

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values beyond the standard
        try:
            meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, n: tag >> 16 > 2)
            syntax = UID(str(meta[SYNTAX].value))
            foreign = f"is written as {syntax.name}, expected Explicit VR Little Endian"
            if syntax.is_deflated:  # nothing can be read without unpacking all of it
                return _Header(name=name, reason=foreign)
            said = read_dataset(
                stream,
                syntax.is_implicit_VR,
                syntax.is_little_endian,
                stop_when=lambda tag, vr, n: not FIRST <= tag <= SERIES,
                defer_size=1024,
                specific_tags=[IMAGE_TYPE, SOP_CLASS, INSTANCE, MODALITY, SERIES],
            )
            values: dict[int, Any] = {int(element.tag): element.value for element in said}
            sort = UID(str(values.get(SOP_CLASS) or meta[MEDIA_CLASS].value))
            about = sort.name if sort.name != sort else "of a kind that DICOM does not list"
        except Exception:  # whatever damage makes of a parser
            return _Header(name=name, reason="has a damaged DICOM header")
    series, modality = str(values.get(SERIES) or ""), str(values.get(MODALITY) or "SM")
    flavour = values.get(IMAGE_TYPE) or []
    reason = ""
    if sort != WHOLE_SLIDE or modality != "SM":
        reason = f"is no whole slide but {about}"
        reason += f", modality {modality!r}" if modality != "SM" else ""
    elif not UID_LIKE.fullmatch(series):
        series, reason = "", "has no SeriesInstanceUID (0020,000E), or one that is none"
    elif syntax.is_implicit_VR or not syntax.is_little_endian:
        reason = foreign
    kind = str(flavour[2]) if not isinstance(flavour, str) and len(flavour) > 2 else ""
    instance = str(values.get(INSTANCE) or "")
    return _Header(name=name, series=series, instance=instance, kind=kind, reason=reason)
