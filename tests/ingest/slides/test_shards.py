"""Several processes without a coordinator: each Slide once, and the same store in the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from builders.ingest_stores import Recorder, plain, published, same, slide, take_in, write
from click.testing import CliRunner

import cli
from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Tiling
from ingest.slides.archive import read_archive
from ingest.slides.config import IngestConfig
from ingest.slides.embed import adopt
from ingest.slides.writer import IngestSummary

SLIDES = 6


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six good slides and two torn ones."""
    folder = tmp_path_factory.mktemp("slides")
    for i in range(SLIDES):
        write(folder / f"{i}.svs", plain(600, 60 + 10 * i), mpp=2.0, stated=2.0)
    for name in ("torn", "worn"):
        (folder / f"{name}.svs").write_bytes(b"II*\0 no slide")
    return folder


def part(i: int, n: int) -> IngestConfig:
    return IngestConfig(shard=f"{i}/{n}")


@pytest.mark.proof
def test_shards_and_an_adoption_equal_one_ingest(slides: Path, tmp_path: Path) -> None:
    n = 3
    whole, parts = (FeatureStore.create(tmp_path / name) for name in ("whole", "parts"))
    archive, tiling = read_archive(slides).slides, Tiling()
    take_in(whole, archive, Recorder(), tiling)
    before = (parts.root / "catalog.duckdb").read_bytes()
    seen: list[set[str]] = []
    for i in range(1, n + 1):
        known = {ids.slide_key for ids in published(parts)}
        done = take_in(parts, archive, Recorder(), tiling, part(i, n))
        seen.append({ids.slide_key for ids in published(parts)} - known)
        assert all(int(key, 16) % n == i - 1 for key in seen[-1])
        assert done.embedded + len(done.failures) + done.elsewhere == len(archive)
    assert sum(map(len, seen)) == len(set().union(*seen)) == SLIDES  # disjoint and complete
    # again, before anything is adopted: known from arrays and ledger
    again = take_in(parts, archive, Recorder(), tiling, part(1, n))
    assert (again.embedded, again.known) == (0, len(seen[0]))
    assert (parts.root / "catalog.duckdb").read_bytes() == before
    assert parts.sql("from slides").is_empty()
    gained = adopt(parts)
    assert gained.json() == {"slides": SLIDES, "embeddings": SLIDES, "failures": 2}
    assert "adopted 6 slides, 6 arrays of embeddings, 2 failures" in gained.text()
    assert adopt(parts).json() == {"slides": 0, "embeddings": 0, "failures": 0}
    same(whole, parts)


def test_a_shard_counts_attempts_that_no_catalog_knows_yet(tmp_path: Path) -> None:
    path = tmp_path / "torn.svs"
    path.write_bytes(b"II*\0 no slide")
    store = FeatureStore.create(tmp_path / "store")

    def run() -> IngestSummary:
        archive = [slide(path)]
        return take_in(store, archive, Recorder(), Tiling(), part(1, 1))

    assert [len(run().failures) for _ in range(4)] == [1, 1, 1, 0]
    adopt(store)
    assert store.sql("select attempts from failures").item() == 3
    assert run().given_up == 1


@pytest.mark.proof
def test_shards_run_at_the_same_time_beside_a_reader_of_the_catalog(
    slides: Path, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    hold = "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(store.root / "catalog.duckdb")], stdin=subprocess.PIPE
    )
    command = [sys.executable, "-m", "cli", "ingest", str(slides), "--store", str(store.root)]
    command += ["--weights", "random", "--encoder", "timm:test_vit", "--workers", "1", "--json"]
    try:
        shards = [
            subprocess.Popen([*command, "--shard", f"{i}/2"], stdout=subprocess.PIPE, text=True)
            for i in (1, 2)
        ]
        said = [json.loads(shard.communicate(timeout=120)[0]) for shard in shards]
    finally:
        holder.communicate(b"\n")
    assert sum(part["embedded"] for part in said) == SLIDES
    assert all(part["embedded"] + part["elsewhere"] <= SLIDES + 2 for part in said)
    assert sorted(name for part in said for name in part["failures"]) == ["torn", "worn"]
    out = CliRunner().invoke(cli.main, ["ingest", "--adopt-only", "--store", str(store.root)])
    assert "adopted 6 slides, 6 arrays of embeddings, 2 failures" in out.stdout
    assert store.sql("select count(*) from bags").item() == SLIDES


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b"])
def test_a_shard_that_makes_no_sense_is_refused(shard: str) -> None:
    with pytest.raises(ConfigError, match="--shard is I/N"):
        IngestConfig(shard=shard)


@pytest.mark.parametrize("words", [[], ["x", "--adopt-only"]])
def test_slides_and_an_adoption_at_once_are_a_mistake_of_use(
    tmp_path: Path, words: list[str]
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    out = CliRunner().invoke(cli.main, ["ingest", *words, "--store", str(store.root)])
    assert out.exit_code == 2
    assert "one of the two" in out.stderr
