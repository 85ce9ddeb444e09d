"""Whatever is done to a foreign file, an import ends in time with a sentence; the rest comes in."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from builders.damage import cut, flip
from builders.foreign_files import EVERY, MPP, grid
from builders.longer import longer
from click.testing import CliRunner

import cli
from featurestore import FeatureStore, import_features
from featurestore.config import ImportConfig
from featurestore.errors import FeaturesRefused
from featurestore.exchange.files import CPU_S, Apart

TOOLS = dict(EVERY.values())  # the newest version of each


def rows_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, 4)).astype("float32")


def flipped(file: Path, rng: np.random.Generator) -> None:
    """One to eight bits, where HDF5 keeps its trees: at the beginning, half of the time."""
    raw = bytearray(file.read_bytes())
    within = len(raw) if rng.random() < 0.5 else min(len(raw), 4_096)
    for at in rng.integers(within, size=rng.integers(1, 9)):
        raw[at] ^= 1 << int(rng.integers(8))
    file.write_bytes(raw)


def imported(tool: str, folder: Path, root: Path) -> tuple[int, str]:
    """Exit code and words of an import into a new store."""
    FeatureStore.create(root)
    words = ["import", tool, str(folder), "--mpp", str(MPP), "--store", str(root)]
    result = CliRunner().invoke(cli.main, words, catch_exceptions=False)
    return result.exit_code, result.output


@pytest.mark.proof
@pytest.mark.parametrize("kind", EVERY)
def test_a_damaged_file_is_one_failure_and_the_others_come_in(kind: str, tmp_path: Path) -> None:
    tool, write = EVERY[kind]
    rng = np.random.default_rng(len(kind))
    folder, names = tmp_path / "of", [f"S{n}" for n in range(60)]
    for n, name in enumerate(names):
        write(folder, name, rows_of(n), grid(12))
    damaged = names[: len(names) - 10]
    for name in damaged:
        files = [p for p in sorted(folder.rglob(f"{name}[._]*")) if p.suffix != ".json"]
        (flipped, flip, cut)[int(rng.integers(3))](files[rng.integers(len(files))], rng)
    started = time.monotonic()
    code, said = imported(tool, folder, tmp_path / "store")
    assert time.monotonic() - started < 600
    assert (code, "Traceback" in said) in ((3, False), (0, False))
    store = FeatureStore(tmp_path / "store")
    there = set(store.sql("from bags")["slide_id"])
    assert there >= set(names) - set(damaged)
    failed = {
        Path(item).name.split("_")[0].split(".")[0]
        for item in store.sql("from failures where stage = 'import'")["item"]
    }
    assert there | failed == set(names)


FAULTS = {  # Python here stands for what a library does in C
    "crash": "__import__('os').abort()",
    "swell": "bytearray(2**40)",
    "hang": "any(iter(int, 1))",
}


@pytest.mark.parametrize("fault", ["crash", "swell", longer("hang")])
def test_what_kills_or_hangs_its_reader_is_refused_once(fault: str, tmp_path: Path) -> None:
    for name in ("S.h5", "T.h5"):
        (tmp_path / name).write_bytes(b"")
    started = time.monotonic()
    with closing(Apart()) as apart:
        for _ in range(2):  # the second time, nobody tries
            with pytest.raises(FeaturesRefused, match="cannot be read"):
                apart.call(eval, FAULTS[fault], tmp_path / "S.h5")
        assert apart.call(len, "1234", tmp_path / "T.h5") == 4  # the next file has a reader
    assert time.monotonic() - started < 10 * CPU_S


PAIRS = list(itertools.permutations(TOOLS, 2))


@pytest.mark.parametrize(
    ("wanted", "given"),
    [pytest.param(*pair, marks=[pytest.mark.proof] * (n % 4 > 0)) for n, pair in enumerate(PAIRS)],
)
def test_the_wrong_tool_is_told_whose_layout_it_is(wanted: str, given: str, tmp_path: Path) -> None:
    TOOLS[given](tmp_path / "of", "S", rows_of(0), grid(12))
    store = FeatureStore.create(tmp_path / "store")
    with pytest.raises(FeaturesRefused, match=f"import {given} "):
        import_features(store, ImportConfig(tool=wanted, path=tmp_path / "of"))
    assert store.sql("from failures").is_empty()
