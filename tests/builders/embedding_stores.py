"""Stores of ready Embeddings, without any slide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

from featurestore import arrays, ledger
from featurestore.cohorts import SplitConfig
from featurestore.store import FeatureStore
from featurestore.types import Tiling, content_id

# The sizes where bugs live, for bags of 16 and of 256.
SIZES = [1, 15, 16, 17, 255, 256, 257, 3_000]

ENCODER = {
    "name": "planted",
    "weights": "file: planted.safetensors",
    "weights_hash": "0" * 32,
    "identity": {"architecture": "planted"},
}


def build(
    root: Path,
    embeddings: Iterable[np.ndarray],
    values: Sequence[float | None],
    *,
    patients: Sequence[str] | None = None,
    ranges: Sequence[tuple[float, float]] | None = None,
    target: tuple[str, str, float, float] = ("cellularity", "fraction", 0.0, 100.0),
    weights: str = ENCODER["weights"],
    publish: Callable[[Path, arrays.SlideArrays], None] = arrays.publish,
) -> FeatureStore:
    """Make a store with one Slide, Case and Report a row; dates rise by a week."""
    store = FeatureStore.create(root)
    tiling = Tiling()
    slides, cases, reports, labels = [], [], [], []
    start = datetime(2020, 1, 1)
    for i, (x, value) in enumerate(zip(embeddings, values, strict=True)):
        slide_key = content_id(["slide", i])
        n, rng = len(x), np.random.default_rng(i)
        publish(
            root,
            arrays.SlideArrays(
                slide_key=slide_key,
                attributes={"fingerprint": slide_key, "size_px0": [9_000, 4_000], "mpp": 0.5},
                thumbnail=np.full((60, 140, 3), (214, 150, 190), np.uint8),
                tiling=tiling,
                coords=np.stack([np.arange(n) * 896, np.zeros(n)], axis=1).astype(np.int32),
                scores={
                    "tissue": rng.uniform(0, 1, n),
                    "blur": rng.uniform(0, 1, n),
                    "pen": np.zeros(n),
                },
                encoder_id=content_id(weights),
                embeddings=x,
                provenance={"encoder": ENCODER | {"weights": weights}, "precision": "float32"},
            ),
        )
        day = date(2020, 1, 1) + timedelta(days=7 * i)
        slides.append(
            {
                "slide_id": f"S-{i:04}",
                "case_id": f"C-{i:04}",
                "path": f"/gone/{i}.svs",
                "size_bytes": 1,
                "mtime_ns": 1,
                "fingerprint": slide_key,
                "slide_key": slide_key,
                "scanned_on": day,
                "specimen": "core",
                "scanner": ("Aperio AT2", "Aperio GT 450")[i % 2],
                "width_px0": 9_000,
                "height_px0": 4_000,
                "mpp": 0.5,
                "ingested_at": start,
            }
        )
        patient = patients[i] if patients is not None else f"P-{i:04}"
        cases.append(
            {"case_id": f"C-{i:04}", "patient_id": patient, "patient_made_up": False}
            | {"age_years": 20.0 + i % 60}
        )
        report = {"case_id": f"C-{i:04}", "report_hash": content_id(["report", i], 32)}
        reports.append(report | {"reported_on": day, "seen_at": start})
        if value is not None:
            low, high = ranges[i] if ranges is not None else (value, value)
            labels.append(
                {
                    "label_id": content_id(["label", i]),
                    "case_id": f"C-{i:04}",
                    "target": target[0],
                    "target_kind": target[1],
                    "target_low": target[2],
                    "target_high": target[3],
                    "value": float(value),
                    "low": float(low),
                    "high": float(high),
                    "method": "human",
                    "status": "single",
                    "recorded_at": start,
                }
            )
    for kind, rows in (("slides", slides), ("cases", cases), ("reports", reports)):
        ledger.append(root, kind, rows)
    store.record("labels", labels)
    return store


def freeze(
    store: FeatureStore,
    name: str = "all",
    method: str = "time",
    target: str = "cellularity",
    split: Mapping[str, str] | None = None,
) -> str:
    """Make a Cohort of every Slide with a Label; `split` names the side of each slide_id."""
    query = "select slide_id, specimen from bags"
    config = (
        SplitConfig(method="table", table=split) if split else SplitConfig(method=method)  # type: ignore[arg-type]
    )
    store.create_cohort(name, query, split=config, target=target)
    return name


def planted(
    n_slides: int,
    n_tiles: int | Sequence[int] = 40,
    dim: int = 16,
    noise: float = 1.0,
    seed: int = 0,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Embeddings whose mean along one direction gives the label, 5 to 95."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(5, 95, n_slides)
    direction = rng.normal(size=dim)
    direction /= np.linalg.norm(direction)
    counts = [n_tiles] * n_slides if isinstance(n_tiles, int) else n_tiles
    x = [
        (rng.normal(0, noise, (n, dim)) + np.outer(np.full(n, (v - 50) / 15), direction)).astype(
            np.float16
        )
        for n, v in zip(counts, values, strict=True)
    ]
    return x, values
