"""The errors of trephine: each says what was got, what was expected and what to do next."""

import errno
import os
import shlex
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

DISK = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EIO, errno.EFBIG)
NO_DAMAGE = "It is no damage"
PLACES = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)


class TrephineError(Exception):
    """Base of every error a user can cause or mend; the command line prints it and exits with 1."""


class ConfigError(TrephineError, ValueError):
    """An option or a configuration has a value that cannot work."""


class ArchiveError(TrephineError, ValueError):
    """A folder or manifest of slides cannot be understood."""


class SlideUnreadable(TrephineError):
    """A slide file cannot be opened or decoded."""


class SlideRefused(TrephineError):
    """A slide can be read but must not be tiled: no mpp, nonsense mpp, too coarse, wrong pixels."""


class SlideWithoutMpp(SlideRefused):
    """Neither the file nor the manifest says how many microns a pixel of a slide is wide."""


class EncoderUnavailable(TrephineError):
    """An encoder's weights cannot be found, loaded or trusted."""


class NotFinite(TrephineError):
    """Embeddings hold values that are no numbers, so that nothing can be learnt from them."""


class ReportError(TrephineError, ValueError):
    """A file of reports cannot be understood."""


class LabelError(TrephineError, ValueError):
    """A label table or a label value cannot be understood."""


class OllamaError(TrephineError):
    """The language model server is missing, busy, or gave no usable answer."""


class FeaturesRefused(TrephineError):
    """A file of another tool's embeddings cannot be taken, or a Slide cannot be written as one."""


class StoreNotFound(TrephineError, LookupError):
    """There is no store at the given path."""


class StoreDamaged(TrephineError):
    """An array on disk is shorter, longer or other than its metadata says."""


class StoreUnwritable(TrephineError):
    """The store's disk is full, read-only or gone."""


class StoreForbidden(TrephineError):
    """The system does not let this user read what is in the store; nothing of it is damaged."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """The one sentence of it."""
        return cls(
            f"{path} may not be read: {os.strerror(errno.EACCES)}. {NO_DAMAGE}. Ask its owner "
            f"for the right, as with: chmod -R u+rwX,g+rX {shlex.quote(str(path))}"
        )


def unread(path: Path, error: Exception, mend: str = "") -> TrephineError:
    """What to say of a file of the store that the system does not give, or that is garbage."""
    if isinstance(error, PermissionError):
        return StoreForbidden.of(path)
    why = getattr(error, "strerror", None) or error
    return StoreDamaged(f"{path} cannot be read: {why}.{mend}")


class FileUnwritable(TrephineError):
    """A file for people cannot be written: its disk is full, read-only or gone."""


class StoreVersionMismatch(TrephineError):
    """The store was written by an older or newer version of the code."""


class CatalogBusy(TrephineError):
    """Another process holds the catalog's lock."""


class QueryRefused(TrephineError, ValueError):
    """A SQL text is not one plain SELECT, or fails, or takes too long."""


class SlideNotFound(TrephineError, LookupError):
    """The catalog has no slide with the given id."""


class CohortNotFound(TrephineError, LookupError):
    """The catalog has no cohort with the given name."""

    @classmethod
    def of(cls, name: str) -> Self:
        """The one sentence of it."""
        return cls(
            f"cohort {name!r} is not in the store. List its cohorts with: trephine cohort list"
        )


class CohortError(TrephineError, ValueError):
    """A cohort cannot be made or split as asked."""


class RunNotFound(TrephineError, LookupError):
    """The catalog has no run with the given id."""


class TrainError(TrephineError):
    """A cohort cannot be trained on as asked."""


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Tell a full or read-only disk in one sentence, as `StoreUnwritable`."""
    try:
        yield
    except OSError as error:
        raise StoreUnwritable(
            f"cannot write to the store {root}: {disk_fault(error) or error}. "
            "What is finished is kept; mend it and run the same command again."
        ) from error


@contextmanager
def reading(path: Path, error: type[TrephineError], expected: str) -> Iterator[None]:
    """Tell in one sentence, as `error`, why a file of a person cannot be read, and what to give."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path} does not exist. {expected}") from None
    except IsADirectoryError:
        raise error(f"{path} is a folder. {expected}") from None
    except OSError as fault:
        mend = "Ask its owner for the right" if isinstance(fault, PermissionError) else "Mend it"
        said = f"{path} cannot be read: {fault.strerror}. {mend}, or name another."
        raise error(said) from None


@contextmanager
def temporary() -> Iterator[None]:
    """Tell in one sentence where no folder takes temporary files, as `FileUnwritable`."""
    try:
        yield
    except OSError as error:
        raise FileUnwritable(
            f"no folder takes temporary files: {error.strerror}. "
            "Name one that has room: export TMPDIR=/path/of/a/folder"
        ) from error


def disk_fault(error: BaseException | None) -> str:
    """What a disk said, full, read-only or of a place that is none, where an error comes of that.

    Libraries that write files themselves tell it in words of their own.
    """
    word, by = _disk_word(error)
    return ": ".join(str(one) for one in (word, getattr(by, "filename", None)) if one)


def _disk_word(error: BaseException | None) -> tuple[str, BaseException | None]:
    """The system's words for a disk's fault, and the error that has them: itself or one behind."""
    while error is not None:
        told = error.errno if isinstance(error, OSError) else None
        for number in (*DISK, *PLACES):
            said = told is None and number in DISK and os.strerror(number) in str(error)
            if told == number or said:
                return os.strerror(number), error
        error = error.__cause__ or error.__context__
    return "", None


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Lend a new file beside `path`, which takes its place when it is whole: else `FileUnwritable`.

    The one way to write a file for people. What is no file (a pipe, a device) is written to as it
    is. A link stays a link.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            yield path
            return
        real = path.resolve()
        real.parent.mkdir(parents=True, exist_ok=True)
        work = real.with_name(f".{uuid.uuid4().hex[:12]}.part")
        try:
            yield work
            with work.open("rb") as file:
                os.fsync(file.fileno())
            if real.exists():
                shutil.copymode(real, work)
            work.replace(real)
        finally:
            work.unlink(missing_ok=True)
    except OSError as error:
        kept = ". The older file is as it was" if path.is_file() else ""
        said = _disk_word(error)[0] or error.strerror or error
        said = "its folder is a file" if isinstance(error, FileExistsError) else said
        raise FileUnwritable(f"cannot write {path}: {said}{kept}. Name another") from error
