"""Set aside what `verify` finds broken, and make the catalog anew; nothing is deleted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import fields, replace
from pathlib import Path

import polars as pl

from featurestore import (
    arrays,
    catalog,
    compacting,
    creation,
    folding,
    layout,
    ledger,
    withdrawal,
    workplaces,
)
from featurestore.bookkeeping import Published
from featurestore.catalog_file import is_store, must_be_readable, nowhere
from featurestore.errors import StoreDamaged, StoreNotFound, StoreVersionMismatch
from featurestore.fields import from_json
from featurestore.groups import REPAIR, Finding, Survey, Verified
from featurestore.salvage import is_anothers, salvage
from featurestore.types import EncoderDescription, Progress, silent
from featurestore.verify import ADOPT, REBUILD, remember, survey, told_arrays
from featurestore.words import counted


def verify(
    root: Path, *, repair: bool = False, rebuild: bool = False, progress: Progress = silent
) -> Verified:
    """Read every byte of a store, and tell all that is not as it was written.

    `repair` sets what is broken aside: the next ingest embeds its Slides again. `rebuild` makes the
    catalog anew from ledger, arrays and Runs first.

    Raises:
        StoreNotFound: there is none at `root`; its catalog may be gone.
        StoreDamaged: one of its folders is a file.
        StoreForbidden, StoreUnwritable: this user may not read it, or not mend it.
        StoreVersionMismatch: its catalog is of another version, and is not made anew.
    """
    opens = _opens(root)
    if not (is_store(root) or opens):
        raise StoreNotFound(nowhere(root))
    must_be_readable(root)
    for folder in (layout.slides_dir(root), layout.runs_dir(root), layout.tmp_dir(root)):
        if folder.exists() and not folder.is_dir():
            raise StoreDamaged(f"{folder} is no folder. Move it away, then: {REPAIR}")
        if repair or rebuild:
            layout.make(folder)
    if not rebuild and isinstance(opens, StoreVersionMismatch):
        raise opens
    with workplaces.alone(root) if repair or rebuild else nullcontext():
        return _verify(root, repair, rebuild, progress)


def _verify(root: Path, repair: bool, rebuild: bool, progress: Progress) -> Verified:
    """The same, while nobody else who repairs, rebuilds, compacts or erases is at work."""
    mended: list[str] = []
    if (repair or rebuild) and is_anothers(root):  # first: nothing of it belongs here
        mended, rebuild = creation.make_anew(root), False
    if (repair or rebuild) and withdrawal.begun(root).exists():
        with suppress(Exception):  # first: what it took out already is not lost
            mended += withdrawal.finish(root)
    saved = salvage(root) if repair or rebuild else Survey(root=root)
    mended += saved.mended
    if rebuild:
        mended += creation.make_anew(root)
    with suppress(Exception):  # whatever DuckDB makes of a broken catalog, which is told
        if repair:
            folding.fold(root)  # arrays that a killed or running call published are no strangers
        mended += withdrawal.finish(root) if repair else []
    found = survey(root, progress)
    seconds = found.seconds
    if repair and found.failures:
        mended += _repair(root, found.failures)
        found = survey(root, progress)
        seconds += found.seconds
    with suppress(Exception):  # whatever DuckDB makes of a broken catalog, which is told
        remember(root, found.whole)
        if repair:
            files = compacting.compact(root)
            mended += [f"{n:,} files of ledger/{kind} became one" for kind, n in files.items()]
    told = {one.name: getattr(found, one.name) for one in fields(Verified)}
    failures = [*saved.failures, *found.failures]
    return Verified(**told | {"seconds": seconds, "failures": failures, "mended": mended})


def _opens(root: Path) -> bool | StoreVersionMismatch:
    """Whether there is a catalog of ours; why not, if it is of another version.

    It may be all that is left of a store. Another fault of it is told later.
    """
    try:
        with catalog.reader(root, any_hand=True):
            return True
    except StoreVersionMismatch as error:
        return error
    except Exception:  # whatever DuckDB makes of another's file
        return False


def _repair(root: Path, findings: Sequence[Finding]) -> list[str]:
    mended: list[str] = []
    lost: set[Path] = set()
    for finding in findings:
        path = root / finding.path
        if path == withdrawal.begun(root):
            continue  # it goes on where it can
        if path.parent == layout.tmp_dir(root):
            workplaces.remove(path)
            mended.append(f"{finding.path} was removed")
            continue
        is_path = " " not in finding.path or os.path.lexists(path)
        if finding.mend != REPAIR or finding.path.startswith(layout.CATALOG) or not is_path:
            continue
        unit = path if finding.foreign else _unit(root, path)
        lost.add(unit)
        if unit.exists() or unit.is_symlink():
            mended.append(f"{finding.path} is in {arrays.quarantine(root, unit)}")
    gone = [
        replace(one, gone=True)
        for one in ledger.nouns_of(Published, told_arrays(root).filter(~pl.col("gone")))
        if lost & {array := layout.embedding_dir(root, *one.ids), *array.parents}
    ]
    if gone:
        ledger.append(root, gone)
        named = ({**vars(one), "name": one.encoder_name} for one in gone)
        made_by = Counter(from_json(EncoderDescription, one).again() for one in named)
        for how, n in made_by.items():
            mended.append(f"{counted(n, 'array')} will be taken in again by: {how}")
    of = layout.CATALOG, "ledger/", "runs/"  # what is gone of arrays is one more word to fold
    mends = REPAIR, REBUILD, ADOPT
    if any(one.path.startswith(of) and one.mend.startswith(mends) for one in findings):
        return mended + creation.make_anew(root)
    folding.fold(root)
    return mended


def _unit(root: Path, path: Path) -> Path:
    """The smallest folder that can be made again: an Encoder's array, a Tiling, a group, a Run."""
    inner = path.relative_to(root).parts
    if inner[0] == "runs":
        return root.joinpath(*inner[:2])
    if inner[0] != "slides" or len(inner) < 3:
        return path
    if len(inner) > 5 and inner[3] == "embeddings":
        return root.joinpath(*inner[:5])
    own_tiling = len(inner) > 3 and inner[2] != "thumbnail"
    return root.joinpath(*inner[:3]) if own_tiling else root.joinpath(*inner[:2])
