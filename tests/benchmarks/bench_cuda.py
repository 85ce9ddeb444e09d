"""Encoder and training on a GPU: shares of the bare step, and equality with the CPU.

    python tests/benchmarks/bench_cuda.py [--rounds 3]

Needs nothing beyond the package: random weights, drawn tiles, embeddings with a planted label.
Without a GPU it runs the CPU's half (the encoder against its bare forward, a training streamed and
resident) and says that CUDA was not tried.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from builders import embedding_stores as es

from featurestore import FeatureStore
from ingest.slides import encoders
from ingest.slides.config import HowConfig
from ingest.slides.golden import golden_tile
from trainer import TrainConfig, train

ENCODERS = ("dinov2-small", "dinov2-large-reg")
SLIDES, TILES, DIM, STEPS = 80, 300, 1024, 200


def tiles_per_s(step: Callable[[], object], n: int, device: str) -> float:
    """Rate of a step that takes n tiles, over about a second."""
    step()
    steps, began = 0, time.perf_counter()
    while steps < 3 or time.perf_counter() - began < 1.0:
        step()
        steps += 1
    if device == "cuda":
        torch.cuda.synchronize()
    return steps * n / (time.perf_counter() - began)


def bare(encoder: encoders.Encoder, n: int) -> Callable[[], object]:
    """The network's forward pass on a batch that is on the device already."""
    x = torch.rand(n, 3, encoders.INPUT_PX, encoders.INPUT_PX, device=encoder.device)

    def step() -> object:
        with (
            torch.inference_mode(),
            torch.autocast(
                encoder.device, dtype=torch.bfloat16, enabled=encoder.precision == "bfloat16"
            ),
        ):
            return encoder.model(x)

    return step


def compare(name: str, device: str, rounds: int) -> None:
    """Print the share of the bare forward that `embed` reaches, and the cosine to the CPU."""
    encoder = encoders.load(name, "random", HowConfig(device=device, runtime="torch"))  # type: ignore[arg-type]
    n = 256 if device == "cuda" else encoder.batch_tiles
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (n, encoders.INPUT_PX, encoders.INPUT_PX, 3), np.uint8)
    tiles[0] = golden_tile()
    shares = []
    for _ in range(rounds):
        limit = tiles_per_s(bare(encoder, n), n, device)
        ours = tiles_per_s(lambda: encoder.embed(tiles), n, device)
        shares.append(ours / limit)
        print(
            f"{name} {encoder.how}: bare {limit:8.1f} tiles/s   embed {ours:8.1f}   "
            f"{ours / limit:.1%}"
        )
    cpu = encoders.load(
        name, "random", HowConfig(device="cpu", runtime="torch", precision="float32")
    )
    a, b = (one.embed(tiles[:4]).astype(np.float64) for one in (encoder, cpu))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    share = statistics.median(shares)
    print(f"{name}: median {share:.1%}, least cosine to the CPU {cosine.min():.6f}")


def steps_per_s(store: FeatureStore, device: str, resident: bool) -> tuple[float, np.ndarray]:
    """Rate of a training between its evaluations, those counted in; and what it predicts."""
    told: list[tuple[float, int]] = []
    config = TrainConfig(
        cohort="all",
        steps=STEPS,
        device=device,  # type: ignore[arg-type]
        precision="float32",
        resident=resident,
        calibration_fraction=0.0,
    )

    def hear(done: int, total: int, note: str) -> None:
        told.append((time.perf_counter(), done))

    made = train(store, config, hear, draw=False)
    assert made.record.fit["device"] == device
    steps = told[-1][1] - told[0][1]
    predicted = made.predictions.sort("slide_id")["mean"].to_numpy()
    return steps / max(told[-1][0] - told[0][0], 1e-9), predicted


def compare_training(device: str, rounds: int) -> None:
    """Print the rate streamed and resident, and how far both predict from the CPU, in points."""
    predicted: dict[str, np.ndarray] = {}
    for number in range(rounds):
        for where, resident in {(device, False), (device, True), ("cpu", False)}:
            with tempfile.TemporaryDirectory() as folder:
                store = es.build(Path(folder) / "store", *es.planted(SLIDES, TILES, DIM))
                es.freeze(store)
                rate, found = steps_per_s(store, where, resident)
            way = f"{where}, {'resident' if resident else 'streamed'}"
            predicted[way] = found
            print(f"training {number + 1}, {way}: {rate:.1f} steps/s of 8 bags of 256 x {DIM}")
    cpu = predicted.pop("cpu, streamed")  # nothing is compared with itself
    for way, found in predicted.items():
        apart = float(np.abs(found - cpu).max())
        print(f"training, {way}: at most {apart:.2e} points from the CPU, streamed")


def main() -> None:
    """Compare on the GPU where there is one, else on the CPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(torch.cuda.get_device_name() if device == "cuda" else "no GPU here: CUDA was not tried")
    for name in ENCODERS if device == "cuda" else ENCODERS[:1]:
        compare(name, device, args.rounds)
    compare_training(device, args.rounds)


if __name__ == "__main__":
    main()
