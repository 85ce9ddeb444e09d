"""Bags per second of the whole training loop against the bare model step on one fixed batch.

    python tests/benchmarks/bench_training.py [--slides 200] [--tiles 300] [--dim 1024]

The bare step has its batch in RAM as float32 and does nothing but compute. Both run on the same
model, in turn, in one process; time to the first step is from the call of `train` to it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "trainer"))
import embedding_stores as es

from trainer import TrainConfig, train
from trainer.model import BagModel, compute_threads


def bare_bags_per_s(dim: int, bag_size: int, batch_size: int, seconds: float = 4.0) -> float:
    """Bags per second of forward, backward and update on one batch."""
    model = BagModel(dim)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x = torch.randn(batch_size, bag_size, dim)
    mask = torch.ones(batch_size, bag_size, dtype=torch.bool)
    y = torch.rand(batch_size)
    with compute_threads(x.numel()):
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x, mask), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            n += batch_size
        return n / (time.perf_counter() - began)


def main() -> None:
    """Print both rates, their ratio and the time to the first step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--tiles", type=int, default=300)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(args.tiles, args.dim)).astype(np.float16) for _ in range(args.slides)]
    with tempfile.TemporaryDirectory() as folder:
        store = es.build(Path(folder), x, rng.uniform(5, 95, args.slides).tolist())
        es.freeze(store)
        config = TrainConfig(cohort="all", steps=args.steps, validation_fraction=0, resamples=1)
        rates, first = [], []
        for _ in range(3):  # in turn: other work on the machine meets both
            bare = bare_bags_per_s(args.dim, config.bag_size, config.batch_size)
            times: list[float] = []
            began = time.perf_counter()
            run = train(store, config, lambda line, t=times: t.append(time.perf_counter()))
            fit = run.record["fit"]
            rates.append((bare, fit["bags_per_s"]))
            first.append(times[-1] - fit["seconds"] - began)
    for bare, whole in rates:
        print(f"bare {bare:8.0f} bags/s   training {whole:8.0f} bags/s   {whole / bare:6.1%}")
    print(f"to the first step {min(first):.2f} s")


if __name__ == "__main__":
    main()
