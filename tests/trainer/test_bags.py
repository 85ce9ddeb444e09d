from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.embedding_stores import SIZES
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import ConfigError, StoreDamaged, TrainError
from trainer.bags import Sampler, inference_draws, training_draws
from trainer.config import Sampling
from trainer.dataset import BagDataset
from trainer.draws import (
    PREDICT,
    TRAIN,
    circular_block,
    exact_rows,
    offsets,
    slide_numbers,
)
from trainer.feed import resident, streamed
from trainer.tile_filter import keep_tiles, tile_filter

KEYS = st.integers(0, 2**64 - 1)

CPU = torch.device("cpu")


@given(n=st.integers(1, 5_000), k=st.integers(1, 5_000), seed=st.integers(0, 2**32 - 1), key=KEYS)
def test_a_bag_never_repeats_or_invents_a_tile(n: int, k: int, seed: int, key: int) -> None:
    start = int(offsets(np.array([key], np.uint64), np.array([n]), seed, TRAIN, 3)[0])
    for rows in (
        circular_block(start, n, k),
        exact_rows(np.uint64(key), n, k, seed, TRAIN, 3),
    ):
        assert rows.size == min(n, k) == np.unique(rows).size
        assert 0 <= rows.min() <= rows.max() < n


@given(key=KEYS, seed=st.integers(0, 2**63 - 1), others=st.lists(KEYS, max_size=5))
def test_an_offset_does_not_depend_on_its_batch(key: int, seed: int, others: list[int]) -> None:
    alone = offsets(np.array([key], np.uint64), np.array([997]), seed, TRAIN, np.array([4]))
    keys = np.array([*others, key], np.uint64)
    draws = np.full(len(keys), 4)
    together = offsets(keys, np.full(len(keys), 997), seed, TRAIN, draws)
    assert alone[0] == together[-1]


def test_block_bags_take_every_tile_equally_often() -> None:
    n, k, draws = 50, 7, 20_000
    starts = offsets(np.full(draws, 12345, np.uint64), np.full(draws, n), 0, 0, np.arange(draws))
    counts = np.bincount(((starts[:, None] + np.arange(k)) % n).ravel(), minlength=n)
    expected = draws * k / n
    # Neighbouring counts go together, k starts each: their variance is k times a multinomial's.
    assert ((counts - expected) ** 2 / (k * expected)).sum() < 90  # 49 freedoms at most: p < 0.001


def test_exact_bags_take_every_pair_equally_often() -> None:
    n, k, draws = 8, 3, 6_000
    pairs = np.zeros((n, n))
    for draw in range(draws):
        rows = exact_rows(np.uint64(99), n, k, 0, 0, draw)
        pairs[np.ix_(rows, rows)] += 1
    observed = pairs[np.triu_indices(n, 1)]
    expected = draws * (k * (k - 1)) / (n * (n - 1))
    assert ((observed - expected) ** 2 / expected).sum() < 55  # 28 pairs: p < 0.001


def test_seeds_streams_epochs_and_slides_draw_apart() -> None:
    keys = slide_numbers(["00000000000000ff", "0000000000000100"])
    draws = [
        tuple(offsets(keys, np.array([10**9, 10**9]), *counters))
        for counters in itertools.product((0, 1), (0, 1, 2), (0, 1))
    ]
    assert len({offset for pair in draws for offset in pair}) == 2 * len(draws)


@pytest.mark.parametrize("bag_size", [16, 256])
@pytest.mark.parametrize("sampling", ["block", "exact"])
def test_batches_hold_stored_rows_padded_with_zeros(
    sizes: FeatureStore, bag_size: int, sampling: Sampling
) -> None:
    frame = sizes.bags("all")
    assert sorted(frame["n_tiles"]) == sorted(SIZES * 2)  # no Slide without tiles
    sampler = Sampler(frame, bag_size, 0, sampling)
    seen = set()
    with sizes.rows(frame) as reader:
        for batch in streamed(sampler, reader, inference_draws(sampler, 3, 5), PREDICT, CPU):
            for x, mask, slide in zip(*map(np.asarray, batch), strict=True):
                row = frame.row(int(slide), named=True)
                stored = sizes.embeddings(row["slide_key"], row["tiling_id"], row["encoder_id"])
                n = int(mask.sum())
                assert n == min(bag_size, row["n_tiles"])
                assert mask[:n].all()
                assert not x[n:].any()
                known = {r.tobytes() for r in stored}
                taken = [r.tobytes() for r in x[:n]]
                assert set(taken) <= known
                assert len(set(taken)) == n
                seen.add(int(slide))
        assert seen == set(range(frame.height))
        assert reader.bytes_read <= 1.1 * 2 * reader.dim * sum(
            min(bag_size, n) * (3 if n > bag_size else 1) for n in frame["n_tiles"]
        )


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


