"""Compare the files of Slides' groups with their digests: none missing, other or foreign."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np

from featurestore import layout, rows
from featurestore.errors import NO_DAMAGE, NotFinite, StoreDamaged
from featurestore.words import counted, size

REPAIR = "trephine verify --repair"
GROUP = re.compile(r"[0-9a-f]{16}\.zarr")
SHOWN = 20
BLOCK = 1 << 18  # bytes; even, so that no Embedding is cut
_reused = threading.local()


class ToldArray(NamedTuple):
    """What the ledger tells of one array of Embeddings."""

    slide_key: str
    tiling_id: str
    encoder_id: str
    dim: int
    gone: bool  # it was set aside
    digests: str  # JSON, by file of the Slide's group


Seen = tuple[ToldArray, rows.Stamp]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it was written, and what mends it."""

    path: str  # in the store, or a table of the catalog
    fault: str
    mend: str = REPAIR
    foreign: bool = False  # whether nothing of the store is lost without it

    def text(self) -> str:
        """In a line."""
        return f"{self.path}: {self.fault} Mend it with: {self.mend}"


@dataclass(kw_only=True)
class Verified:
    """What `verify` read and found."""

    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    failures: list[Finding] = field(default_factory=list)  # what is still not whole
    waiting: int = 0  # arrays and ledger files of a process at work
    mended: list[str] = field(default_factory=list)  # what was set aside, or made anew
    foreign: list[str] = field(default_factory=list)  # what lies beside the store's rooms

    def text(self) -> str:
        """What `verify` prints."""
        rate = size(self.bytes / max(self.seconds, 1e-9))
        lines = [
            f"read {counted(self.files, 'file')}, {size(self.bytes)}, "
            f"in {self.seconds:.1f} s ({rate}/s)"
        ]
        lines += [f"mended: {what}" for what in self.mended[:SHOWN]]
        if (n := len(self.mended) - SHOWN) > 0:
            lines.append(f"mended: {n:,} more")
        lines += [one.text() for one in self.failures[:SHOWN]]
        if (n := len(self.failures) - SHOWN) > 0:
            lines.append(f"{n:,} more; see them with: trephine verify --json")
        if self.foreign:
            named = ", ".join([*self.foreign[:3], *(["..."] if self.foreign[3:] else [])])
            lines.append(f"note: no part of the store, and left alone: {named}")
        if self.waiting:
            what = counted(self.waiting, "array or ledger file")
            lines.append(f"{what} of an ingest at work, not in the catalog yet")
        return "\n".join(
            [*lines, counted(len(self.failures), "finding") if self.failures else "whole"]
        )


