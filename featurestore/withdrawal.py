"""Take Slides, Cases, Patients, Cohorts and Runs out of a store by tombstone; erase the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import polars as pl

from featurestore import catalog, folding, layout, ledger
from featurestore.errors import CohortError, ConfigError, StoreDamaged, writing
from featurestore.kept import Tombstone, TombstoneKind, Withdrawn

OF_A_SLIDE: dict[TombstoneKind, str] = {
    "patient": "patient_id",
    "case": "case_id",
    "slide": "slide_id",
}


def withdraw(root: Path, kind: TombstoneKind | None, name: str, erase: bool) -> Withdrawn:
    """Take a thing out; see `FeatureStore.withdraw`."""
    told: list[Withdrawn] = []

    def act(con: catalog.Connection) -> list[Tombstone]:
        stones = _stones(con, kind, name, erase)
        told.append(_had(con, stones, erase))
        return stones

    folding.fold(root, act=act, published=())
    if erase:
        scrub(root)
    return told[0]


def _stones(
    con: catalog.Connection, kind: TombstoneKind | None, name: str, erase: bool
) -> list[Tombstone]:
    if kind in ("cohort", "run"):
        table, column = f"{kind}s", "cohort" if kind == "cohort" else "run_id"
        if not con.execute(f"select 1 from {table} where {column} = ?", [name]).fetchall():
            raise ConfigError(
                f"{kind} {name!r} is not in the store. See them with: trephine status"
            )
        own = con.execute("select run_id from runs where cohort = ? order by 1", [name]).fetchall()
        if kind == "cohort" and own:  # else its name, used again, would be another Cohort to them
            raise CohortError(
                f"cohort {name!r} has {len(own)} runs, which would lose what they learnt from. "
                f"Delete them first: trephine runs delete {own[0][0]}"
            )
        return [Tombstone(kind=kind, name=name, erase=erase)]
    rows = catalog.frame_of_query(con, "queries/withdrawal", {"name": name})
    meant = [one for one in OF_A_SLIDE if kind in (one, None)]
    found = {one: rows.filter(pl.col(OF_A_SLIDE[one]) == name) for one in meant}
    found = {one: slides for one, slides in found.items() if slides.height}
    if not found:
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


def _had(con: catalog.Connection, stones: Sequence[Tombstone], erase: bool) -> Withdrawn:
    """Which Cohorts and Runs had what these take out."""
    names: dict[str, list[str]] = {}
    for stone in stones:
        names.setdefault(stone.kind, []).append(stone.name)
    column = OF_A_SLIDE.get(stones[0].kind, stones[0].kind)
    cohorts = runs = []
    if column != "run":
        text = f"select distinct cohort from cohort_slides where {column} = ? order by cohort"
        cohorts = [row[0] for row in con.execute(text, [stones[0].name]).fetchall()]
        text = (
            "select run_id from runs where list_contains($cohorts, cohort) union"
            f" select run_id from predictions join cohort_slides using (slide_id)"
            f" where cohort_slides.{column} = $name order by run_id"
        )
        values = {"cohorts": cohorts, "name": stones[0].name}
        runs = [row[0] for row in con.execute(text, values).fetchall()]
    return Withdrawn(
        names=names,
        cohorts=[] if column == "cohort" else cohorts,
        runs=runs,
        erased=erase,
    )


def scrub(root: Path) -> None:
    """Remove from the disk what tombstones say is erased; again, where a process was killed."""
    with catalog.writer(root) as con, writing(root):
        stones = con.execute("select kind, name, slide_key from tombstones where erase").fetchall()
        names = {of: [n for kind, n, _ in stones if kind == of] for of in get_args(TombstoneKind)}
        for kind in ledger.KINDS.keys() - {"tombstones"}:
            for file in ledger.files(root, kind):
                _scrub_file(root, con, file, kind, names)
        used = {row[0] for row in con.execute("select slide_key from slides").fetchall()}
        gone = [layout.group_dir(root, key) for _, _, key in stones if key and key not in used]
        gone += [layout.runs_dir(root) / name for name in names["run"]]
        for folder in gone:
            if folder.exists():
                trash = folder.rename(layout.tmp_dir(root) / f"erased-{folder.name}")
                shutil.rmtree(trash)
    folding.fold(root, published=())


def _scrub_file(
    root: Path, con: catalog.Connection, file: Path, kind: str, names: dict[str, list[str]]
) -> None:
    """Write a ledger file again without the rows of the erased; the catalog forgets its name."""
    try:
        rows = ledger.read(file, kind)
    except StoreDamaged:
        return
    columns = {column: names[of] for of, column in OF_A_SLIDE.items() if column in rows.columns}
    bad = pl.any_horizontal(
        pl.lit(False), *(pl.col(column).is_in(some) for column, some in columns.items())
    )
    kept = rows.filter(~bad.fill_null(False))
    if kept.height == rows.height:
        return
    new = ledger.replace(root, file, kind, _told(rows, kept) if kind == "cohorts" else kept)
    if kind == "cohorts":  # what is said of them changed
        folding.forget(con, kind)
    else:
        text = "update ledger_files set name = ?, digest = ? where kind = ? and name = ?"
        con.execute(text, [new.name, ledger.digest_of(new), kind, file.name])


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
