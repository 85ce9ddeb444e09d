"""A Run's folder with the sha256 of each of its files, in the form of `sha256sum`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from featurestore.errors import StoreDamaged

SEAL = "SHA256SUMS"
RECORD, PREDICTIONS = "run.json", "predictions.parquet"


def seal(folder: Path) -> str:
    """Write the sha256 of all files of a folder into it; return that of what was written."""
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != SEAL
    )
    text = "".join(f"{_sha256(folder / name)}  {name}\n" for name in names)
    work = folder / f"{SEAL}.partial"
    work.write_text(text)
    with work.open("rb") as file:
        os.fsync(file.fileno())
    work.rename(folder / SEAL)
    return hashlib.sha256(text.encode()).hexdigest()


def check_sealed(folder: Path, digest: str | None = None, only: Collection[str] = ()) -> str | None:
    """Check the files of a Run against what was written of them; return the seal's own sha256.

    Args:
        folder: of the Run.
        digest: what the catalog has of the seal; None where it has nothing.
        only: names of files; all of them, and nothing else in the folder, unless given.

    Raises:
        StoreDamaged: a file is missing, other than it was written, or foreign.
    """
    try:
        raw = (folder / SEAL).read_bytes()
    except OSError as error:
        if digest is None and isinstance(error, FileNotFoundError):
            return None  # of an earlier version
        raise StoreDamaged(f"{folder / SEAL} cannot be read: {error.strerror}.") from error
    found = hashlib.sha256(raw).hexdigest()
    if digest not in (None, found):
        raise StoreDamaged(f"{folder / SEAL} was changed.")
    try:
        lines = [line.split("  ", 1) for line in raw.decode().splitlines()]
        said = {name: sha256 for sha256, name in lines}
    except ValueError as error:
        raise StoreDamaged(f"{folder / SEAL} cannot be read: {error}.") from error
    for name in only or said:
        file = folder / name
        if name not in said or not file.is_file() or file.is_symlink():
            raise StoreDamaged(f"{file} is missing.")
        if _sha256(file) != said[name]:
            raise StoreDamaged(
                f"{file} was changed: it has another sha256 than when it was written."
            )
    if not only:
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
        if foreign := sorted(there - said.keys() - {SEAL}):
            raise StoreDamaged(f"{folder / foreign[0]} is no part of the run.")
    return found


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise StoreDamaged(f"{file} cannot be read: {error.strerror}.") from error
