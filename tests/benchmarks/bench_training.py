"""The training loop beside its own bare step, torchmil's trainer and a loop in CLAM's manner.

    python tests/benchmarks/bench_training.py          about 3 minutes
    python tests/benchmarks/bench_training.py --full   5,781 slides x 256 x 1,024, 20 epochs

torchmil comes from PyPI into build/torchmil, an environment of its own on top of this one. All
train the same model from files in the page cache on the same number of threads: this loop from
the store, torchmil by its own dataset (.npy, float32) and collate_fn in batches of 8, and CLAM's
manner is torch.load of float32 and one slide a step. Peers run on this trainer's threads, and once
more on torch's own number. They take turns; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from builders import embedding_stores as es

from featurestore import FeatureStore
from featurestore.device import precision_of
from trainer import TrainConfig, train
from trainer.learner import Learner
from trainer.model import BagModel, compute_threads

ROOT = Path(__file__).parents[2]
PEER = ROOT / "build" / "torchmil"
WHEELS = ("torchmil", "tensordict", "torchmetrics", "lightning-utilities", "einops", "pandas")
WHEELS += ("python-dateutil", "six", "pyvers", "orjson", "cloudpickle", "importlib_metadata")
BATCH = 8


def enter_peer_environment() -> None:
    """Go on in an environment that has torchmil beside everything of this one."""
    python = PEER / "bin" / "python"
    if not python.exists():
        venv.create(PEER)
        site = next(PEER.glob("lib/python*/site-packages"))
        (site / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", *WHEELS], check=True)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execv(python, [str(python), *sys.argv])


def build(root: Path, n_slides: int, n_tiles: int, dim: int) -> FeatureStore:
    """A store of rolled copies of one slide; only the first is published in the slow, safe way."""
    rng = np.random.default_rng(0)
    block = rng.normal(size=(n_tiles, dim)).astype(np.float16)
    values = rng.uniform(5, 95, n_slides).tolist()
    x = (np.roll(block, i, axis=0) for i in range(n_slides))
    store = es.build(root, x, values)
    sides = ["test"] * 20 + ["train"] * (n_slides - 20)
    es.freeze(store, split={f"S-{i:04}": side for i, side in enumerate(sides)})
    return store


def steps_of(work: Callable[[], object]) -> list[float]:
    """Wall time of each step of this trainer while `work` runs, from one to the next."""
    ends: list[float] = []
    step = Learner.step

    def timed(*args: torch.Tensor) -> torch.Tensor:
        value = step(*args)  # type: ignore[arg-type]
        ends.append(time.perf_counter())
        return value

    Learner.step = timed  # type: ignore[method-assign, assignment]
    try:
        work()
    finally:
        Learner.step = step  # type: ignore[method-assign]
    return np.diff(ends)[2:].tolist()


def bare(config: TrainConfig, dim: int) -> None:
    """Nothing but steps, on one fixed batch that is in RAM as the model takes it."""
    assert config.steps is not None
    model = BagModel(dim)
    model.precision = getattr(torch, precision_of(config.precision, "cpu"))  # as in the whole loop
    learner = Learner(model, "bce", config, config.steps)
    low = model.precision != torch.float32
    x = torch.randn(BATCH, config.bag_size, dim).to(model.precision if low else torch.float16)
    mask, y = torch.ones(x.shape[:2], dtype=torch.bool), torch.rand(BATCH, 4)
    with compute_threads(x.numel()):
        for _ in range(config.steps):
            learner.step(x, mask, y)


class Peers:
    """The train slides as files, and an epoch of each peer's loop over them."""

    def __init__(self, root: Path, store: FeatureStore) -> None:
        bags = store.bags("all")
        bags = bags.filter(bags["split"] == "train")
        self.n, self.dim, self.root = bags.height, int(bags["dim"][0]), root
        for name in ("x", "y", "pt"):
            (root / name).mkdir(parents=True)
        with store.rows(bags) as reader:
            for i, row in enumerate(bags.iter_rows(named=True)):
                rows = np.empty((row["n_tiles"], self.dim), np.float16)
                reader.read_rows(i, np.arange(len(rows)), rows)
                x, key = rows.astype(np.float32), row["slide_key"]
                np.save(root / "x" / f"{key}.npy", x)
                np.save(root / "y" / f"{key}.npy", np.float32([row["value"] / 100]))
                torch.save(torch.from_numpy(x), root / "pt" / key)
        self.labels = dict(zip(bags["slide_key"], bags["value"] / 100, strict=True))
        self._torchmil()

    def _torchmil(self) -> None:
        import torchmetrics
        from torchmil.data import collate_fn
        from torchmil.datasets import ProcessedMILDataset
        from torchmil.models import MILModel
        from torchmil.utils import Trainer

        class Same(MILModel):  # type: ignore[misc]
            """This trainer's model under torchmil's interface."""

            def __init__(self, dim: int) -> None:
                super().__init__()
                self.inner = BagModel(dim)

            def forward(self, X: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                return self.inner(X, mask.bool())

            def compute_loss(  # type: ignore[no-untyped-def]
                self,
                Y: torch.Tensor,
                X: torch.Tensor,
                mask: torch.Tensor,
            ):
                scores = self.forward(X, mask)
                loss = F.binary_cross_entropy_with_logits(scores, Y.reshape(-1))
                return torch.sigmoid(scores)[:, None], {"loss": loss}

            def predict(self, X: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
                return torch.sigmoid(self.forward(X, mask))

        def loader(names: list[str] | None, shuffle: bool) -> torch.utils.data.DataLoader:
            data = ProcessedMILDataset(
                features_path=str(self.root / "x"),
                labels_path=str(self.root / "y"),
                bag_keys=["X", "Y"],
                bag_names=names,
            )
            return torch.utils.data.DataLoader(
                data, batch_size=BATCH, shuffle=shuffle, collate_fn=collate_fn
            )

        model = Same(self.dim)
        self.trainer = Trainer(
            model,
            torch.optim.AdamW(model.parameters(), lr=3e-3),
            {"mse": torchmetrics.MeanSquaredError()},
            "mse",
            "min",
            device="cpu",
            disable_pbar=True,
            verbose=False,
        )
        # Without a validation set torchmil takes train a second time: one bag is the least.
        self.loaders = loader(None, True), loader([next(iter(self.labels))], False)

    def torchmil_epoch(self) -> int:
        """An epoch of torchmil's own trainer."""
        self.trainer.train(1, *self.loaders)
        return self.n

    def clam_epoch(self) -> int:
        """Slides in random order, each loaded whole and learnt from in a step of its own."""
        model = BagModel(self.dim)
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        keys = list(self.labels)
        for i in torch.randperm(self.n).tolist():
            x = torch.load(self.root / "pt" / keys[i], weights_only=True)[None]
            y = torch.tensor([self.labels[keys[i]]], dtype=torch.float32)
            loss = F.binary_cross_entropy_with_logits(model(x, torch.ones(1, x.shape[1]) > 0), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return self.n


def first_step_s(store: FeatureStore) -> tuple[float, float]:
    """Seconds from starting the command to its first step, and those of importing torch alone."""
    code = """
import os, sys, time
from trainer.learner import Learner
step = Learner.step
def first(*args):
    step(*args)
    print(time.time(), flush=True)
    os._exit(0)
Learner.step = first
import cli
cli.main(["train", "all", "--store", sys.argv[1]])
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    began = time.time()
    command = [sys.executable, "-c", code, str(store.root)]
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    whole = float(said.split()[-1]) - began
    began = time.time()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return whole, time.time() - began


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--slides", type=int, default=420)
    parser.add_argument("--tiles", type=int, default=256)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="of the timed run")
    parser.add_argument("--full", action="store_true", help="5,781 slides, 20 epochs")
    args = parser.parse_args()
    if args.full:
        args.slides, args.epochs = 5_781, 20
    if find_spec("torchmil") is None:
        enter_peer_environment()
    with tempfile.TemporaryDirectory() as folder:
        store = build(Path(folder) / "store", args.slides, args.tiles, args.dim)
        alone = TrainConfig(
            cohort="all", steps=40, validation_fraction=0, calibration_fraction=0, resamples=1
        )
        ratios = []
        for _ in range(args.rounds):  # in turn: other work on the machine meets both
            least = np.median(steps_of(lambda: bare(alone, args.dim)))
            loop = np.median(steps_of(lambda: train(store, alone)))
            ratios.append(least / loop)
            print(
                f"bare step {least * 1e3:6.1f} ms   whole loop {loop * 1e3:6.1f} ms   "
                f"{least / loop:6.1%}"
            )
        print(f"whole loop at {np.median(ratios):.0%} of the bare step; asked: 95%")

        seen = first_step_s(store)
        print(
            f"to the first step {seen[0]:.1f} s, importing torch {seen[1]:.1f} s, "
            f"beyond it {seen[0] - seen[1]:.1f} s at {args.slides:,} slides; asked: under 3 s"
        )
        if not args.full:
            compare(Path(folder) / "peers", store, args.rounds)
        began = time.perf_counter()
        run = train(
            store,
            TrainConfig(cohort="all", epochs=args.epochs),
            lambda step, steps, note: print(note, flush=True),
        )
        print(
            f"{args.slides:,} slides x {args.tiles} x {args.dim}, {args.epochs} epochs: "
            f"{time.perf_counter() - began:.0f} s with prediction and figures, "
            f"{run.record.fit['bags_per_s']:.0f} bags/s"
        )


def compare(root: Path, store: FeatureStore, rounds: int) -> None:
    """Print bags per second of this trainer and of the peers, in turn."""
    peers = Peers(root, store)
    one = TrainConfig(
        cohort="all", epochs=1, validation_fraction=0, calibration_fraction=0, resamples=1
    )
    own = torch.get_num_threads()
    with compute_threads(BATCH * one.bag_size * peers.dim):
        ours = torch.get_num_threads()
    ways = {"torchmil": peers.torchmil_epoch, "one slide a step": peers.clam_epoch}
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        done = train(store, one).record.fit["bags_per_s"]
        rates.setdefault(("this", ours), []).append(done)
        for threads in sorted({ours, own}):
            torch.set_num_threads(threads)
            for name, epoch in ways.items():
                began = time.perf_counter()
                n = epoch()
                spent = time.perf_counter() - began
                rates.setdefault((name, threads), []).append(n / spent)
        torch.set_num_threads(own)
    for (name, threads), values in rates.items():
        times = np.median(np.array(rates["this", ours]) / np.array(values))
        print(
            f"{name:18} {threads} threads {np.median(values):6.0f} bags/s"
            f"   this is {times:.1f} times faster"
        )


if __name__ == "__main__":
    main()