def test_a_tile_filter_keeps_what_it_says(learnable: FeatureStore) -> None:
    frame = keep_tiles(learnable, learnable.bags("all"), "tissue > 0.5 and not blur >= 0.3")
    for row in frame.rows(named=True):
        scores = learnable.tiles(row["slide_key"], row["tiling_id"])  # float16
        expected = np.flatnonzero((scores["tissue"] > 0.5) & (scores["blur"] < 0.3))
        assert row["rows"] == expected.tolist()
    sampler = Sampler(frame, 4, 0)
    with learnable.rows(frame) as reader:
        _, mask, _ = next(streamed(sampler, reader, inference_draws(sampler, 1, 64), PREDICT, CPU))
    assert mask.sum() == np.minimum(frame["rows"].list.len().to_numpy(), 4).sum()


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "tissue",
        "tissue > ",
        "age > 3",
        "tissue == 1",
        "1 > 0",
        "tissue > '0'",
        "tissue > 0.5; blur",
        "__import__('os')",
        "tissue.x > 0",
        "tissue[0] > 0",
        "lambda: 0",
        "tissue > 0.5 or open('x')",
        "True",
        "tissue > True",
        "(" * 300 + "tissue > 0" + ")" * 300,
    ],
)
def test_a_tile_filter_says_nothing_else(expression: str) -> None:
    with pytest.raises(ConfigError, match="--tiles takes comparisons"):
        tile_filter(expression)


def test_a_filter_that_no_tile_passes_is_refused(learnable: FeatureStore) -> None:
    with pytest.raises(TrainError, match="no tile of 40 slides passes"):
        keep_tiles(learnable, learnable.bags("all"), "tissue > 2")


@given(n=st.integers(1, 60), size=st.integers(1, 20))
def test_an_epoch_takes_every_slide_once_in_batches_of_even_size(n: int, size: int) -> None:
    plan = training_draws(n, size, 0)
    drawn: list[int] = []
    lengths = []
    while len(drawn) < n:
        draw = next(plan)
        assert (draw.draws == 0).all()
        drawn += draw.slides.tolist()
        lengths.append(len(draw.slides))
    assert sorted(drawn) == list(range(n))
    assert max(lengths) - min(lengths) <= 1
    assert (next(plan).draws == 1).all()


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


def _items(dataset: BagDataset, workers: int) -> list[torch.Tensor]:
    loader = torch.utils.data.DataLoader(dataset, batch_size=7, num_workers=workers)
    return [x for batch in loader for x in batch]


def test_the_dataset_gives_the_same_bags_under_any_number_of_workers(
    learnable: FeatureStore,
) -> None:
    dataset = BagDataset(learnable, "all", split="train", bag_size=24)
    dataset[0]  # opens a descriptor that workers must not share
    one, two = _items(dataset, 0), _items(dataset, 2)
    assert all(torch.equal(p, q) for p, q in zip(one, two, strict=True))
    dataset.set_epoch(1)
    assert not torch.equal(_items(dataset, 0)[0], one[0])


def test_the_dataset_pads_to_the_bag_and_pickles(learnable: FeatureStore) -> None:
    dataset = pickle.loads(pickle.dumps(BagDataset(learnable, "all", bag_size=50)))
    lengths = [int(mask.sum()) for _, mask, _ in (dataset[i] for i in range(len(dataset)))]
    assert lengths == [min(50, n) for n in dataset.frame["n_tiles"]]
    assert dataset[0][0].shape == (50, 8)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


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
