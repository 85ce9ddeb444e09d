"""Make the folders and the catalog of a store, or bring a torn or older one to this version."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from featurestore import arrays, catalog, checksums, folding, layout, ledger, workplaces
from featurestore.catalog_file import files_of, has_commit, is_store, log_of, make_beside, path_of
from featurestore.errors import ConfigError, StoreDamaged, TrephineError, writing


def make(root: Path, shared: bool) -> str:
    """Make what a store lacks, and say what an older one did; see `FeatureStore.create`."""
    is_new, had = not is_store(root), path_of(root).exists()
    if is_new:
        _must_be_empty(root)
    root.mkdir(parents=True, exist_ok=True)
    if is_new:
        with suppress(OSError):  # there may be no modes here
            root.chmod(layout.SHARED if shared else layout.PRIVATE)
    is_torn = had and recover(root)
    folders = [layout.slides_dir(root), layout.runs_dir(root), layout.tmp_dir(root)]
    folders += [layout.ledger_dir(root, kind) for kind in ledger.KINDS]
    for folder in folders:
        layout.make(folder)
    lacked = catalog.migrate(root)
    with catalog.reader(root) as con:
        is_old = con.execute("select 1 from ledger_files where digest is null limit 1").fetchall()
    if is_old:
        checksums.seal_old(layout.runs_dir(root))
    is_other = any(not name.startswith("views ") for name in lacked)
    folding.fold(root, published=None if is_other or is_old else ())
    if is_old:  # of a version without digests: what is made anew has them all
        with workplaces.alone(root):
            make_anew(root, keep=False)
    if is_new:
        with suppress(OSError):
            path_of(root).chmod(layout.rights(root)[1])
    elif shared:
        with writing(root):
            layout.share(root)
    if is_torn:
        return "Its catalog was torn by a process that was killed, and is made anew. "
    if is_new or not lacked:
        return ""
    if not had:
        return "Its catalog was gone, and is made anew. "
    names = " to ".join(dict.fromkeys((lacked[0], lacked[-1])))
    return f"It was of an earlier version, and is of this one now (migrated: {names}). "


def _must_be_empty(root: Path) -> None:
    """Refuse a folder of other things: a store's rights would close it to all but its owner.

    Empty folders of a call that was killed are none, and hidden files neither.
    """
    for file in root.rglob("*") if root.is_dir() else ():
        is_folder = file.is_dir() and file != path_of(root)
        if not is_folder and not file.relative_to(root).parts[0].startswith("."):
            raise ConfigError(
                f"{root} holds other files ({file.relative_to(root)}) and is no store, expected a "
                f"folder for the store alone. {make_beside(root)}"
            )


@contextmanager
def fresh(root: Path, only: Collection[str] | None = None) -> Iterator[catalog.Connection]:
    """A catalog in memory that is made anew of the store's own files.

    Of the ledger's files `only` those by kind and name, if they are given.
    """
    with catalog.new() as into:
        folding.fold(root, published=(), into=into, only=only)
        yield into[0]


def make_anew(root: Path, *, keep: bool = True, complete: bool = True) -> list[str]:
    """Replace the catalog by one made anew from ledger, arrays and Runs.

    The old one is set aside, or nothing is left of it without `keep`. A fold completes it, which
    who holds its lock asks for later.
    """
    tmp = layout.tmp_dir(root)
    with writing(root), TemporaryDirectory(dir=tmp, ignore_cleanup_errors=True) as made:
        work = Path(made)
        with catalog.new(path_of(work)) as into:
            folding.fold(root, published=(), into=into)
        old, mended = files_of(root), list[str]()
        if keep:
            mended = [f"{file.name} is in {arrays.quarantine(root, file)}" for file in old]
        new = path_of(work)
        with suppress(OSError):
            new.chmod(layout.rights(root)[1])
        for file in old[1:] if not keep else ():  # before another process can have one like it
            workplaces.remove(file)
        new.rename(path_of(root))
    if complete:
        folding.fold(root)
    return [*mended, f"{layout.CATALOG} was made anew"]


def recover(root: Path) -> str:
    """Make a catalog anew that a process tore which was killed while it wrote; say so.

    DuckDB writes into blocks that it uses. SIGKILL can end such a write in the middle (seen in one
    of 120 commits), and then nobody opens the file again. Its log tells this from other damage.
    """
    try:
        if not _is_torn(root):
            return ""
        with workplaces.alone(root):
            if not _is_torn(root):  # another process was faster
                return ""
            make_anew(root)
    except TrephineError:  # somebody is at work, or this user may not write: told by what follows
        return ""
    return (
        "note: a process was killed while it wrote the catalog, which was made anew from the "
        f"ledger; what it left is in {layout.quarantine_dir(root)}\n"
    )


def _is_torn(root: Path) -> bool:
    try:
        with catalog.reader(root, any_hand=True, timeout_s=0):
            return False
    except StoreDamaged:
        return has_commit(log_of(path_of(root)))
