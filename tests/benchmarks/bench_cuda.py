"""Encoder and training on a GPU: shares of the bare step, and equality with the CPU.

    python tests/benchmarks/bench_cuda.py [--rounds 3]

Needs nothing beyond the package: random weights, drawn tiles. Without a GPU it runs the CPU's half
(the encoder in each runtime against the bare forward) and says that CUDA was not tried.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from ingest.slides import encoders
from ingest.slides.golden import golden_tile

ENCODERS = ("dinov2-small", "dinov2-large-reg")


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
    encoder = encoders.load(name, "random", device=device)  # type: ignore[arg-type]
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
    cpu = encoders.load(name, "random", device="cpu", precision="float32")
    a, b = (one.embed(tiles[:4]).astype(np.float64) for one in (encoder, cpu))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    share = statistics.median(shares)
    print(f"{name}: median {share:.1%}, least cosine to the CPU {cosine.min():.6f}")


def main() -> None:
    """Compare on the GPU where there is one, else on the CPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(torch.cuda.get_device_name() if device == "cuda" else "no GPU here: CUDA was not tried")
    for name in ENCODERS if device == "cuda" else ENCODERS[:1]:
        compare(name, device, args.rounds)


if __name__ == "__main__":
    main()
