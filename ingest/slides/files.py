"""Which files are a Slide, and which Slide they are: find, list, fingerprint."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from featurestore.errors import SlideUnreadable

SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".dcm", ".scn", ".bif", ".svslide", ".vms", ".vmu"}
    | {".czi"}
)
MIB = 2**20


def is_slide(path: Path) -> bool:
    """Whether a file's name is that of a slide."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def find_slides(folder: Path) -> list[Path]:
    """Slides under a folder, sorted; of a DICOM series only its first file.

    The data folder of a MIRAX slide is not entered.
    """
    found: list[Path] = []
    for here, folders, names in os.walk(folder):
        paths = [path for path in map(Path(here).joinpath, sorted(names)) if is_slide(path)]
        mirax = {path.stem for path in paths if path.suffix.lower() == ".mrxs"}
        folders[:] = sorted(f for f in folders if f not in mirax and not f.startswith("."))
        series: set[str] = set()
        for path in paths:
            if path.suffix.lower() == ".dcm":
                uid = _series_uid(path)
                if uid in series:
                    continue
                series.add(uid)
            found.append(path)
    return sorted(found)


def slide_files(path: Path) -> list[Path]:
    """All files of one slide, by name: a MIRAX folder and a DICOM series have many."""
    file = first_file(path)
    suffix = file.suffix.lower()
    if suffix == ".mrxs":
        return [file, *sorted(p for p in file.with_suffix("").glob("*") if p.is_file())]
    if suffix == ".dcm":
        uid = _series_uid(file)
        return sorted(
            p for p in file.parent.iterdir() if p.suffix.lower() == ".dcm" and _series_uid(p) == uid
        )
    return [file]


def first_file(path: Path) -> Path:
    """The file to open: the path itself, or the first of the one DICOM series in a folder."""
    if not path.exists():
        raise SlideUnreadable(f"slide {path.name!r} is not there: {path} does not exist.")
    if not path.is_dir():
        return path
    files = sorted(p for p in path.iterdir() if is_slide(p) and p.suffix.lower() == ".dcm")
    if len({_series_uid(p) for p in files}) != 1:
        raise SlideUnreadable(
            f"slide {path.name!r} is a folder without exactly one DICOM series; name a file in it."
        )
    return files[0]


def _series_uid(file: Path) -> str:
    """SeriesInstanceUID (0020,000E) of a DICOM file, or its name where there is none.

    The last one before the picture's description (0028,0002): sequences may name others before.
    """
    with file.open("rb") as stream:
        head = stream.read(MIB)
    head = head[: head.find(b"\x28\x00\x02\x00US")] if b"\x28\x00\x02\x00US" in head else head
    at = head.rfind(b"\x20\x00\x0e\x00UI")
    if at < 0:
        return file.name
    length = int.from_bytes(head[at + 6 : at + 8], "little")
    return head[at + 8 : at + 8 + length].strip(b"\x00 ").decode("ascii", "replace")


def fingerprint(path: Path) -> str:
    """Thirty-two hex digits that name a slide's content without reading all of it.

    Over the size, the first and last MiB and 64 blocks of 64 KiB at fixed strides, of every file
    of the slide. A file under 6 MiB is covered whole.
    """
    whole = hashlib.blake2b(digest_size=16)
    try:
        for file in slide_files(Path(path)):
            whole.update(_file_digest(file))
    except OSError as error:
        raise SlideUnreadable(
            f"slide {Path(path).name!r} cannot be read: {error.strerror}."
        ) from None
    return whole.hexdigest()


def _file_digest(file: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        digest.update(size.to_bytes(8, "little"))
        if size <= 6 * MIB:
            digest.update(stream.read())
            return digest.digest()
        stride = (size - 2 * MIB) // 64
        blocks = [(0, MIB), (size - MIB, MIB)]
        blocks += [(MIB + i * stride, 64 * 1024) for i in range(64)]
        for start, length in blocks:
            stream.seek(start)
            digest.update(stream.read(length))
    return digest.digest()


def slide_key(fingerprint: str, mpp: float) -> str:
    """Sixteen hex digits over a fingerprint and the effective mpp."""
    return hashlib.blake2b(f"{fingerprint} {mpp!r}".encode(), digest_size=8).hexdigest()
