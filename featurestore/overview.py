"""What is in a store, and everything known of one thing in it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from textwrap import fill, indent
from typing import TYPE_CHECKING, Any

import sql
from featurestore import layout, workplaces
from featurestore.bookkeeping import OF_CASE
from featurestore.errors import CohortNotFound, ConfigError, StoreDamaged
from featurestore.fields import from_json, to_json
from featurestore.frames import Rows, listed, table, terminal_width
from featurestore.ids import meant, named
from featurestore.types import EncoderDescription
from featurestore.words import Told, counted, size

if TYPE_CHECKING:
    import polars as pl

    from featurestore.reading import Readable
    from featurestore.store import FeatureStore

STALE = timedelta(days=7)  # an unfinished training that nobody went on with
SECTIONS: dict[str, dict[str, str]] = {
    "slide": {
        "slide": "from slide_overview where slide_id = $id",
        "embeddings": "select encoders.name as encoder, embeddings.* from slides"
        " join embeddings using (slide_key) join encoders using (encoder_id) where slide_id = $id",
        "labels": "select labels.* from slides join labels using (case_id) where slide_id = $id",
        "cohorts": "select cohort, split, value from cohort_slides where slide_id = $id",
        "predictions": "from predictions where slide_id = $id order by run_id",
        "failures": "from failures where slide_id = $id",
    },
    "case": {
        "case": "from cases where case_id = $id",
        "slides": "select slide_id, scanned_on, specimen, scanner, n_tiles, quality"
        " from slide_overview where case_id = $id order by slide_id",
        "reports": "from reports where case_id = $id",
        "labels": "from labels where case_id = $id",
        "best label": "from best_labels where case_id = $id",
        "cohorts": "select distinct cohort, split from cohort_slides where case_id = $id",
        "failures": f"from failures where item = '{OF_CASE}' || $id",
    },
    "patient": {
        "cases": "from cases where patient_id = $id order by case_id",
        "slides": "select slide_id, case_id, scanned_on, specimen, scanner, n_tiles, quality"
        " from slide_overview where patient_id = $id order by slide_id",
        "best labels": "select best_labels.* from cases join best_labels using (case_id)"
        " where patient_id = $id order by case_id",
        "cohorts": "select distinct cohort, split from cohort_slides where patient_id = $id",
    },
    "run": {"run": "from runs where run_id = $id", "metrics": sql.read("queries/run_metrics")},
}


def status(store: Readable) -> Told:
    """What is in the store, how large it is, and what to do next."""
    (found,) = store.named("queries/status").rows(named=True)
    root, rooms = store.root, ("slides", "ledger", "runs", "tmp")
    sizes = {name: folder_bytes(root / name) for name in rooms}
    sizes["catalog"] = folder_bytes(root / layout.CATALOG)
    stale = workplaces.unfinished(layout.tmp_dir(root), STALE)
    data = found | {"bytes": sizes, "unfinished": [path.name for path in stale]}
    lines = [f"store       {root}, {size(sum(sizes.values()))}"]
    lines += _said(found)
    if stale:
        old = f"over {STALE.days} days, {size(sum(map(folder_bytes, stale)))}"
        words = f"{counted(len(stale), 'training')} unfinished for {old}"
        lines.append(f"unfinished  {words}: {', '.join(data['unfinished'])}")
        lines.append("            Remove with: trephine clean")
    lines.append("on disk     " + ", ".join(f"{k} {size(v)}" for k, v in sizes.items()))
    return Told("\n".join([*lines, f"Next: {_next(found)}"]), data | {"next": _next(found)})


def made(store: FeatureStore) -> Told:
    """That a store was made, or what was done to an older one, and what to do next."""
    after = status(store).data["next"]
    data = {"store": str(store.root), "older": store.older.strip() or None, "next": after}
    return Told(f"The store is at {store.root}. {store.older}Next: {after}", data)


def _said(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"slides      {found['slides']:,} of {found['patients']:,} patients in "
        f"{found['cases']:,} cases; {found['slides_with_arrays']:,} embedded, "
        f"{found['slides_with_tiles']:,} with tiles"
    )
    if found["retired"]:
        yield f"retired     {found['retired']:,} of these slides are in nothing that comes later"
    for target, of in groupby(found["labels"], itemgetter("target")):
        methods = ", ".join(f"{one['n']:,} {one['method']}" for one in of)
        yield f"labels      {target}: {methods}"
    for one in found["encoders"]:
        about = f"{counted(one['slides'], 'slide')}, {counted(one['tiles'], 'tile')}"
        yield f"encoder     {one['name']} ({one['encoder_id']}): {about}"
    yield f"cohorts     {found['cohorts']:,}"
    yield f"runs        {found['runs']:,}"
    for one in found["failures"]:
        gave_up = f", {one['gave_up']:,} given up" if one["gave_up"] else ""
        yield f"failures    {one['n']:,} of stage {one['stage']}{gave_up}"


def _next(found: Mapping[str, Any]) -> str:
    imported = (from_json(EncoderDescription, one).again() for one in found["imported"] or ())
    again = "; ".join(dict.fromkeys(imported)) or "trephine import TOOL PATH"
    steps = (
        (not found["slides"], "trephine plan SLIDES"),
        (found["slides_to_embed"], "trephine ingest SLIDES"),
        (found["slides_to_import"], again),
        (not found["labels"], "trephine label REPORTS"),
        (not found["cohorts"], 'trephine cohort create all --where "cellularity is not null"'),
        (not found["runs"], "trephine train COHORT"),
        (True, "trephine report latest"),
    )
    return next(step for is_due, step in steps if is_due)


def clean(store: FeatureStore) -> Told:
    """Remove the unfinished trainings that `status` names."""
    stale = workplaces.unfinished(layout.tmp_dir(store.root), STALE)
    names, n_bytes = [path.name for path in stale], sum(map(folder_bytes, stale))
    for path in stale:
        shutil.rmtree(path)
    removed = f"{counted(len(names), 'unfinished training')} removed"
    words = f"{removed}, {size(n_bytes)}: {', '.join(names)}"
    none = f"no training is unfinished for over {STALE.days} days: nothing to remove"
    return Told(words if names else none, {"removed": names, "bytes": n_bytes})


def show(store: FeatureStore, word: str) -> Told:
    """Everything known of a Slide, Case, Patient, Cohort or Run, by its id or the start of it."""
    if word == "latest":
        word = store.run(word).run_id
    about = {"word": word, "kinds": " ".join([*SECTIONS, "cohort"])}
    things = store.named("queries/named_things", about).rows()
    names = meant(word, [(name,) for name, _ in things])
    found = [(kind, name) for name, kind in things if (name,) in names]
    if not found:
        raise ConfigError(
            f"no slide, case, patient, cohort or run is called {word!r}, or begins so. "
            "See what there is with: trephine status"
        )
    if len(found) > 1 and any(name != word for _, name in found):
        several = named([f"{kind} {name}" for kind, name in found])
        raise ConfigError(f"{word!r} is the beginning of several: {several}. Give a whole id.")
    told = {kind: shown(store, kind, name) for kind, name in found}
    if len(told) == 1:
        return told[found[0][0]]
    data = {kind: one.data for kind, one in told.items()}
    return Told("\n\n".join(one.words for one in told.values()), data)


def shown(store: FeatureStore, kind: str, name: str) -> Told:
    """Everything known of one thing of a kind."""
    if kind == "cohort":
        made, splits = store.cohort(name), store.splits(name)
        data = to_json(made) | {"splits": [to_json(side) for side in splits]}
        return Told(f"{made.text(splits)}\nNext: trephine train {name}", data)
    asked = {title: store.ask(text, {"id": name}) for title, text in SECTIONS[kind].items()}
    frames = {"retired": store.named("queries/retired", {"kind": kind, "id": name})} | {
        title: store.sound_runs(frame) if "run_id" in frame.columns else frame
        for title, frame in asked.items()
    }
    if kind == "run" and frames["run"].is_empty():
        raise StoreDamaged(
            f"run {name} is not what was written. Mend it with: trephine verify --repair"
        )
    words = "\n\n".join(_section(title, one) for title, one in frames.items() if one.height)
    return Told(words, {title: frame.rows(named=True) for title, frame in frames.items()})


def _section(title: str, frame: pl.DataFrame) -> str:
    width = terminal_width()
    if frame.height == 1:
        return f"{title}\n{indent(listed(frame, width and width - 2), '  ')}".rstrip()
    text, notes = table(frame, width)
    return "\n".join([f"{title}\n{text}".rstrip(), *notes])


def runs(store: FeatureStore, where: str) -> Rows:
    """The Runs that a condition fits; a table shows what any of them has."""
    frame = store.runs(where)
    shown = frame.columns[: frame.columns.index("ridge_auc") + 1]
    none = "There is no run yet. Next: trephine train COHORT"
    none = none if where == "true" else "No run is so. List all with: trephine runs"
    return Rows(
        frame,
        [none] if frame.is_empty() else [],
        columns=[one for one in shown if frame.is_empty() or frame[one].count()],
        objects=["config"],
    )


def must_have(store: Readable, kind: str, name: str) -> None:
    """Refuse the name of a Cohort or Run of which nothing is there, not even a tombstone."""
    if kind == "run":
        from featurestore.checksums import run_id_of  # slow to import

        deleted = "select name from tombstones where kind = 'run'"
        known = store.ask(f"select run_id as name from runs union {deleted}")
        run_id_of(known["name"].to_list(), name)
        return
    text = "select cohort as name from cohorts union select name from tombstones"
    if name not in store.ask(text)["name"]:
        raise CohortNotFound.of(name)


def relations(store: Readable) -> Told:
    """The tables and views that SQL may ask, each with what a row of it is, and its columns."""
    rows = store.named("queries/relations").rows(named=True)
    wide, margin = terminal_width() or sys.maxsize, " " * 4
    lines = []
    for one in rows:
        lines.append(f"{one['relation']}: a row is {one['one_row']}")
        names = ", ".join(one["columns"])
        lines.append(fill(names, wide, initial_indent=margin, subsequent_indent=margin))
    return Told("\n".join([*lines, 'Next: trephine sql "from slide_overview limit 5"']), rows)


def folder_bytes(path: Path) -> int:
    """Bytes of a file, or of all files of a folder; 0 where there is none."""
    there = (file for file in (path, *path.rglob("*")) if file.is_file())
    return sum(file.stat().st_size for file in there)
