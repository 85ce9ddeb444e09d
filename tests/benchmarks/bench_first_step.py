"""Seconds from the command `train` to its first step on a catalog of 100,000 slides.

    python tests/benchmarks/bench_first_step.py [--slides 100000] [--rounds 3]

One slide is real; the others are rows of the catalog whose folders are links to it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from builders import embedding_stores as es

ROOT = Path(__file__).parents[2]
TORCH = "import time; began = time.time(); import torch; print(time.time() - began)"
CODE = """
import builtins, os, sys, time
began, plain = time.time(), builtins.__import__

def first(learner, *batch):
    step(learner, *batch)
    print(time.time() - began, flush=True)
    os._exit(0)

def watched(*asked, **how):  # torch is imported when the command does so
    global step
    made = plain(*asked, **how)
    learner = getattr(sys.modules.get("trainer.learner"), "Learner", None)
    if learner is not None and learner.step is not first:
        step, learner.step = learner.step, first
    return made

builtins.__import__ = watched
sys.argv[1:] = ["train", "big", "--store", sys.argv[1]]
import cli
cli.main()
"""
OWN = {  # by column of any table
    "slide_key": "printf('%016x', hash(i) // 2)",
    "slide_id": "printf('S%07d', i)",
    "case_id": "printf('C%07d', i)",
    "patient_id": "printf('P%07d', i)",
    "cohort": "'big'",
    "split": "case when i % 2 = 0 then 'train' else 'test' end",
    "value": "(i % 100)::double",
    "digest": "null",
}


def grow(root: Path, n: int) -> None:
    """Make n slides of the one that a store has, in a Cohort `big`."""
    real = next((root / "slides").iterdir())
    with duckdb.connect(str(root / "catalog.duckdb")) as con:
        for table in ("embeddings", "cohort_slides", "slides", "cases"):
            columns = con.sql(f"from {table} limit 0").columns
            said = ", ".join(OWN.get(name, f"one.{name}") for name in columns)
            con.execute(
                f"insert into {table} select {said} from range({n}) as number(i), "
                f"(from {table} limit 1) as one"
            )
        columns = con.sql("from cohorts limit 0").columns
        said = ", ".join("'big'" if name == "cohort" else name for name in columns)
        con.execute(f"insert into cohorts select {said} from cohorts limit 1")
        keys = con.sql(f"select {OWN['slide_key']} from range({n}) as number(i)").fetchall()
        con.execute("delete from migrations where name like 'write %'")  # written by hand
    for (key,) in keys:
        (root / "slides" / f"{key}.zarr").symlink_to(real)


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slides", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        x, values = es.planted(8, 32, dim=384)
        store = es.build(Path(folder) / "store", x, values.tolist())
        es.freeze(store, method="random")
        grow(store.root, args.slides)
        for _ in range(args.rounds):
            bare, whole = (
                float(
                    subprocess.run(
                        [sys.executable, "-c", code, str(store.root)],
                        cwd=ROOT,
                        capture_output=True,
                        text=True,
                        check=True,
                    ).stdout
                )
                for code in (TORCH, CODE)
            )
            print(
                f"{args.slides:,} slides: {whole - bare:.2f} s to the first step beyond "
                f"importing torch, which takes {bare:.2f} s; asked: 0.5 s"
            )


if __name__ == "__main__":
    main()
