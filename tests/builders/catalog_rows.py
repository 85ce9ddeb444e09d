"""Rows and arrays of made-up Slides, Cases and Labels, as the ledger takes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np

from featurestore import SlideArrays, frame_of, ledger
from featurestore.types import SCORES, Case, FrozenSlide, RecordedLabel, Slide, Tiling

ENCODER = {"name": "test", "weights": "random", "weights_hash": "0" * 32, "identity": {}}


def slide_arrays(
    key: str, n: int, dim: int = 8, encoder: str = "e" * 16, tiling: Tiling | None = None
) -> SlideArrays:
    rng = np.random.default_rng([n, dim])
    return SlideArrays(
        slide_key=key,
        attributes={"fingerprint": "f" * 32, "size_px0": [9000, 7000], "mpp": 0.5},
        thumbnail=rng.integers(0, 255, (20, 30, 3), np.uint8),
        tiling=tiling or Tiling(),
        coords=rng.integers(0, 9000, (n, 2)).astype(np.int32),
        scores={name: rng.random(n).astype(np.float16) for name in SCORES},
        encoder_id=encoder,
        embeddings=rng.standard_normal((n, dim)).astype(np.float16),
        provenance={
            "encoder": ENCODER,
            "precision": "float32",
            "device": "cpu",
            "runtime": "torch",
        },
    )


def case_row(case_id: str, patient_id: str) -> Case:
    return Case(case_id=case_id, patient_id=patient_id, age_years=50.0)


def slide_row(
    slide_id: str, case_id: str, key: str, day: date = date(2020, 1, 1), **changes: object
) -> Slide:
    made = Slide(
        slide_id=slide_id,
        case_id=case_id,
        path=f"/gone/{slide_id}.svs",
        size_bytes=1,
        mtime_ns=1,
        fingerprint=key,
        slide_key=key,
        scanned_on=day,
        mpp=0.5,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def label_row(case_id: str, value: float | None, **changes: object) -> RecordedLabel:
    made = RecordedLabel(
        label_id=f"{case_id}/{value}/{sorted(changes.items())}",
        case_id=case_id,
        target="cellularity",
        value=value,
        low=value,
        high=value,
        method="rules",
        status="single",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def cohort_row(slide_id: str, case_id: str, patient_id: str, key: str) -> FrozenSlide:
    """The one Slide of a Cohort of its name that never was chosen by anybody."""
    made = FrozenSlide(
        cohort=slide_id,
        cohort_id="0",
        target="cellularity",
        query="select slide_id from bags",
        parameters={},
        split_method="time",
        options={},
        dropped={},
        slide_id=slide_id,
        slide_key=key,
        case_id=case_id,
        patient_id=patient_id,
        split="train",
        value=1.0,
    )
    return replace(made, cohort_id=ledger.cohort_id_of(frame_of(FrozenSlide, [made])))
