"""R2 of block against exact bags over seeds, on the synthetic archive.

    make demo && python tests/benchmarks/bench_sampling.py [--store build/demo/store] [--seeds 5]

A block is one read of consecutive rows, which lie in a random order; an exact bag is any subset.
Both are measured against the labels and, where truth.csv is at hand, against the true cellularity.
Runs go to a copy of the store. The stored order is itself one draw, so every seed has its own: rows
are shuffled anew. Seeds change order, bags and weights, but not the 30 test slides: the difference
has a standard error over the seeds and an interval by bootstrap over the test slides.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import zarr

from featurestore import FeatureStore, layout
from trainer import TrainConfig, train
from trainer.evaluate import r2


def shuffle_rows(store: FeatureStore, cohort: str, seed: int) -> None:
    """Store the Embeddings of a Cohort in another random order."""
    rng = np.random.default_rng(seed)
    for ids in store.bags(cohort)["slide_key", "tiling_id", "encoder_id"].iter_rows():
        array = zarr.open_array(str(layout.embedding_dir(store.root, *ids)), mode="r+")
        array[...] = array[...][rng.permutation(array.shape[0])]


def main() -> None:
    """Print R2 of both ways for every seed, and the difference of their means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--store", type=Path, default=Path("build/demo/store"))
    parser.add_argument("--cohort", default="demo")
    parser.add_argument("--bag-size", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args()
    if not args.store.exists():
        sys.exit(f"{args.store} is not there. Make it with: make demo")
    truth_file = args.store.parent / "archive" / "truth.csv"
    rows, drawn = [], []
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(shutil.copytree(args.store, Path(folder) / "store"))
        for seed in range(args.seeds):
            shuffle_rows(store, args.cohort, seed)
            row: dict[str, float] = {"seed": seed}
            for way in ("block", "exact"):
                config = TrainConfig(
                    cohort=args.cohort, bag_size=args.bag_size, seed=seed, sampling=way
                )
                run = train(store, config)
                test = run.predictions.filter(pl.col("split") == "test").sort("slide_id")
                drawn.append(test.select("label", "mean").to_numpy())
                row[f"{way}_r2"] = r2(test["label"].to_numpy(), test["mean"].to_numpy())
                if truth_file.exists():
                    true = pl.read_csv(truth_file).select("slide_id", "cellularity")
                    both = test.join(true, on="slide_id")
                    row[f"{way}_true_r2"] = r2(
                        both["cellularity"].to_numpy(), both["mean"].to_numpy()
                    )
            rows.append(row)
    table = pl.DataFrame(rows)
    print(table)
    seeds = (table["block_r2"] - table["exact_r2"]).to_numpy()
    error = seeds.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.nan
    rng = np.random.default_rng(0)
    slides = []
    for _ in range(2_000):
        chosen = rng.integers(0, len(drawn[0]), len(drawn[0]))
        scores = [r2(*pair[chosen].T) for pair in drawn]  # block, exact, block, exact, ...
        slides.append(np.mean(scores[::2]) - np.mean(scores[1::2]))
    low, high = np.quantile(slides, [0.025, 0.975])
    print(
        f"block {table['block_r2'].mean():.4f}, exact {table['exact_r2'].mean():.4f}, "
        f"difference {seeds.mean():+.4f}, standard error over seeds {error:.4f}, "
        f"95% interval over test slides {low:+.4f} to {high:+.4f}"
    )


if __name__ == "__main__":
    main()