@dataclass(kw_only=True)
class Survey(Verified):
    """What was found on the way."""

    root: Path
    whole: list[Seen] = field(default_factory=list)  # arrays of Embeddings

    def take(self, other: Survey) -> None:
        """Take over what was found of a part."""
        self.failures += other.failures
        self.whole += other.whole
        for name in ("waiting", "files", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def add(
        self, path: Path | str, fault: str, mend: str = REPAIR, *, foreign: bool = False
    ) -> None:
        """Take a finding down."""
        name = path if isinstance(path, str) else path.relative_to(self.root).as_posix()
        fault = f"{fault.rstrip('.')}."
        self.failures.append(Finding(path=name, fault=fault, mend=mend, foreign=foreign))

    def unread(self, path: Path, error: OSError) -> None:
        """Take down a file or folder that the system does not give."""
        if isinstance(error, PermissionError):
            mend = f"its owner's chmod -R u+rwX,g+rX {shlex.quote(str(path))}"
            self.add(path, f"it may not be read. {NO_DAMAGE}", mend)
        else:
            self.add(path, f"it cannot be read: {error.strerror}")


Groups = Sequence[tuple[Path, Sequence[ToldArray]]]


def answer(request: tuple[Path, Groups]) -> Iterator[tuple[Survey, list[Path]] | None]:
    """What was read of groups that are whole, and the others; None every second until then."""
    root, groups = request
    whole, doubtful, said = Survey(root=root), list[Path](), time.monotonic()
    for path, told in groups:
        found = check_group(root, path, told)
        if found.failures:
            doubtful.append(path)
        else:
            whole.take(found)
        if time.monotonic() > said + 1:
            yield None
            said = time.monotonic()
    yield whole, doubtful


def check_group(root: Path, path: Path, told: Sequence[ToldArray]) -> Survey:
    """Compare every file of a group with its digest; nothing may be missing, other or foreign."""
    found = Survey(root=root)
    if not os.path.lexists(path):
        fault = "" if all(one.gone for one in told) else "it is missing"
    elif path.is_symlink() or not path.is_dir() or not GROUP.fullmatch(path.name):
        fault = "it is no group of a slide"
    elif not told:
        fault = "the catalog does not know it: it was renamed, or is unfinished"
    else:
        _check_files(found, path, told)
        return found
    if fault:
        found.add(path, fault)
    return found


def _check_files(found: Survey, path: Path, told: Sequence[ToldArray]) -> None:
    expected: dict[str, str] = {}
    needed: set[str] = set()
    for one in sorted(told, key=lambda one: not one.gone):  # what is there has the last word
        digests = json.loads(one.digests)
        expected |= digests
        needed |= set() if one.gone else digests.keys()
    folders = {""}
    for above in {name.rpartition("/")[0] for name in expected}:
        while above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    bags = {f"{one.tiling_id}/embeddings/{one.encoder_id}/c/0/0": one for one in told}
    for name, entry in _entries(found, str(path)):
        if entry.is_dir(follow_symlinks=False):
            if name not in folders:
                fault = "it is no part of the slide's group"
                found.add(path / name, fault, foreign=name not in expected)
        elif name not in expected or not entry.is_file(follow_symlinks=False):
            fault = "it is a link or foreign file"
            found.add(path / name, fault, foreign=expected.pop(name, None) is None)
        else:
            _check_file(found, entry.path, expected.pop(name), bags.get(name))
    unread = tuple(f"{one.path}/" for one in found.failures)
    for name in expected.keys() & needed:
        if not f"slides/{path.name}/{name}".startswith(unread):
            found.add(path / name, "it is missing")


def _entries(found: Survey, folder: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All that is in a folder, by its path in it: as texts, since paths cost more than reading."""
    inner = [(folder, "")]
    while inner:
        folder, above = inner.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            found.unread(Path(folder), error)
        else:
            for entry in entries:
                name = above + entry.name
                yield name, entry
                if entry.is_dir(follow_symlinks=False):
                    inner.append((entry.path, f"{name}/"))


def _check_file(found: Survey, file: str, expected: str, bag: ToldArray | None) -> None:
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)  # `open` costs twice it
        try:
            n, digest, finite = _digest(opened, is_bag=bag is not None)
            about = None if bag is None else os.fstat(opened)
        finally:
            os.close(opened)
        found.files, found.bytes = found.files + 1, found.bytes + n
        if digest != expected:
            found.add(Path(file), "it is not what was written: its digest differs")
        elif bag is not None and about is not None:
            if not finite:
                rows.check_rows(Path(file), Path(file).read_bytes(), bag.dim)
            found.whole.append((bag, (about.st_size, about.st_mtime_ns, about.st_ino)))
    except OSError as error:
        found.unread(Path(file), error)
    except (NotFinite, StoreDamaged) as error:
        found.add(Path(file), str(error).partition(". Set")[0])


def _digest(opened: int, *, is_bag: bool) -> tuple[int, str, bool]:
    """A file's size, its `rows.digest`, and whether its Embeddings are numbers.

    Block by block, in memory that stays in the processor's cache: whole files go to main memory and
    come back for each look. Most files are read by one call.
    """
    if not hasattr(_reused, "memory"):
        _reused.memory = memoryview(bytearray(BLOCK))
    memory = _reused.memory
    n, crc, tail, finite = 0, 0, b"", True
    got = os.readv(opened, (memory,))
    is_long = got == BLOCK
    n_bytes = os.fstat(opened).st_size if is_long else got
    while got:
        data = max(0, min(got, n_bytes - layout.CHECKSUM_BYTES - n))
        if data:
            block = np.frombuffer(memory, np.uint8, data)
            crc = google_crc32c.extend(crc, block)
            finite = finite and not (is_bag and rows.has_no_number(block[: data // 2 * 2]))
        tail += bytes(memory[data:got])
        n += got
        got = os.readv(opened, (memory,)) if is_long else 0
    return n, f"{crc:08x}{tail.hex()}", finite
