"""Reports read a second by rules on one core, with cold caches and where their lines come again.

    python tests/benchmarks/bench_labels.py [GOLD.jsonl ...] [--rounds 5]

Cold: every cache is emptied before each round, as if the process had just begun. The best round
counts, in processor time; without files it reads the reports of `../shared/labels`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from ingest.labels.rules import parse

SHARED = Path(__file__).parents[3] / "shared" / "labels"
GOLD = [SHARED / "dev1.jsonl", SHARED / "dev2.jsonl"]


def forget() -> None:
    """Empty every cache of the reader."""
    for name, module in sys.modules.items():
        if name.startswith("ingest.labels"):
            for kept in vars(module).values():
                if hasattr(kept, "cache_clear"):
                    kept.cache_clear()


def seconds(texts: list[str]) -> float:
    """Processor time of reading all."""
    began = time.process_time()
    for text in texts:
        parse(text)
    return time.process_time() - began


@click.command()
@click.argument("gold", nargs=-1, type=click.Path(path_type=Path))
@click.option("--rounds", default=5)
def main(gold: tuple[Path, ...], rounds: int) -> None:
    """Read all reports of the files, round by round."""
    files = [path for path in gold or GOLD if path.exists()]
    texts = [json.loads(line)["text"] for path in files for line in path.open(encoding="utf-8")]
    if not texts:
        raise click.UsageError("no reports: name a file of gold, as `evaluate-labels` takes them")
    cold, warm = [], []
    for _ in range(rounds):
        forget()
        cold.append(seconds(texts))
        warm.append(seconds(texts))
    size = sum(map(len, texts)) // len(texts)
    print(
        f"{len(texts)} reports of {size} characters: {len(texts) / min(cold):.0f} a second cold,"
        f" {len(texts) / min(warm):.0f} where all lines are known (asked: 1,500)"
    )


if __name__ == "__main__":
    main()
