"""Take Slides, Cases, Patients, Cohorts and Runs out of a store by tombstone; erase the rest."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import polars as pl

from featurestore import catalog, creation, folding, layout, ledger, workplaces
from featurestore.bookkeeping import (
    COHORT_TEXTS,
    OF_SLIDES,
    Gone,
    Tombstone,
    TombstoneKind,
    Withdrawn,
    hidden,
    words_of,
)
from featurestore.checksums import SEAL, erase_predictions, run_id_of
from featurestore.errors import (
    CohortError,
    CohortNotFound,
    ConfigError,
    StoreDamaged,
    TrephineError,
    writing,
)
from featurestore.groups import GROUP
from featurestore.words import counted

OF_A_RUN = ("run.json", "predictions.parquet", "weights.safetensors", SEAL)
OF_A_SLIDE: dict[TombstoneKind, str] = {kind: f"{kind}_id" for kind in reversed(OF_SLIDES)}


def withdraw(
    root: Path, name: str | Sequence[str], kind: TombstoneKind | None = None, *, erase: bool = False
) -> Withdrawn:
    """Take a Slide, Case, Patient, Cohort or Run out of all that comes later, by a tombstone.

    What is ingested of it later is out, too; the name of a Cohort is free again.

    Args:
        root: the store.
        name: its id, or the Cohort's name; of a Run, also the beginning of its id, or `latest`;
            several Cohorts or Runs go together, or none of them.
        kind: what it is; left out, the Slide, Case or Patient of that id.
        erase: also remove its arrays, Labels and ledger rows for good; of a Run, its folder.

    Raises:
        ConfigError: the store has none, or several that differ.
    """
    told, names = list[Withdrawn](), [name] if isinstance(name, str) else [*name]

    def act(con: catalog.Connection) -> list[Tombstone]:
        each = (stone for one in names for stone in _stones(con, kind, one, erase))
        stones = [*{(stone.kind, stone.name): stone for stone in each}.values()]
        if not stones:  # an erasure that was killed goes on
            told.append(Withdrawn(names={kind or "name": names}, cohorts=(), runs=(), erased=True))
            return []
        text = "select 1 from tombstones where kind = ? and name = ?"
        about = [stones[0].kind, stones[0].name]
        before = not erase and about[0] in OF_A_SLIDE and bool(con.execute(text, about).fetchall())
        told.append(replace(_had(con, stones, erase), before=before))
        if not erase:
            return [] if before else stones
        return [
            replace(one, name=hidden(one.name)) if one.kind in OF_A_SLIDE else one for one in stones
        ]

    if not erase:
        folding.fold(root, act=act, published=())
        return told[0]
    mark = begun(root)
    with workplaces.alone(root):
        is_new = not mark.exists()
        with writing(root):
            mark.write_text(json.dumps([kind, *names]))
        try:
            folding.fold(root, act=act, published=())
        except TrephineError:
            if is_new:  # nothing was begun
                mark.unlink(missing_ok=True)
            raise
        said = finish(root)[1:]
    return replace(told[0], also=said)


def begun(root: Path) -> Path:
    """Stands there while an erasure is on its way, with kind and names of what is to be erased.

    Its end is that the catalog is made anew.
    """
    return layout.tmp_dir(root) / "erasing"


def finish(root: Path) -> list[str]:
    """Erase for good what tombstones say, also in the catalog; what was done, in sentences.

    The writer's lock is held from the first file to the new catalog, and the caller is `alone`.
    Whoever is killed on the way leaves `begun`, and the next call does the rest.
    """
    folding.fold(root, published=())
    with catalog.locked(root) as (con, _):
        stones = con.execute("select kind, name, slide_key from tombstones where erase").fetchall()
        lost = _never_begun(begun(root), {(kind, name) for kind, name, _ in stones})
        used = {row[0] for row in con.execute("select slide_key from slides").fetchall()}
        was_begun = begun(root).exists()
        if not stones and not was_begun:
            return []
        begun(root).touch()
        found, deleted = scrub(root, stones, used)
        is_any = found or (was_begun and not lost)
        if is_any:
            creation.make_anew(root, keep=False, complete=False)
        begun(root).unlink()
    if not is_any:
        return lost
    folding.fold(root)
    files = f"{counted(len(deleted), 'file')} of quarantine/ deleted: {', '.join(deleted)}"
    return ["what was erased is gone", *([files] if deleted else []), *lost]


def _never_begun(mark: Path, stones: Set[tuple[str, str]]) -> list[str]:
    """What an erasure was given that was killed before its tombstone, in a sentence."""
    try:
        kind, *names = json.loads(mark.read_text())
    except (OSError, ValueError, TypeError):
        return []
    kinds = [kind] if kind else list(OF_A_SLIDE)
    if Gone(stones).has((one, name) for one in kinds for name in names):
        return []
    verb = {"run": "runs delete", "cohort": "cohort delete"}.get(kind, "retire")
    said = " ".join(names)
    again = f"trephine {verb} {said} --erase"
    return [f"nothing of {said} was erased, for it was stopped before. Again: {again}"]


def _stones(
    con: catalog.Connection, kind: TombstoneKind | None, name: str, erase: bool
) -> list[Tombstone]:
    text = "select kind, name from tombstones where erase"
    gone = Gone(set(con.execute(text).fetchall() if erase else ()))  # an erasure may go on
    if kind in ("cohort", "run"):
        return _stones_of(con, kind, name, gone, erase)
    rows = catalog.frame_of_query(con, "queries/withdrawal", {"name": name})
    meant = [one for one in OF_A_SLIDE if kind in (one, None)]
    found = {one: rows.filter(pl.col(OF_A_SLIDE[one]) == name) for one in meant}
    found = {one: slides for one, slides in found.items() if slides.height}
    if not found:
        if gone.has((one, name) for one in meant):
            return []
        others = [of for of in OF_A_SLIDE if rows.filter(pl.col(OF_A_SLIDE[of]) == name).height]
        if others:
            raise ConfigError(f"{name!r} is no {kind}, but a {others[0]}: --kind {others[0]}")
        raise ConfigError(
            f"{name!r} is no slide, case or patient of the store. "
            "List them with: trephine sql 'select slide_id, case_id, patient_id from bags'"
        )
    if len({tuple(slides["slide_id"]) for slides in found.values()}) > 1:
        sizes = ", ".join(f"a {one} of {slides.height} slides" for one, slides in found.items())
        raise ConfigError(f"{name!r} is {sizes}. Say which with: --kind {' or '.join(found)}")
    widest = next(iter(found))
    slides = found[widest]
    if not erase:
        return [Tombstone(kind=widest, name=name)]
    stones = [Tombstone(kind=widest, name=name, erase=True)] if widest != "slide" else []
    if widest == "patient":
        stones += [Tombstone(kind="case", name=c, erase=True) for c in slides["case_id"].unique()]
    return stones + [
        Tombstone(kind="slide", name=slide_id, erase=True, slide_key=key)
        for slide_id, key in slides.select("slide_id", "slide_key").iter_rows()
    ]


def _stones_of(
    con: catalog.Connection, kind: Literal["cohort", "run"], name: str, gone: Gone, erase: bool
) -> list[Tombstone]:
    """That of a Cohort or a Run, which may be named by the beginning of its id, or `latest`."""
    if kind == "run":
        runs = con.execute("select run_id from runs order by sequence, started_at, run_id")
        known = [run_id for (run_id,) in runs.fetchall()]
        name = run_id_of([*(one for of, one in gone.names if of == kind), *known], name)
    elif con.execute("select 1 from cohorts where cohort = ?", [name]).fetchall():
        known = [name]
        own = con.execute("select run_id from runs where cohort = ? order by 1", [name]).fetchall()
        if own:  # else its name, used again, would be another Cohort to them
            raise CohortError(
                f"cohort {name!r} has {counted(len(own), 'run')}, which would lose what they "
                "learnt from. Delete them first: trephine runs delete "
                + " ".join(run_id for (run_id,) in own)
            )
    else:
        raise CohortNotFound.of(name)
    return [Tombstone(kind=kind, name=name, erase=erase)] if name in known else []


def _had(con: catalog.Connection, stones: Sequence[Tombstone], erase: bool) -> Withdrawn:
    """Which Cohorts and Runs had what these take out."""
    names: dict[str, list[str]] = {}
    for stone in stones:
        names.setdefault(stone.kind, []).append(stone.name)
    about = {"kind": stones[0].kind, "name": stones[0].name}
    had = catalog.frame_of_query(con, "queries/had", about).rows()
    cohorts, runs = ([name for of, name in had if of == kind] for kind in ("cohort", "run"))
    return Withdrawn(names=names, cohorts=cohorts, runs=runs, erased=erase)


# -- erasing ---------------------------------------------------------------------------------------


def scrub(
    root: Path, stones: Sequence[tuple[TombstoneKind, str, str | None]], used: Set[str]
) -> tuple[bool, list[str]]:
    """Remove from the disk what tombstones say is erased; say whether there was any of it.

    Also the files that were deleted in `quarantine/`, by their paths in the store.

    Also what a killed call left: names are found again by their hashes, and so the files that a
    name is found in come last. The caller holds the lock; `used` are slide_keys of what stays.
    """
    tmp = layout.tmp_dir(root)
    for left in (*tmp.glob("erased-*"), *workplaces.left_over(tmp)):
        workplaces.remove(left)
    keys = {key for _, _, key in stones if key} - used
    gone = [layout.group_dir(root, key) for key in keys]
    gone += [layout.runs_dir(root) / name for kind, name, _ in stones if kind == "run"]
    there = [folder for folder in gone if folder.exists()]
    for folder in there:
        shutil.rmtree(folder.rename(tmp / f"erased-{folder.name}"))
    erased = _Erased.of(root, {(kind, name) for kind, name, _ in stones})
    changed = [
        erase_predictions(folder, tmp, erased.ids["slide_id"])
        for folder in layout.runs_dir(root).glob("*")
    ]
    changed += [_scrub_file(root, kind, file, erased) for kind, file in reversed(_files(root))]
    deleted = _scrub_quarantine(root, keys) if stones else []
    return bool(there) or any(changed) or bool(deleted), deleted


def _files(root: Path) -> list[tuple[str, Path]]:
    """The files of the ledger by kind, the tombstones first."""
    return [(kind, file) for kind in ledger.KINDS for file in ledger.files(root, kind)]


@dataclass(frozen=True, kw_only=True)
class _Erased:
    """What must stand nowhere: ids by column, and every word that names one of them."""

    ids: Mapping[str, Set[str]]
    words: re.Pattern[str]

    @classmethod
    def of(cls, root: Path, stones: Set[tuple[str, str]]) -> _Erased:
        """Find the names that tombstones hide, and the paths of their Slides."""
        gone, paths = Gone(stones), set()
        ids: dict[str, set[str]] = {column: set() for column in OF_A_SLIDE.values()}
        if stones:
            for kind, file in _files(root):
                with suppress(StoreDamaged):
                    rows = ledger.read(file, kind)
                    if kind == "tombstones":  # of what was taken out before it was erased
                        plain = rows.filter(~pl.col("erase")).select("kind", "name").iter_rows()
                        for of, name in plain:
                            if of in OF_A_SLIDE and gone.has([(of, name)]):
                                ids[OF_A_SLIDE[of]].add(name)
                    for of, column in OF_A_SLIDE.items():
                        if column in rows.columns:
                            said = rows[column].drop_nulls().unique()
                            ids[column] |= {one for one in said if gone.has([(of, one)])}
                    if kind == "slides":
                        paths |= set(rows.filter(pl.col("slide_id").is_in(ids["slide_id"]))["path"])
        return cls(ids=ids, words=words_of(paths.union(*ids.values())))


def _scrub_file(root: Path, kind: str, file: Path, erased: _Erased) -> bool:
    """Write a ledger file again without the rows of the erased, at its place in the order.

    It is a compacted file then, whose rows say where they were: of whoever is killed before the old
    one is gone, every fold takes the rows of the new one.
    """
    try:
        rows = ledger.read(file, kind)
    except StoreDamaged:
        return False
    bad = pl.any_horizontal(
        pl.lit(False),
        *(pl.col(name).is_in(list(some)) for name, some in erased.ids.items() if name in rows),
    )
    if kind == "tombstones":
        bad = pl.any_horizontal(
            (pl.col("kind") == of) & pl.col("name").is_in(list(erased.ids[column]))
            for of, column in OF_A_SLIDE.items()
        )
        bad &= ~pl.col("erase")
    kept = rows.filter(~bad.fill_null(False))
    if kind == "failures":
        kept = kept.filter(~_named(kept, "item", erased) & ~_named(kept, "reason", erased))
    if kind == "cohorts":
        kept = _told(rows, kept) if kept.height < rows.height else kept
        for column in COHORT_TEXTS:
            if _named(kept, column, erased).any():
                texts = [erased.words.sub("erased", text) for text in kept[column]]
                kept = kept.with_columns(pl.Series(column, texts))
    if kept.equals(rows):
        return False
    if kept.height:
        ledger.write_instead(root, kind, [file], kept)
    file.unlink()
    return True


def _named(rows: pl.DataFrame, column: str, erased: _Erased) -> pl.Series:
    """Which texts name what is erased."""
    found = [bool(text and erased.words.search(text)) for text in rows[column]]
    return pl.Series(column, found, dtype=pl.Boolean)


def _scrub_quarantine(root: Path, keys: Set[str]) -> list[str]:
    """Remove what was set aside and is of the erased, or may be: files of ours alone."""
    room = layout.quarantine_dir(root)
    files = (path for path in sorted(room.rglob("*")) if not path.is_dir())
    gone = [path for path in files if _may_tell(room, path.relative_to(room).parts, keys)]
    for path in gone:
        path.unlink(missing_ok=True)
    return [path.relative_to(root).as_posix() for path in gone]


def _may_tell(room: Path, parts: Sequence[str], keys: Set[str]) -> bool:
    """Whether a file that was set aside is one of ours, and not of another Slide's arrays.

    A ledger file, catalog or Run may name anybody; a group under no slide_key is anybody's.
    """
    inner = parts[1:]
    if inner[:1] == ("slides",) and len(inner) > 2:
        group = Path(inner[1])
        is_mine = group.stem in keys or (
            not GROUP.fullmatch(group.name) and layout.is_group(room.joinpath(*parts[:3]))
        )
        return is_mine and (inner[-1] == "zarr.json" or "c" in inner[2:-1])
    if inner[:1] == ("ledger",):
        return ledger.sequence_of(inner[-1]) > 0
    if inner[:1] == ("runs",):
        return len(inner) > 2 and inner[-1] in {*OF_A_RUN, *_sealed(room.joinpath(*parts[:3]))}
    return len(inner) > 0 and inner[0].startswith(layout.CATALOG)


def _sealed(run: Path) -> list[str]:
    """Names of the files that a Run's seal is over."""
    try:
        lines = (run / SEAL).read_text(errors="replace").splitlines()
    except OSError:
        return []
    return [line.partition("  ")[2] for line in lines]


def _told(rows: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Say in the rows of a Cohort that are left how many were erased."""
    for cohort, before in rows.group_by("cohort").len().iter_rows():
        own = pl.col("cohort") == cohort
        n = before - kept.filter(own).height
        if n and before > n:
            dropped = json.loads(kept.filter(own)["dropped"][0])
            dropped["erased"] = dropped.get("erased", 0) + n
            text = pl.lit(json.dumps(dropped))
            kept = kept.with_columns(dropped=pl.when(own).then(text).otherwise(pl.col("dropped")))
    return kept
