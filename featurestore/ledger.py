"""Append-only files of what people and models said; the catalog is a fold of them."""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from featurestore import layout
from featurestore.errors import writing

_UTC = pl.Datetime("us")
_TEXT, _REAL, _INT, _DAY, _FLAG = pl.String, pl.Float64, pl.Int64, pl.Date, pl.Boolean

SCHEMAS: dict[str, dict[str, Any]] = {
    "slides": {
        "slide_id": _TEXT,
        "case_id": _TEXT,
        "path": _TEXT,
        "size_bytes": _INT,
        "mtime_ns": _INT,
        "fingerprint": _TEXT,
        "slide_key": _TEXT,
        "scanned_on": _DAY,
        "specimen": _TEXT,
        "stain": _TEXT,
        "scanner": _TEXT,
        "reader": _TEXT,
        "width_px0": _INT,
        "height_px0": _INT,
        "mpp": _REAL,
        "mpp_given": _REAL,
        "tissue_mm2": _REAL,
        "blurred_share": _REAL,
        "pen_share": _REAL,
        "black_share": _REAL,
        "extra": _TEXT,
        "ingested_at": _UTC,
    },
    "cases": {
        "case_id": _TEXT,
        "patient_id": _TEXT,
        "patient_made_up": _FLAG,
        "age_years": _REAL,
    },
    "reports": {
        "case_id": _TEXT,
        "report_hash": _TEXT,
        "reported_on": _DAY,
        "seen_at": _UTC,
    },
    "labels": {
        "label_id": _TEXT,
        "case_id": _TEXT,
        "target": _TEXT,
        "target_kind": _TEXT,
        "target_low": _REAL,
        "target_high": _REAL,
        "value": _REAL,
        "low": _REAL,
        "high": _REAL,
        "qualifier": _TEXT,
        "method": _TEXT,
        "status": _TEXT,
        "evidence": _TEXT,
        "report_hash": _TEXT,
        "rule": _TEXT,
        "model_digest": _TEXT,
        "prompt_hash": _TEXT,
        "recorded_at": _UTC,
    },
    "cohorts": {
        "cohort": _TEXT,
        "cohort_id": _TEXT,
        "target": _TEXT,
        "query": _TEXT,
        "parameters": _TEXT,
        "split_method": _TEXT,
        "options": _TEXT,
        "dropped": _TEXT,
        "created_at": _UTC,
        "slide_id": _TEXT,
        "slide_key": _TEXT,
        "case_id": _TEXT,
        "patient_id": _TEXT,
        "dated": _DAY,
        "split": _TEXT,
        "value": _REAL,
        "low": _REAL,
        "high": _REAL,
    },
    "failures": {
        "item": _TEXT,
        "stage": _TEXT,
        "reason": _TEXT,
        "slide_id": _TEXT,
        "mended": _FLAG,
        "seen_at": _UTC,
    },
    "ingest_times": {
        "slide_key": _TEXT,
        "tiling_id": _TEXT,
        "encoder_id": _TEXT,
        "stage": _TEXT,
        "seconds": _REAL,
        "bytes": _INT,
        "tiles": _INT,
        "device": _TEXT,
        "measured_at": _UTC,
    },
    "golden_tiles": {
        "encoder_id": _TEXT,
        "vector": pl.List(pl.Float32),
        "precision": _TEXT,
        "device": _TEXT,
        "kept_at": _UTC,
    },
}


def append(root: Path, kind: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write one file of rows, whole or not at all; its name sorts by time.

    Missing columns are null; unknown columns are an error of the caller.
    """
    schema = SCHEMAS[kind]
    unknown = sorted({key for row in rows for key in row} - set(schema))
    if unknown:
        raise KeyError(f"ledger {kind!r} has no columns {unknown}")
    columns = {name: [row.get(name) for row in rows] for name in schema}
    frame = pl.DataFrame(columns, schema=schema, strict=True)
    folder = layout.ledger_dir(root, kind)
    name = f"{time.time_ns() // 1000:017d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.parquet"
    work = layout.tmp_dir(root) / name
    buffer = io.BytesIO()  # a full disk is then an OSError, not one of polars
    frame.write_parquet(buffer)
    with writing(root):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with work.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            return work.rename(folder / name)
        finally:
            work.unlink(missing_ok=True)


def files(root: Path, kind: str) -> list[Path]:
    """List the files of a kind, oldest first."""
    return sorted(layout.ledger_dir(root, kind).glob("*.parquet"))


def read(root: Path, kind: str, but: Collection[str] = ()) -> pl.DataFrame:
    """Read all rows of a kind in the order said, leaving out the files with the given names."""
    found = [pl.read_parquet(file) for file in files(root, kind) if file.name not in but]
    return pl.concat([pl.DataFrame(schema=SCHEMAS[kind]), *found])
