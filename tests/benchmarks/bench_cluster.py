"""Efficiency of two Ray workers of one core each against one: tiles per second, doubled or not.

    python tests/benchmarks/bench_cluster.py [--slides 16] [--rounds 3]

Each round ingests the same slides with one actor and with two, in turn, on a fresh cluster; the
rate counts from the first task that is done to the last: actors load their encoder once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import ray  # noqa: E402
from builders.slide_files import write_svs  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from featurestore import FeatureStore  # noqa: E402
from featurestore.types import Tiling  # noqa: E402
from ingest.slides.config import IngestConfig  # noqa: E402
from ingest.slides.embed import ingest  # noqa: E402


def tiles_per_s(slides: Path, nodes: int, encoder: str) -> float:
    """Rate of an ingest on so many nodes of one processor."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        cluster.add_node(num_cpus=1)
    told: list[tuple[float, int]] = []

    def tell(done: int, total: int, note: str) -> None:
        told.append((time.perf_counter(), int(note.split()[0].replace(",", ""))))

    try:
        with tempfile.TemporaryDirectory() as folder:
            config = IngestConfig(
                encoder=encoder,
                weights="random",
                workers=1,
                threads=1,
                engine="ray",
                address=cluster.address,
            )
            ingest(FeatureStore.create(folder), slides, Tiling(), config, progress=tell)
    finally:
        ray.shutdown()
        cluster.shutdown()
    done = [one for one in told if one[1]]
    return (done[-1][1] - done[0][1]) / (done[-1][0] - done[0][0])


def main() -> None:
    """Print both rates of each round, and the median efficiency."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slides", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", default="dinov2-small")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(args.slides):  # 5 x 5 tiles at 2.0 from a slide of 0.5 microns per pixel
            grain = rng.integers(0, 40, (4480, 4480), np.uint8)
            image = np.stack([170 + grain, 80 + grain + i, 130 + grain], axis=2)
            image = np.pad(image, ((0, 448), (0, 448), (0, 0)), constant_values=245)  # glass
            write_svs(Path(folder) / f"{i}.svs", image, mpp=0.5)
        ratios = []
        for _ in range(args.rounds):
            one, two = (tiles_per_s(Path(folder), nodes, args.encoder) for nodes in (1, 2))
            ratios.append(two / one / 2)
            print(f"one {one:5.2f} tiles/s   two {two:5.2f}   {ratios[-1]:.0%}", flush=True)
    print(f"median efficiency of two workers: {statistics.median(ratios):.0%}")


if __name__ == "__main__":
    main()
