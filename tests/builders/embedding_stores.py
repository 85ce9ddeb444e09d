"""Stores of ready Embeddings, without any slide."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import google_crc32c
import numpy as np

from featurestore import FeatureStore, SlideArrays, layout
from featurestore.config import SplitConfig
from featurestore.types import (
    Case,
    EncoderDescription,
    Label,
    SeenReport,
    Slide,
    SplitMethod,
    Target,
    Tiling,
    content_id,
)

# The sizes where bugs live, for bags of 16 and of 256.
SIZES = [1, 15, 16, 17, 255, 256, 257, 3_000]

ENCODER = EncoderDescription(
    name="planted",
    weights="file: planted.safetensors",
    weights_hash="0" * 32,
    identity={"architecture": "planted"},
)


def build(
    root: Path,
    embeddings: Iterable[np.ndarray],
    values: Sequence[float | None],
    *,
    target: Target | None = None,
    weights: str = ENCODER.weights,
    outside: str = "",
    publish: Callable[[FeatureStore, SlideArrays], object] | None = None,
) -> FeatureStore:
    """Make a store with one Slide, Case and Report a row; dates rise by a week.

    Text from `outside` stands in every name and quote that people give.
    """
    store = FeatureStore.create(root)
    about = target or Target()
    encoder = replace(ENCODER, weights=weights, weights_hash=content_id(weights, 32))
    rows: list[object] = []
    for i, (x, value) in enumerate(zip(embeddings, values, strict=True)):
        made = arrays_of(i, x, encoder)
        (publish or copy_in)(store, made)
        case_id, day = f"C-{i:04}{outside}", date(2020, 1, 1) + timedelta(days=7 * i)
        rows += [
            Case(case_id=case_id, patient_id=f"P-{i:04}", age_years=20.0 + i % 60),
            Slide(
                slide_id=f"S-{i:04}{outside}",
                case_id=case_id,
                path=f"/gone/{i}.svs",
                size_bytes=1,
                mtime_ns=1,
                fingerprint=made.slide_key,
                slide_key=made.slide_key,
                scanned_on=day,
                specimen="core",
                scanner=("Aperio AT2", "Aperio GT 450")[i % 2] + outside,
                width_px0=9_000,
                height_px0=4_000,
                mpp=0.5,
            ),
            SeenReport(case_id=case_id, report_hash=content_id(["report", i], 32), reported_on=day),
        ]
        if value is not None:
            given = Label(
                case_id=case_id,
                target=about.name,
                value=float(value),
                low=float(value),
                high=float(value),
                method="human",
                status="single",
                evidence=outside or None,
            )
            rows.append(given.recorded(about))
    store.record(rows)
    return store


@cache
def _templates() -> Path:
    """A folder for the first Slide of each shape, away when the process ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def copy_in(store: FeatureStore, slide: SlideArrays) -> None:
    """Publish a Slide: the first of a shape in the safe way, the others as copies of its files."""
    n, dim = np.shape(slide.embeddings)
    template = _templates() / f"{slide.encoder_id}-{n}-{dim}.zarr"
    group = layout.group_dir(store.root, slide.slide_key)
    if not template.exists():
        store.publish(slide)
        if n:
            shutil.copytree(group, template)
        return
    shutil.copytree(template, group)
    said = json.loads((template / "thumbnail" / "zarr.json").read_text())["attributes"]["slide_key"]
    for file in group.rglob("zarr.json"):
        file.write_text(file.read_text().replace(said, slide.slide_key))
    tiling = group / slide.tiling.tiling_id
    chunks = {layout.chunk(tiling / "embeddings" / slide.encoder_id, 2): slide.embeddings}
    chunks |= {layout.chunk(tiling / "tiles" / name, 1): x for name, x in slide.scores.items()}
    for chunk, x in chunks.items():
        data = np.asarray(x, np.float16).tobytes()
        chunk.write_bytes(data + google_crc32c.value(data).to_bytes(4, "little"))


def arrays_of(i: int, x: np.ndarray, encoder: EncoderDescription = ENCODER) -> SlideArrays:
    """Arrays of the i-th Slide, float16 (N, D), with scores that differ from tile to tile."""
    slide_key = content_id(["slide", i])
    n, rng = len(x), np.random.default_rng(i)
    return SlideArrays(
        slide_key=slide_key,
        attributes={"fingerprint": slide_key, "size_px0": [9_000, 4_000], "mpp": 0.5},
        thumbnail=np.full((60, 140, 3), (214, 150, 190), np.uint8),
        tiling=Tiling(),
        coords=np.stack([np.arange(n) * 896, np.zeros(n)], axis=1).astype(np.int32),
        scores={
            "tissue": rng.uniform(0, 1, n),
            "blur": rng.uniform(0, 1, n),
            "pen": np.zeros(n),
            "marrow": rng.uniform(0, 1, n),
        },
        encoder_id=encoder.encoder_id,
        embeddings=x,
        provenance={"encoder": asdict(encoder), "precision": "float32"},
    )


def freeze(
    store: FeatureStore,
    name: str = "all",
    method: SplitMethod = "time",
    target: str = "cellularity",
    split: Mapping[str, str] | None = None,
    where: str = "true",
) -> str:
    """Make a Cohort of every Slide with a Label; `split` names the side of each slide_id."""
    query = f"select slide_id, specimen from bags where {where}"
    config = SplitConfig(method="table", table=split) if split else SplitConfig(method=method)
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
