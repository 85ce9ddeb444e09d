"""Rows and arrays of made-up Slides, Cases and Labels, as the ledger takes them."""

from __future__ import annotations

from datetime import date

import numpy as np

from featurestore import arrays, catalog, layout
from featurestore.types import Tiling

ENCODER = {"name": "test", "weights": "random", "weights_hash": "0" * 32, "identity": {}}


def slide_arrays(
    key: str, n: int, dim: int = 8, encoder: str = "e" * 16, tiling: Tiling | None = None
) -> arrays.SlideArrays:
    rng = np.random.default_rng([n, dim])
    return arrays.SlideArrays(
        slide_key=key,
        attributes={"fingerprint": "f" * 32, "size_px0": [9000, 7000], "mpp": 0.5},
        thumbnail=rng.integers(0, 255, (20, 30, 3), np.uint8),
        tiling=tiling or Tiling(),
        coords=rng.integers(0, 9000, (n, 2)).astype(np.int32),
        scores={name: rng.random(n).astype(np.float16) for name in layout.SCORES},
        encoder_id=encoder,
        embeddings=rng.standard_normal((n, dim)).astype(np.float16),
        provenance={"encoder": ENCODER, "precision": "float32", "device": "cpu"},
    )


def case_row(case_id: str, patient_id: str) -> dict:
    return {
        "case_id": case_id,
        "patient_id": patient_id,
        "patient_made_up": False,
        "age_years": 50.0,
    }


def slide_row(slide_id: str, case_id: str, key: str, day: date = date(2020, 1, 1)) -> dict:
    return {
        "slide_id": slide_id,
        "case_id": case_id,
        "path": f"/gone/{slide_id}.svs",
        "size_bytes": 1,
        "mtime_ns": 1,
        "fingerprint": "f",
        "slide_key": key,
        "scanned_on": day,
        "mpp": 0.5,
        "ingested_at": catalog.now(),
    }


def label_row(case_id: str, value: float | None, **changes: object) -> dict:
    return {
        "label_id": f"{case_id}/{value}/{sorted(changes.items())}",
        "case_id": case_id,
        "target": "cellularity",
        "target_kind": "fraction",
        "target_low": 0.0,
        "target_high": 100.0,
        "value": value,
        "low": value,
        "high": value,
        "method": "rules",
        "status": "single",
        "recorded_at": catalog.now(),
    } | changes
