"""Names that stand nowhere else, and stores with what they name."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from builders.catalog_rows import case_row, label_row, slide_arrays, slide_row
from builders.damage import publish_run

from featurestore import FeatureStore, compacting, layout, ledger, where_query
from featurestore.arrays import quarantine
from featurestore.config import SplitConfig
from featurestore.types import Failure, SeenReport

SECRET = {"slide": "slide-Qx7", "case": "case-Wv9", "patient": "patient-Zk3"}
RANDOM = SplitConfig(method="random")
EVIDENCE = "marrow with forty percent cells"


def slides_of(frame: pl.DataFrame) -> set[str]:
    return set(frame["slide_id"])


def rebuilt(store: FeatureStore) -> FeatureStore:
    (store.root / layout.CATALOG).unlink()
    return FeatureStore.create(store.root)


def six_slides(root: Path) -> FeatureStore:
    """Six Slides; the last three are of one Patient, two of them of one Case; a Cohort of all."""
    store = FeatureStore.create(root)
    places = {"S0": "0", "S1": "1", "S2": "2", "S3": "3", "S4": "3", "S5": "5"}
    patients = {"C5": "P3"}
    rows: list[object] = []
    for slide_id, case in places.items():
        key, case_id = f"{int(slide_id[1]):016x}", f"C{case}"
        store.publish(slide_arrays(key, 5))
        rows += [
            case_row(case_id, patients.get(case_id, f"P{case}")),
            slide_row(slide_id, case_id, key),
            SeenReport(case_id=case_id, report_hash=case_id),
            label_row(case_id, 40.0, evidence=EVIDENCE, report_hash=case_id),
        ]
    store.record(rows)
    store.create_cohort("before", where_query("true"), split=RANDOM)
    return store


def secret_store(root: Path) -> FeatureStore:
    """A Slide with names that stand nowhere else, in all that a store has; and two others."""
    store = FeatureStore.create(root)
    rows: list[object] = []
    for i, (slide, case, patient) in enumerate(
        [tuple(SECRET.values()), ("S1", "C1", "P1"), ("S2", "C2", "P2")]
    ):
        store.publish(slide_arrays(f"{i:016x}", 5))
        rows += [
            case_row(case, patient),
            slide_row(slide, case, f"{i:016x}", path=f"/archive/{slide}.svs"),
            SeenReport(case_id=case, report_hash=case),
            label_row(case, 40.0, evidence=f"evidence-{i}", report_hash=case),
            Failure(item=f"/archive/{slide}.svs", stage="read", reason=f"{slide} is torn"),
            Failure(item=f"report of case {case}", stage="label", reason="no answer"),
        ]
    store.record(rows)
    store.record(rows[6:])
    where = f"slide_id in ('{SECRET['slide']}', 'S1', 'S2')"
    store.create_cohort("all", where_query(where), split=RANDOM)
    publish_run(store, "r1", slide_id=SECRET["slide"])
    publish_run(store, "r2", slide_id="S1")
    compacting.compact(store.root, at_least=2)
    file = ledger.append(store.root, [label_row(SECRET["case"], 2.0)])[0]
    quarantine(store.root, file)
    quarantine(store.root, store.root / "catalog.duckdb")
    FeatureStore.create(store.root)
    return store


def places_of(root: Path, words: set[str]) -> list[str]:
    """Files in which a word stands, as bytes or as a value that is packed."""
    found = []
    for file in (path for path in root.rglob("*") if path.is_file()):
        raw = file.read_bytes()
        if file.suffix == ".parquet":
            raw += str(pl.read_parquet(file).rows()).encode()
        found += [f"{file.name}: {word}" for word in words if word.encode() in raw]
    return found
