"""Bags per second of the store's sampler, beside other ways to load the same bags.

    python tests/benchmarks/bench_bags.py [--large 60] [--small 240] [--rounds 5]

Slides of 2,000 x 1,024 and of 250 x 384 in one run, bags of 256. Every way loads a bag of each
Slide a round; the ways take turns, warm and then with each way's files dropped from the page cache
before its turn (posix_fadvise; what lies under the kernel may still hold them). Figures are medians
over the rounds, on one thread each, as in a DataLoader's worker; the store's own reading thread
runs beside the loop that takes its batches. Bytes a bag are the kernel's count (/proc/self/io).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import torch
import zarr

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from builders import embedding_stores as es

from trainer.bags import Sampler, training_draws
from trainer.feed import MAX_OPEN, streamed

BAG, BATCH, FAST = 256, 8, 20
ASKED = {"trident": 50, "clam": 50, "stamp": 15, "zarr": 10, "ram": 1}
NAMES = {
    "store": "store, block",
    "exact": "store, exact",
    "ram": "random rows of one array in RAM",
    "stamp": "STAMP: contiguous float16 h5 kept open, cast whole",
    "zarr": "Zarr with 256-row chunks, kept open, random rows",
    "trident": "TRIDENT: h5 with chunks (1, D) opened and read whole",
    "clam": "CLAM: torch.load of float32, collated",
}


class Ways:
    """The same Slides in every format, and one pass over them by each way."""

    def __init__(self, root: Path, n_slides: int, n_tiles: int, dim: int) -> None:
        self.n, self.k = n_slides, min(BAG, n_tiles)
        rng = np.random.default_rng(0)
        block = rng.normal(size=(n_tiles, dim)).astype(np.float16)
        x = [np.roll(block, i, axis=0) for i in range(n_slides)]
        self.store = es.build(root / "store", x, rng.uniform(5, 95, n_slides).tolist())
        es.freeze(self.store)
        self.frame, self.big = self.store.bags("all"), np.stack(x)
        self.root = root
        for i, rows in enumerate(x):
            with h5py.File(root / f"{i}.trident", "w") as file:
                file.create_dataset("features", data=rows.astype(np.float32), chunks=(1, dim))
            with h5py.File(root / f"{i}.stamp", "w") as file:
                file.create_dataset("feats", data=rows)
            torch.save(torch.from_numpy(rows.astype(np.float32)), root / f"{i}.clam")
            chunks = (min(256, n_tiles), dim)
            zarr.create_array(root / f"{i}.zarr", data=rows, chunks=chunks, compressors=None)
        self.handles = [h5py.File(root / f"{i}.stamp") for i in range(n_slides)]
        self.zarrs = [zarr.open_array(root / f"{i}.zarr", mode="r") for i in range(n_slides)]
        self.reader = self.store.rows(self.frame, MAX_OPEN)
        self.round = 0
        os.sync()  # only clean pages can be dropped

    def drop(self, way: str) -> None:
        """Drop a way's files from the page cache."""
        self.reader.close()  # the next read opens them again
        pattern = "store/slides/**/c/0/0" if way in ("store", "exact") else f"*.{way}"
        for path in self.root.glob(pattern):
            for file in path.rglob("*") if path.is_dir() else [path]:
                if file.is_file():
                    fd = os.open(file, os.O_RDONLY)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)

    def take(self, way: str, epochs: int = 1) -> int:
        """Load bags of every Slide, one an epoch; return how many."""
        self.round += 1
        n = self.n * epochs
        if way in ("store", "exact"):
            sampler = Sampler(self.frame, BAG, self.round, "block" if way == "store" else "exact")
            plan = training_draws(self.n, BATCH, self.round)
            plan = islice(plan, epochs * round(self.n / BATCH))
            cpu = torch.device("cpu")
            read = streamed(sampler, self.reader, plan, 0, cpu)
            assert sum(len(slides) for _, _, slides in read) == n
        elif way == "ram":
            rng = np.random.default_rng(self.round)
            out = np.empty((BATCH, self.k, self.big.shape[2]), np.float16)
            for i in range(n):
                rows = rng.choice(self.big.shape[1], self.k, replace=False)
                np.take(self.big[i % self.n], rows, 0, out[i % BATCH])
        elif way == "zarr":
            rng = np.random.default_rng(self.round)
            for array in self.zarrs:
                array.oindex[np.sort(rng.choice(array.shape[0], self.k, replace=False))]
        else:
            for whole in getattr(self, f"_{way}")():
                whole[torch.randperm(len(whole))[:BAG]]
        return n

    def _stamp(self) -> Iterator[torch.Tensor]:
        for file in self.handles:
            yield torch.from_numpy(file["feats"][:]).float()

    def _trident(self) -> Iterator[torch.Tensor]:
        for i in range(self.n):
            with h5py.File(self.root / f"{i}.trident") as file:
                yield torch.from_numpy(file["features"][:])

    def _clam(self) -> Iterator[torch.Tensor]:
        for i in range(self.n):
            yield torch.cat([torch.load(self.root / f"{i}.clam", weights_only=True)])


def bench_bags(root: Path, n_slides: int, n_tiles: int, dim: int, rounds: int) -> pl.DataFrame:
    """One row per way to load: bags per second and how many times slower than the store."""
    ways = Ways(root, n_slides, n_tiles, dim)
    rates: dict[tuple[str, str], list[float]] = {}
    for way in NAMES:
        ways.take(way)  # every file is in the page cache
    for cache in ("warm", "cold"):
        for _ in range(rounds):
            for way in NAMES:
                if cache == "cold":
                    ways.drop(way)
                # Fast ways get a longer pass: starting a thread would count otherwise.
                epochs = FAST if cache == "warm" and way in ("store", "exact", "ram") else 1
                began = time.perf_counter()
                n = ways.take(way, epochs)
                rates.setdefault((way, cache), []).append(n / (time.perf_counter() - began))
    before = _bytes_read()
    ways.take("store")
    per_bag = (_bytes_read() - before) / n_slides
    ideal = ways.k * dim * 2
    print(f"{n_slides} slides of {n_tiles} x {dim}: {per_bag / ideal:.3f} of bag_size x D x 2 read")
    ways.reader.close()
    rows = []
    for way, name in NAMES.items():
        row: dict[str, object] = {"way": name}
        for cache in ("warm", "cold"):
            own = np.array(rates[way, cache])
            row[f"{cache}_bags_per_s"] = round(float(np.median(own)))
            times = np.median(np.array(rates["store", cache]) / own)
            row[f"{cache}_store_faster"] = round(float(times), 1)
        rows.append(row | {"asked": ASKED.get(way)})
    return pl.DataFrame(rows)


def _bytes_read() -> int:
    """Bytes this process has asked the kernel to read."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--large", type=int, default=60, help="slides of 2,000 x 1,024")
    parser.add_argument("--small", type=int, default=240, help="slides of 250 x 384")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)  # as in a DataLoader's worker
    pl.Config.set_fmt_str_lengths(60)
    pl.Config.set_tbl_cols(-1)
    pl.Config.set_tbl_width_chars(140)
    for n_slides, n_tiles, dim in ((args.small, 250, 384), (args.large, 2_000, 1_024)):
        with tempfile.TemporaryDirectory() as folder:
            print(bench_bags(Path(folder), n_slides, n_tiles, dim, args.rounds))


if __name__ == "__main__":
    main()
