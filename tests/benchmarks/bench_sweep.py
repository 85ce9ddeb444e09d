"""The two speeds of a Sweep: many small Runs, and Runs of 2,900 slides beside the bare step.

    python tests/benchmarks/bench_sweep.py            both, some minutes
    python tests/benchmarks/bench_sweep.py --small    24 runs of the demo's size alone

A Run of the Sweep is timed whole: its steps, validation, Predictions, floor and publishing. The
bare step is the same model on one fixed batch in RAM, as in bench_training.py, and both take turns.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from builders import embedding_stores as es

from featurestore.device import precision_of
from trainer import TrainConfig
from trainer.config import steps_of
from trainer.learner import Learner
from trainer.model import BagModel, compute_threads
from trainer.sweep import sweep

SEEDS = 3
FACTORS = {"bag_size": [16, 256], "model": ["attention", "mean"], "lr": [1e-3, 3e-3]}


def small(root: Path) -> None:
    """24 Runs on 60 slides of 30 to 40 tiles x 384, with the defaults, and once more."""
    x, values = es.planted(60, list(range(30, 40)) * 6, dim=384)
    store = es.build(root, x, values.tolist())
    es.freeze(store)
    for _ in range(2):
        began = time.perf_counter()
        found = sweep(store, TrainConfig(cohort="all"), FACTORS, seeds=SEEDS)
        print(
            f"demo's size: {len(found.sweep.runs)} runs, {found.n_new} made, "
            f"{time.perf_counter() - began:.1f} s; asked: under 90 s"
        )


def large(root: Path, n_slides: int, n_runs: int) -> None:
    """Runs of so many slides of 256 x 384, with the defaults, each beside the bare step."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(256, 384)).astype(np.float16)
    x = (np.roll(block, i, axis=0) for i in range(n_slides))
    store = es.build(root, x, rng.uniform(5, 95, n_slides).tolist())
    es.freeze(store, method="random")
    config = TrainConfig(cohort="all", bag_size=256)
    before = bare_step_s(config)
    began = time.perf_counter()
    found = sweep(store, config, seeds=n_runs)
    spent = time.perf_counter() - began
    step_s = (before + bare_step_s(config)) / 2  # other work on the machine meets both
    records = [store.run(run_id) for run_id in found.cells[0].run_ids]
    steps = sum(record.fit["steps"] for record in records)
    loop = np.median([record.fit["bags_per_s"] for record in records])
    print(
        f"{n_slides:,} x 256 x 384: {n_runs} runs of {steps // n_runs:,} steps in {spent:.0f} s, "
        f"{steps * step_s / spent:.0%} of the bare step's speed with all that a run does, "
        f"{loop * step_s / config.batch_size:.0%} in its steps; asked: 90%"
    )


def bare_step_s(config: TrainConfig, n: int = 100) -> float:
    """Seconds of a step on one fixed batch in RAM."""
    model = BagModel(384)
    model.precision = getattr(torch, precision_of(config.precision, "cpu"))
    learner = Learner(model, "bce", config, steps_of(config, 1_000)[1])
    low = model.precision != torch.float32
    x = torch.randn(config.batch_size, config.bag_size, 384)
    x = x.to(model.precision if low else torch.float16)  # as the model takes it
    mask, y = torch.ones(x.shape[:2], dtype=torch.bool), torch.rand(config.batch_size, 4)
    spent = []
    with compute_threads(x.numel()):
        for _ in range(n):
            began = time.perf_counter()
            learner.step(x, mask, y)
            spent.append(time.perf_counter() - began)
    return float(np.median(spent))


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--small", action="store_true", help="the small runs alone")
    parser.add_argument("--slides", type=int, default=2_900)
    parser.add_argument("--runs", type=int, default=24, help="of the large kind")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small(Path(folder) / "small")
        if not args.small:
            large(Path(folder) / "large", args.slides, args.runs)


if __name__ == "__main__":
    main()
