"""A reader of stores that knows docs/format.md alone: nothing of trephine is imported here."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

DTYPES = {"float16": "<f2", "int32": "<i4"}


def _table() -> list[int]:
    rows = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        rows.append(byte)
    return rows


TABLE = _table()


def crc32c(data: bytes) -> int:
    """CRC-32C, as the section Arrays says."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def header(path: Path) -> dict[str, Any]:
    """What a zarr.json says."""
    return dict(json.loads((path / "zarr.json").read_text()))


def array(path: Path) -> np.ndarray:
    """An array of a tiling, checked against its checksum."""
    said = header(path)
    assert [codec["name"] for codec in said["codecs"]] == ["bytes", "crc32c"]
    shape, dtype = said["shape"], DTYPES[said["data_type"]]
    chunk = path / "c" / "/".join("0" * len(shape))
    if 0 in shape:
        assert not chunk.exists()
        return np.empty(shape, dtype)
    raw = chunk.read_bytes()
    data, (crc,) = raw[:-4], struct.unpack("<I", raw[-4:])
    assert len(data) == math.prod(shape) * np.dtype(dtype).itemsize
    assert crc == crc32c(data)
    return np.frombuffer(data, dtype).reshape(shape)


def key_of(value: object) -> str:
    """A key over JSON, as the section Keys says."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def is_in_order(coords: np.ndarray, slide_key: str) -> bool:
    """Whether tiles stand as the section Row order says."""
    key = slide_key.encode()
    order = [(hashlib.blake2b(at.tobytes(), key=key, digest_size=8).digest(), *at) for at in coords]
    return order == sorted(order)


def ledger(store: Path, kind: str, *key: str) -> dict[Any, dict[str, Any]]:
    """The rows of a kind by their key: later ones win."""
    said = []
    for file in sorted((store / "ledger" / kind).glob("*.parquet")):
        for row in pl.read_parquet(file).iter_rows(named=True):
            said.append((row.pop("origin", file.name), row))
    said.sort(key=lambda one: one[0])  # what stands in two files is the same
    return {tuple(row[name] for name in key): row for _, row in said}


def tilings(store: Path, slide_key: str) -> list[Path]:
    """The tilings of a Slide, whose group is of a version that we read."""
    group = store / "slides" / f"{slide_key}.zarr"
    assert header(group)["attributes"]["format_version"] <= 1
    return [path for path in sorted(group.iterdir()) if (path / "tiles").is_dir()]


def bags(store: Path, cohort: str) -> dict[str, dict[str, Any]]:
    """The Slides of a Cohort: split, value, and by encoder_id coords, scores and rows."""
    out = {(row["kind"], row["name"]) for row in ledger(store, "tombstones", "name").values()}
    found = {}
    for (name, slide_id), row in ledger(store, "cohorts", "cohort", "slide_id").items():
        gone = {("slide", slide_id), ("case", row["case_id"]), ("patient", row["patient_id"])}
        if name != cohort or gone & out:
            continue
        held: dict[str, Any] = {}
        for tiling in tilings(store, row["slide_key"]):
            assert tiling.name == key_of(header(tiling)["attributes"])
            for one in sorted((tiling / "embeddings").glob("*/")):
                held[one.name] = _bag(tiling, one, row["slide_key"])
        found[slide_id] = {"split": row["split"], "value": row["value"], "bags": held}
    return found


def _bag(tiling: Path, embeddings: Path, slide_key: str) -> dict[str, Any]:
    said = header(embeddings)["attributes"]
    assert said.get("slide_key", slide_key) == slide_key
    assert said.get("tiling_id", tiling.name) == tiling.name
    assert embeddings.name == key_of([said["encoder"]["weights_hash"], said["encoder"]["identity"]])
    coords, rows = array(tiling / "tiles" / "coords"), array(embeddings)
    assert len(coords) == len(rows)
    scores = {
        path.name: array(path) for path in (tiling / "tiles").glob("*/") if path.name != "coords"
    }
    return {"coords": coords, "rows": rows, "scores": scores, "said": said}
