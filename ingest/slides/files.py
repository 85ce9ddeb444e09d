"""Which files are a Slide, and which Slide they are: find, list, fingerprint."""

import hashlib
import itertools
import os
import shlex
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import category

from featurestore.errors import ArchiveError, SlideUnreadable
from ingest.slides import dicom

SUFFIXES = dicom.SUFFIXES | {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide"}
SUFFIXES |= {".vms", ".vmu", ".czi"}
MIRAX_PARTS = (".ini", ".dat")
MIB = 2**20
NOT_TEXT = "has a name, or lies in a folder, that is not UTF-8 or has control characters: rename it"
FOLDER = "is a folder"
DEVICES = {stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
PIPES = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
ODD = {kind: f"is a {name}, expected a file" for kind, name in (DEVICES | PIPES).items()}


@dataclass(frozen=True, kw_only=True)
class FoundSlide:
    """One Slide of a listing."""

    path: Path  # absolute, links kept: a file, or the folder of the one DICOM series in it
    name: str  # its slide_id, unless a manifest says another
    series: str = ""  # SeriesInstanceUID, of a DICOM series
    instances: frozenset[str] = frozenset()  # SOPInstanceUIDs, of a DICOM series


Refusal = tuple[Path, str]  # what is named like a Slide, or may hold some, and why it is none


def as_given(path: Path) -> Path:
    """The path made absolute: links stay, and `..` goes where that leads to the same file."""
    short = Path(os.path.abspath(path))  # noqa: PTH100 (resolve follows links)
    try:
        return short if ".." not in path.parts or short.samefile(path) else path.absolute()
    except OSError:
        return short


def find_slides(source: Path) -> tuple[list[FoundSlide], dict[str, str]]:
    """List the one Slide of a path, or those under a folder, opening no files but DICOM's.

    Linked folders are followed. Each folder is listed once, under its own path rather than a
    link's: so a loop ends, and a link beside it makes no second Slide of every file. A linked
    file is a Slide under the link's name. The data folder of a MIRAX slide is not entered.

    A DICOM series is named by its folder, where it is the only Slide right in there and no other
    Slide has that name, else by its SeriesInstanceUID.

    Returns:
        The Slides, and why what is named like one is none: a sentence by path. Both are sorted by
        absolute path, in which bytes that are no UTF-8 are written as \\xff.
    """
    source = as_given(source)
    why = _why_no_file(source) if _is_text(str(source)) else NOT_TEXT
    found: list[FoundSlide | Refusal] = [(source, why)]
    if why == FOLDER:
        found = list(_walk(source))
    elif not why:
        found = [FoundSlide(path=source, name=slide_name(source))]
    slides = [one for one in found if isinstance(one, FoundSlide)]
    torn = _torn_series(slides)
    times = Counter(slide.name for slide in slides)
    named = (replace(s, name=s.series) if s.series and times[s.name] > 1 else s for s in slides)
    refused = [one for one in found if not isinstance(one, FoundSlide)]
    kept = sorted((one for one in named if one.path not in torn), key=lambda one: str(one.path))
    return kept, dict(sorted(_told(path, why) for path, why in [*refused, *torn.items()]))


def _walk(source: Path) -> Iterator[FoundSlide | Refusal]:
    """What lies right in each folder, each once; those behind links come last."""
    seen: set[tuple[int, int]] = set()
    folders, linked = [source], list[Path]()
    while folders or linked:
        linked.sort(reverse=True)
        here = folders.pop() if folders else linked.pop()
        try:
            about = here.stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            if not _is_text(str(here)):
                yield here, NOT_TEXT
                continue
            inside = _scan(here)
            yield from list(_take(here, inside["files"]))
        except OSError as error:
            yield here, f"cannot be listed: {error.strerror}"
            continue
        yield from ((here / name, _why_no_file(here / name)) for name in inside["odd"])
        mirax = {name[:-5] for name in inside["files"] if name.lower().endswith(".mrxs")}
        folders += [here / name for name in inside["folders"] if name not in mirax]
        linked += [here / name for name in inside["linked"] if name not in mirax]


def _scan(here: Path) -> dict[str, list[str]]:
    """Names of files that are or may be part of a Slide, of what is odd, of folders and links."""
    inside: dict[str, list[str]] = {"files": [], "odd": [], "folders": [], "linked": []}
    with os.scandir(here) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = entry.name
            if name.startswith("."):
                continue
            try:  # only links are asked what they lead to
                if entry.is_dir():
                    inside["linked" if entry.is_symlink() else "folders"].append(name)
                elif dicom.suffix_of(name) in SUFFIXES or dicom.may_be_dicom(name):
                    inside["files" if entry.is_file() else "odd"].append(name)
            except OSError:  # a link to itself
                inside["odd"].append(name)
    return inside


def _take(here: Path, files: list[str]) -> Iterator[FoundSlide | Refusal]:
    plain = [name for name in files if dicom.suffix_of(name) in SUFFIXES - dicom.SUFFIXES]
    known = dicom.groups(here) if len(plain) < len(files) else {}
    series = _series(known)
    found = [FoundSlide(path=here / name, name=name[: name.rindex(".")]) for name in plain]
    is_alone = len(series) == 1 and here.name != ""
    for g in series:
        path, name = (here, here.name) if is_alone else (here / g.names[0], g.series)
        found.append(FoundSlide(path=path, name=name, series=g.series, instances=g.instances))
    yield from (one if _is_text(one.path.name) else (one.path, NOT_TEXT) for one in found)
    for group in {id(group): group for group in known.values() if group.reason}.values():
        more = f"(and {len(group.names) - 1} more of its series) " if group.names[1:] else ""
        yield here / group.names[0], more + group.reason


def _torn_series(slides: Iterable[FoundSlide]) -> dict[Path, str]:
    """Of series that lie in several folders, and are no copies: why they are no Slide yet."""
    places: dict[str, list[FoundSlide]] = {}
    for slide in slides:
        if slide.series:
            places.setdefault(slide.series, []).append(slide)
    torn = [parts for parts in places.values() if len({part.instances for part in parts}) > 1]
    return {
        part.path: f"holds a part of the DICOM series {part.series}, and "
        f"{parts[part is parts[0]].path} another: put all its files in one folder"
        for parts in torn
        for part in parts
    }


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8 without control characters: a catalog has no others."""
    return name.isprintable() or not any(category(letter) in ("Cc", "Cs") for letter in name)


def _told(path: Path, why: str) -> tuple[str, str]:
    shown = os.fsencode(path).decode("utf-8", "backslashreplace")
    shown = "".join(f"\\x{ord(c):02x}" if category(c) == "Cc" else c for c in shown)
    return shown, f"{shown.rpartition('/')[2]!r} {why}."


def require_no_slides(folder: Path) -> None:
    """Refuse to make a store where slides lie: it would close the folder to all but its owner."""
    if (folder / "ledger").is_dir():
        return
    for file in itertools.chain(folder.glob("*"), folder.glob("*/*")):
        if dicom.suffix_of(file.name) in SUFFIXES:
            store = shlex.quote(f"{folder.absolute()}-store")
            raise ArchiveError(
                f"{folder} holds slides ({file.relative_to(folder)}), expected a folder for the "
                f"store alone. Make it beside: trephine init --store {store}; then: trephine "
                f"ingest {shlex.quote(str(folder))} --store {store}"
            )


def slide_name(path: Path) -> str:
    """The slide_id of a path that comes without one, as `find_slides` names it."""
    try:
        if path.is_dir():
            return as_given(path).name
        here = as_given(path).parent
        known = dicom.groups(here) if dicom.may_be_dicom(path.name) else {}
        group = known.get(path.name)
        if group is None or group.reason:
            return path.stem
        return here.name if len(_series(known)) == 1 and here.name else group.series
    except OSError:
        return path.stem


def slide_files(path: Path) -> list[Path]:
    """All files of one Slide, the one to open first, the others by name.

    A MIRAX slide has its folder's, a VMS slide those that its text names, a DICOM series all of
    its folder with its SeriesInstanceUID.

    Raises:
        SlideUnreadable: the path is no file or series, or it is known to be no Slide.
        OSError: a folder of its files cannot be listed.
    """
    why = _why_no_file(path)
    if why == FOLDER:
        return [path / name for name in _only_series(path).names]
    if why:
        raise SlideUnreadable(f"slide {path.name!r} {why}.")
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        return [path, *_mirax_parts(path)]
    if suffix in (".vms", ".vmu"):
        return [path, *_named_in(path, path)]
    group = dicom.groups(path.parent).get(path.name) if dicom.may_be_dicom(path.name) else None
    if group is None:
        return [path]
    if group.reason:
        raise SlideUnreadable(f"slide {path.name!r} {group.reason}.")
    return [path.with_name(name) for name in group.names]


def _why_no_file(path: Path) -> str:
    """Why a path is no regular file, as the end of a sentence; empty where it is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            return f"is a link to {str(path.readlink())!r}, where nothing is"
        return f"is not there: {path} does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if stat.S_ISDIR(mode):
        return FOLDER
    return "" if stat.S_ISREG(mode) else ODD.get(stat.S_IFMT(mode), "is no file")


def _series(known: Mapping[str, dicom.Series]) -> list[dicom.Series]:
    """The groups of a folder that are Slides."""
    return [group for group in {id(g): g for g in known.values()}.values() if not group.reason]


def _only_series(folder: Path) -> dicom.Series:
    known = dicom.groups(folder)
    series = _series(known)
    if len(series) == 1:
        return series[0]
    if series:
        names = ", ".join(repr(group.names[0]) for group in series[:3])
        why = f"holds {len(series)} DICOM series; name one file of the one that is meant: {names}"
        why += ", ..." if len(series) > 3 else ""
    else:
        why = "is a folder without a DICOM slide; name a slide's file"
        why += "".join(f"; {name!r} {group.reason}" for name, group in [*known.items()][:1])
    raise SlideUnreadable(f"slide {folder.name!r} {why}.")


def _mirax_parts(file: Path) -> list[Path]:
    folder = file.with_suffix("")
    if not (folder / "Slidedat.ini").is_file():
        there = "holds no Slidedat.ini" if folder.is_dir() else "is not there"
        raise SlideUnreadable(
            f"slide {file.name!r} lacks a part: its folder {folder.name!r} {there}. Copy that "
            f"folder, with Slidedat.ini and all data files, to {folder}."
        )
    _named_in(file, folder / "Slidedat.ini")
    for part in folder.iterdir():
        if (why := _why_no_file(part)) not in ("", FOLDER):
            raise SlideUnreadable(f"slide {file.name!r}: its part {part.name!r} {why}.")
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in MIRAX_PARTS and p.is_file())


def _named_in(file: Path, text: Path) -> list[Path]:
    """The regular files beside a text that its lines `key=name` name; others are refused."""
    with text.open("rb") as stream:
        lines = stream.read(MIB).splitlines()
    beside, found = set(os.listdir(text.parent)), []  # noqa: PTH208 (a Path each is dear)
    for name in {os.fsdecode(line.partition(b"=")[2].strip()) for line in lines} - {text.name}:
        if name not in beside and "/" not in name:
            continue
        path = text.parent / name
        if os.path.isfile(path) and "/" not in name:  # noqa: PTH113 (a text may say anything)
            found.append(path)
        elif os.path.lexists(path) and not os.path.isdir(path):  # noqa: PTH112
            why = _why_no_file(path) or "lies elsewhere"
            raise SlideUnreadable(f"slide {file.name!r}: its part {name!r} {why}.")
    return sorted(found)


def file_stamp(path: Path) -> tuple[int, int]:
    """Size in bytes of all files of a Slide, and the newest modification time in nanoseconds."""
    stats = [file.stat() for file in slide_files(path)]
    return sum(about.st_size for about in stats), max(about.st_mtime_ns for about in stats)


def fingerprint(path: Path) -> str:
    """Thirty-two hex digits that name a slide's content without reading all of it.

    Over the size, the first and last MiB and 64 blocks of 64 KiB at fixed strides, of every file
    of the slide. A file under 6 MiB is covered whole.
    """
    whole = hashlib.blake2b(digest_size=16)
    try:
        for file in slide_files(path):
            whole.update(_file_digest(file))
    except OSError as error:
        raise SlideUnreadable(f"slide {path.name!r} cannot be read: {error.strerror}.") from None
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
