"""Bags per second of the store's sampler, beside other ways to load the same bags.

    python tests/benchmarks/bench_bags.py [--slides 200] [--tiles 2000] [--dim 1024]

Every way reads the same Slides in the same order, warm, in one process; ratios are to the store.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))
import embedding_stores as es

from featurestore.store import FeatureStore
from trainer import bags as b

BAG, BATCH = 256, 8


def bench_bags(root: Path, n_slides: int, n_tiles: int, dim: int) -> pl.DataFrame:
    """One row per way to load: bags per second, and how many times slower than the store."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(n_tiles, dim)).astype(np.float16)
    x = [np.roll(block, i, axis=0) for i in range(n_slides)]
    store = es.build(root / "store", x, rng.uniform(5, 95, n_slides).tolist())
    es.freeze(store)
    frame, big = store.bags("all"), np.stack(x[:64])
    for i, rows in enumerate(x):
        with h5py.File(root / f"{i}.h5", "w") as file:
            file.create_dataset("features", data=rows.astype(np.float32), chunks=(1, dim))
            file.create_dataset("feats", data=rows)
        torch.save(torch.from_numpy(rows.astype(np.float32)), root / f"{i}.pt")
    handles = [h5py.File(root / f"{i}.h5") for i in range(n_slides)]
    ways: dict[str, Callable[[], int]] = {
        "store, block": lambda: _store(store, frame, "block"),
        "store, exact": lambda: _store(store, frame, "exact"),
        "one array in RAM, random rows": lambda: _ram(big),
        "STAMP's way: contiguous h5 kept open, cast whole": lambda: _stamp(handles),
        "TRIDENT's way: chunked h5, read whole": lambda: _trident(root, n_slides),
        "CLAM's way: torch.load float32": lambda: _clam(root, n_slides),
    }
    rows_out = []
    for name, way in ways.items():
        way()  # warm
        began, bags = time.perf_counter(), 0
        while time.perf_counter() - began < 2:
            bags += way()
        rows_out.append({"way": name, "bags_per_s": bags / (time.perf_counter() - began)})
    table = pl.DataFrame(rows_out)
    return table.with_columns((table["bags_per_s"][0] / pl.col("bags_per_s")).alias("store_faster"))


def _store(store: FeatureStore, frame: pl.DataFrame, sampling: b.Sampling) -> int:
    sampler = b.Sampler(frame, BAG, 0, sampling)
    size = int(sampler.lengths[0])
    with store.rows(frame) as reader:
        n, n_bags = 0, 40 * frame.height
        for batch in b.batches(sampler, reader, b.training_plan(frame.height, BATCH, 0), b.TRAIN):
            n += len(batch.slides)
            if n >= n_bags:
                break
        assert reader.bytes_read <= 1.1 * (n + 3 * 2 * BATCH) * size * reader.dim * 2
    return n


def _ram(big: np.ndarray) -> int:
    rng = np.random.default_rng(0)
    k = min(BAG, big.shape[1])
    out = np.empty((BATCH, k, big.shape[2]), np.float16)
    for _ in range(64):
        for i in range(BATCH):
            rows = rng.choice(big.shape[1], k, replace=False)
            np.take(big[rng.integers(len(big))], rows, 0, out[i])
    return 64 * BATCH


def _stamp(handles: list[h5py.File]) -> int:
    for file in handles:
        whole = torch.from_numpy(file["feats"][:]).float()
        whole[torch.randperm(len(whole))[:BAG]]
    return len(handles)


def _trident(root: Path, n_slides: int) -> int:
    for i in range(min(n_slides, 20)):
        with h5py.File(root / f"{i}.h5") as file:
            whole = torch.from_numpy(file["features"][:])
        whole[torch.randperm(len(whole))[:BAG]]
    return min(n_slides, 20)


def _clam(root: Path, n_slides: int) -> int:
    for i in range(min(n_slides, 40)):
        whole = torch.load(root / f"{i}.pt", weights_only=True)
        whole[torch.randperm(len(whole))[:BAG]]
    return min(n_slides, 40)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slides", type=int, default=100)
    parser.add_argument("--tiles", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=1_024)
    args = parser.parse_args()
    torch.set_num_threads(1)  # as in a DataLoader's worker
    with tempfile.TemporaryDirectory() as folder:
        pl.Config.set_fmt_str_lengths(60)
        print(bench_bags(Path(folder), args.slides, args.tiles, args.dim))


if __name__ == "__main__":
    main()
