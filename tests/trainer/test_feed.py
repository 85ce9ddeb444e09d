"""Ways of Bags to the device: all give the same, and end with their caller."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import torch

from featurestore import FeatureStore
from featurestore.errors import ConfigError, StoreDamaged
from trainer.bags import Sampler, inference_draws, training_draws
from trainer.config import Sampling
from trainer.draws import PREDICT, TRAIN
from trainer.feed import resident, streamed
from trainer.tile_filter import keep_tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("tiles", [None, "tissue > 0.5"])
@pytest.mark.parametrize("sampling", ["block", "exact"])
def test_every_way_gives_the_same_bags_and_shifts_them(
    sizes: FeatureStore, sampling: Sampling, tiles: str | None
) -> None:
    frame = keep_tiles(sizes, sizes.bags("all"), tiles)
    sampler = Sampler(frame, 16, 0, sampling)
    plan = list(itertools.islice(training_draws(frame.height, 5, 0), 9))
    shift = torch.randn(int(frame["dim"][0]))
    later: list[Callable[[], object]] = []
    with ExitStack() as stack:
        readers = [stack.enter_context(sizes.rows(frame)) for _ in range(4)]
        ways = [
            way(sampler, reader, plan, TRAIN, CPU, *rest)
            for way, reader, rest in zip(
                (streamed, resident, resident, partial(streamed, later=later)),
                readers,
                ((), (), (shift,), (shift,)),
                strict=True,
            )
        ]
        for step, batches in enumerate(zip(*ways, strict=True)):
            (x, mask, slides), *others = batches
            for x2, mask2, slides2 in others:
                expected = x if x2.dtype == torch.float16 else (x.float() - shift).bfloat16()
                assert torch.equal(x2[mask], expected[mask])
                assert torch.isfinite(x2).all()
                assert torch.equal(mask, mask2)
                assert (slides == slides2).all()
            while later and step % 3:  # now and then nobody does
                later.pop()()


def test_a_cohort_too_large_for_the_device_is_refused(
    sizes: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 25)  # 25 pages of 25 bytes
    frame = sizes.bags("all")
    sampler = Sampler(frame, 16, 0)
    with (
        sizes.rows(frame) as reader,
        pytest.raises(ConfigError, match=r"needs 1 MiB and may take 0 MiB.*Leave --resident out"),
    ):
        next(resident(sampler, reader, [], TRAIN, torch.device("cpu")))


def test_a_reading_error_reaches_the_trainer_and_leaves_no_thread(
    learnable: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = learnable.bags("all")
    sampler = Sampler(frame, 16, 0)
    before = threading.active_count()

    def fail(*_: object) -> None:
        raise StoreDamaged("short read")

    with learnable.rows(frame) as reader:
        monkeypatch.setattr(reader, "read_blocks", fail)
        with pytest.raises(StoreDamaged, match="short read"):
            list(streamed(sampler, reader, inference_draws(sampler, 1, 8), PREDICT, CPU))
        monkeypatch.undo()
        stopped = streamed(sampler, reader, training_draws(40, 8, 0), TRAIN, CPU)
        next(stopped)
        stopped.close()
    assert threading.active_count() == before


@pytest.mark.proof
def test_two_thousand_slides_work_with_256_descriptors(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
import numpy as np, polars as pl, torch
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from featurestore import RowReader
from trainer.bags import Sampler, inference_draws, training_draws
from trainer.draws import TRAIN, VALIDATE
from trainer.feed import MAX_OPEN, streamed
n, folder = 2_000, Path(sys.argv[1])
chunks = [folder / str(i) for i in range(n)]
for i, chunk in enumerate(chunks):
    chunk.write_bytes(np.full((5, 2), i, "<f2").tobytes() + bytes(4))
frame = pl.DataFrame({"slide_key": [f"{i:016x}" for i in range(n)], "n_tiles": [5] * n})
sampler = Sampler(frame, 3, 0)
seen = set()
assert MAX_OPEN == 64
readers = [RowReader(chunks, [5] * n, 2, MAX_OPEN, checked=None) for _ in range(2)]
with readers[0] as train, readers[1] as validation:
    cpu = torch.device("cpu")
    other = streamed(sampler, validation, inference_draws(sampler, 1, 64), VALIDATE, cpu)
    ours = streamed(sampler, train, training_draws(n, 64, 0), TRAIN, cpu)
    for (x, _, slides), _ in zip(ours, other):
        assert (x.numpy() == np.float16(slides)[:, None, None]).all()
        seen.update(slides.tolist())
assert len(seen) == n, len(seen)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
