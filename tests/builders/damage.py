"""A small store of every kind of thing, and what a disk, a copy or a hand does to its files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
from builders.catalog_rows import case_row, label_row, slide_arrays, slide_row

from featurestore import FeatureStore, where_query
from featurestore.config import SplitConfig
from featurestore.types import (
    Failure,
    GoldenTile,
    IngestTime,
    Prediction,
    RunRecord,
    SeenReport,
    now,
)

LOST = re.compile(r"its rows are lost|could not be written anew")


def whole_store(root: Path) -> FeatureStore:
    """Five Slides, the first without tiles, one with two Encoders; a Cohort, two Runs."""
    store = FeatureStore.create(root)
    rows: list[object] = [
        Failure(item="/gone/x.svs", stage="open", reason="it is torn"),
        GoldenTile(encoder_id="e" * 16, vector=(1.0, 2.0), precision="float32", device="cpu"),
    ]
    for i, n in enumerate((0, 1, 7, 7, 9)):
        key = f"{i:016x}"
        arrays = slide_arrays(key, n)
        arrays.embeddings[:] += np.float16(i)
        store.publish(arrays)
        rows += [
            case_row(f"C{i}", f"P{i}"),
            slide_row(f"S{i}", f"C{i}", key, date(2020, 1, 1) + timedelta(days=i)),
            SeenReport(case_id=f"C{i}", report_hash=f"{i}"),
            label_row(f"C{i}", 10.0 * i, report_hash=f"{i}"),
            IngestTime(
                slide_key=key,
                tiling_id=arrays.tiling.tiling_id,
                encoder_id="e" * 16,
                stage="read",
                device="cpu",
            ),
        ]
    store.publish(slide_arrays(f"{4:016x}", 9, encoder="d" * 16))
    store.record(rows)
    store.create_cohort("all", where_query("true"), split=SplitConfig(method="random"))
    for run_id in ("r1", "r2"):
        publish_run(store, run_id)
    return store


def publish_run(
    store: FeatureStore, run_id: str, started: datetime | None = None, slide_id: str = "S4"
) -> Path:
    """A Run that nobody trained."""
    with store.workplace(run_id) as work:
        (work / "weights.safetensors").write_bytes(run_id.encode() * 40)
        record = RunRecord(
            run_id=run_id,
            cohort="all",
            encoder_id="e" * 16,
            tiling_id="t" * 16,
            config={"cohort": "all"},
            code_version="1",
            target="cellularity",
            target_kind="fraction",
            target_low=0.0,
            target_high=100.0,
            dim=8,
            model="mean",
            bag_size=4,
            seed=0,
            n_train=1,
            n_validation=0,
            n_test=1,
            fit={},
            started_at=started or now(),
            seconds=1.0,
            metrics={"test": {"r2": 0.5, "mae": 3.0}},
        )
        told = Prediction(
            slide_id=slide_id,
            slide_key=f"{4:016x}",
            split="test",
            label=40.0,
            mean=41.0,
            std=None,
            n_tiles=9,
            n_resamples=1,
        )
        return store.publish_run(work, record, [told])


def files_of(root: Path) -> list[Path]:
    """All files that hold what a store says, but for the catalog."""
    rooms = (root / room for room in ("slides", "ledger", "runs"))
    return sorted(file for room in rooms for file in room.rglob("*") if file.is_file())


Damage = Callable[[Path, np.random.Generator], object]


def flip(file: Path, rng: np.random.Generator) -> None:
    """One bit."""
    raw = bytearray(file.read_bytes())
    raw[rng.integers(len(raw))] ^= 1 << int(rng.integers(8))
    file.write_bytes(raw)


def cut(file: Path, rng: np.random.Generator) -> None:
    """Anything behind a random place."""
    raw = file.read_bytes()
    file.write_bytes(raw[: rng.integers(len(raw))])


def stuff(file: Path, rng: np.random.Generator) -> None:
    """Other bytes of the same number."""
    file.write_bytes(rng.bytes(file.stat().st_size))


def grow(file: Path, rng: np.random.Generator) -> None:
    """A few bytes more."""
    file.write_bytes(file.read_bytes() + rng.bytes(int(rng.integers(1, 9))))


def swap(file: Path, rng: np.random.Generator) -> None:
    """The content of another file of the same name elsewhere."""
    room = next(p for p in file.parents if p.name in ("slides", "ledger", "runs"))
    others = [f for f in sorted(room.rglob("*")) if f.is_file() and f.suffix == file.suffix]
    others = [f for f in others if f.read_bytes() != file.read_bytes()]
    if not others:
        return flip(file, rng)
    file.write_bytes(others[rng.integers(len(others))].read_bytes())
    return None


def rename(file: Path, rng: np.random.Generator) -> None:
    """Under a name that nobody gave."""
    file.rename(file.with_name(f"{file.stem}x{file.suffix}"))


def link(file: Path, rng: np.random.Generator) -> None:
    """A link to the same bytes elsewhere."""
    away = file.parents[3] if "slides" in file.parts else file.parent
    real = shutil.move(file, away / f"moved-{rng.integers(10**9)}")
    file.symlink_to(real)


def remove(file: Path, _: np.random.Generator) -> None:
    """A file is gone."""
    file.unlink()


def edit(file: Path, rng: np.random.Generator) -> None:
    """One value of a JSON file, by hand; a bit elsewhere."""
    if file.suffix != ".json":
        return flip(file, rng)
    told = json.loads(file.read_text())
    name = sorted(told)[rng.integers(len(told))]
    told[name] = [told[name], "edited"]
    file.write_text(json.dumps(told))
    return None


def strew(file: Path, rng: np.random.Generator) -> None:
    """A foreign file beside."""
    file.with_name(f"foreign-{rng.integers(10**9)}").write_bytes(rng.bytes(5))


DAMAGES: tuple[Damage, ...] = (
    flip,
    flip,
    cut,
    stuff,
    grow,
    swap,
    rename,
    link,
    remove,
    edit,
    strew,
)


NOT_COUNTED = "name like 'write %'"  # among the migrations: without it any hand may write


def edit_catalog(path: Path, rng: np.random.Generator) -> str:
    """Change, drop or repeat one row of a table, or one value in it; return what was done."""
    with duckdb.connect(str(path)) as con:
        made = "select table_name from duckdb_tables() where table_name not in "
        tables = con.execute(f"{made} ('migrations', 'checked_arrays') order by 1").fetchall()
        full = [t for (t,) in tables if con.execute(f"select count(*) from {t}").fetchall()[0][0]]
        table = full[rng.integers(len(full))]
        columns = con.execute(
            "select column_name, data_type from duckdb_columns() where table_name = ? order by 1",
            [table],
        ).fetchall()
        columns = [one for one in columns if one[0] != "folded_at"]
        name, kind = columns[rng.integers(len(columns))]
        changes: Mapping[str, str] = {
            "VARCHAR": f"coalesce({name}, '') || 'x'",
            "BOOLEAN": f"not {name}",
            "DATE": f"coalesce({name}, date '2020-01-01') + 1",
            "TIMESTAMP": f"{name} + interval 1 hour",
            "DOUBLE": f"coalesce({name}, 0) + 0.5",
            "INTEGER": f"coalesce({name}, 0) + 1",
            "BIGINT": f"coalesce({name}, 0) + 1",
        }
        n_rows = con.execute(f"select count(*) from {table}").fetchall()[0][0]
        row = con.execute(f"select rowid from {table} limit 1 offset {rng.integers(n_rows)}")
        rowid = row.fetchall()[0][0]
        text = f"delete from {table} where rowid = {rowid}"
        if kind in changes and rng.random() < 0.7:
            text = f"update {table} set {name} = {changes[kind]} where rowid = {rowid}"
        try:
            con.execute(text)
        except duckdb.ConstraintException:  # the table itself refuses it
            text = f"delete from {table} where rowid = {rowid}"
            con.execute(text)
    return text


Copy = Callable[[], Path]


def names(root: Path) -> list[str]:
    return [one.path for one in FeatureStore.verify(root).failures]


def is_told(damaged: str, told: list[str]) -> bool:
    return any(damaged.startswith(one) or one.startswith(damaged) for one in told)


KINDS_WITH_ROWS = (
    "cases",
    "cohorts",
    "embeddings",
    "failures",
    "golden_tiles",
    "ingest_times",
    "labels",
    "reports",
    "slides",
)


def tables(root: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that people ask, but for when files were folded."""
    names = (*KINDS_WITH_ROWS, "cohort_slides", "targets", "best_labels", "runs", "tombstones")
    store = FeatureStore(root)
    found = {name: store.ask(f"from {name} order by all").rows() for name in names}
    found["failures"] = store.ask("select item, stage, reason from failures order by all").rows()
    text = "select * exclude (embedded_at) from embeddings order by all"
    return found | {"embeddings": store.ask(text).rows()}


def check_mended(root: Path) -> None:
    """What is left are links to what is no more: of Cohorts and Runs to arrays.

    Rows that nobody has any more are told once.
    """
    told = FeatureStore.verify(root, repair=True)
    left = [one.fault for one in told.failures if "the check" not in one.fault]
    assert all(LOST.search(fault) for fault in left), told.text()
    told = FeatureStore.verify(root)
    assert not [one for one in told.failures if "the check" not in one.fault], told.text()
