"""Accuracy on the classic MIL sets, by cross-validation: Ilse, Tomczak and Welling 2018, table 1.

    python tests/benchmarks/bench_mil.py musk1.npz tiger.npz --set projection=64 --set dropout=0.5

A file holds x, the rows of all bags (N, D); bag, the number of each row's bag (N,); and label, 0 or
1 of each bag (B,). Folds are stratified and drawn anew for each seed; accuracy is pooled over them.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_defaults import number

from featurestore.config import SplitConfig
from featurestore.fields import from_json, to_json
from featurestore.types import Target
from trainer import TrainConfig
from trainer.bags import Sampler
from trainer.holdout import stratified
from trainer.inference import resample
from trainer.shared_store import Shared
from trainer.training_loop import fitted, job_of

POSITIVE = Target(name="positive", kind="binary", low=0, high=1)


def accuracies(file: Path, root: Path, config: TrainConfig, seeds: int, folds: int) -> list[float]:
    """Of each seed, over all bags out of their fold."""
    data = np.load(file)
    bags = {f"B{i:04}": data["x"][data["bag"] == i] for i in range(len(data["label"]))}
    store = Shared(Shared.create(root).root)
    labels = {name: float(value) for name, value in zip(bags, data["label"], strict=True)}
    store.add_bags("bags", bags, labels=labels, target=POSITIVE, splits=dict.fromkeys(bags, "test"))
    known, found = store.bags("bags"), []
    for seed in range(seeds):
        fold = dict(zip(known["slide_id"], stratified(known, folds, seed).to_list(), strict=True))
        split = SplitConfig(method="table", table={name: str(k) for name, k in fold.items()})
        name = f"seed-{seed}"
        store.create_cohort(name, "select slide_id, specimen from bags", split=split,
                            target=POSITIVE.name)  # fmt: skip
        right = 0
        for k in range(folds):
            job = job_of(store, replace(config, cohort=name, seed=seed, fold=str(k)))
            test = job.parts["test"]
            sampler = Sampler(test, config.bag_size, seed, config.sampling)
            with store.rows(test) as reader:
                mean, _, _ = resample(fitted(job), sampler, reader, config.resamples)
            right += int(((mean > 0.5) == (test["value"].to_numpy() > 0.5)).sum())
        found.append(right / len(bags))
    return found


def main() -> None:
    """Print a line a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("files", type=Path, nargs="*", help="the sets; none are kept here")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], help="FIELD=VALUE of a TrainConfig")
    args = parser.parse_args()
    if not args.files:
        print("no set was named, so none is measured. Name .npz files as told in bench_mil.py")
    said = {key: number(value) for key, value in (pair.split("=", 1) for pair in args.set)}
    config = from_json(TrainConfig, to_json(TrainConfig(cohort="bags")) | said)
    for file in args.files:
        with tempfile.TemporaryDirectory() as folder:
            found = accuracies(file, Path(folder) / "store", config, args.seeds, args.folds)
        each = " ".join(f"{one:.3f}" for one in found)
        print(
            f"{file.stem:10}{np.mean(found):.3f} ± {np.std(found, ddof=1):.3f}   {each}", flush=True
        )


if __name__ == "__main__":
    main()
