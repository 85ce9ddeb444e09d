"""What it costs to know that a store is whole: `verify` against `cat`, and the first opening.

    python tests/benchmarks/bench_whole.py [FOLDER] [--slides 2000] [--tiles 150] [--dim 384]
        [--cold]

Both ways run in turn in one process; ratios are medians. All is in the page cache, or with `--cold`
nothing of the arrays is.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from builders.embedding_stores import build, freeze, planted

from featurestore import FeatureStore, layout, rows
from trainer import fit
from trainer.config import TrainConfig

TIMES, EPOCHS = 5, 10


def seconds(work: Callable[[], object]) -> float:
    """How long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def check_all(store: FeatureStore) -> None:
    """Read and check each array of Embeddings, as a process does that first opens it."""
    for *ids, dim in store.bags("all")["slide_key", "tiling_id", "encoder_id", "dim"].iter_rows():
        path = layout.chunk(layout.embedding_dir(store.root, *ids), 2)
        rows.check_digest(path, raw := path.read_bytes(), None)
        rows.check_rows(path, raw, dim)


def cat(root: Path) -> None:
    """Read every byte of the arrays in the plainest way there is."""
    line = f"find {root}/slides -type f -print0 | xargs -0 -n 500 -P 2 cat > /dev/null"
    subprocess.run(line, shell=True, check=True)


def drop(root: Path) -> None:
    """Take the arrays out of the page cache."""
    for file in (root / "slides").rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="build/bench/whole")
@click.option("--slides", default=2000, show_default=True)
@click.option("--tiles", default=150, show_default=True)
@click.option("--dim", default=384, show_default=True)
@click.option("--cold", is_flag=True)
def main(folder: Path, slides: int, tiles: int, dim: int, cold: bool) -> None:
    """Print the ratios."""
    if not folder.exists():
        embeddings, values = planted(slides, [tiles] * slides, dim)
        freeze(build(folder, embeddings, values))
    store = FeatureStore.create(folder)  # migrates what an earlier bench has left
    n_bytes = sum(file.stat().st_size for file in (folder / "slides").rglob("*") if file.is_file())
    shares, checks = [], []
    for _ in range(TIMES):
        if cold:
            drop(folder)
        plain = seconds(lambda: cat(folder))
        if cold:
            drop(folder)
        shares.append(plain / FeatureStore.verify(folder).seconds)
        checks.append(seconds(lambda: check_all(store)))
    click.echo(f"verify reads {n_bytes / 1e9:.2f} GB at {statistics.median(shares):.0%} of cat")
    config = TrainConfig(cohort="all", epochs=EPOCHS, resamples=1)
    spent = seconds(lambda: fit.train(FeatureStore(folder, trust=True), config))
    share = statistics.median(checks) / spent
    click.echo(f"checking at first opening is {share:.1%} of {EPOCHS} epochs, {spent:.1f} s")


if __name__ == "__main__":
    main()
