"""A real Ray cluster gives the same store as this machine alone, also when a node is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders.ingest_stores import TABLES, TINY, plain, write
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.device import cluster as reach
from featurestore.device import processors
from featurestore.errors import ConfigError
from featurestore.types import Progress, Tiling
from ingest.slides.config import READERS_EACH, IngestConfig
from ingest.slides.embed import ingest
from ingest.slides.worker import Spent
from ingest.slides.writer import IngestSummary

N = 8
LOCAL = {"encoder": TINY, "weights": "random", "runtime": "openvino", "workers": 1, "threads": 1}


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="two ways to share an archive"):
        IngestConfig(engine="ray", shard="1/2")
    with pytest.raises(ConfigError, match="Add --engine ray"):
        IngestConfig(address="host:6379")
    with pytest.raises(ConfigError, match="--address is empty"):
        IngestConfig(engine="ray", address=" ")


def test_more_than_the_machine_can_run_is_refused() -> None:
    n = processors()
    for most in ({"threads": n}, {"workers": READERS_EACH * n}):
        IngestConfig(**most)
        (over,) = ({name: value + 1} for name, value in most.items())
        with pytest.raises(ConfigError, match=r"must be at most .* got \d+\.$"):
            IngestConfig(**over)
        IngestConfig(**over, engine="ray")  # other machines decide


def part(n: int) -> IngestSummary:
    """One that says something of n Slides in each of its counts and lists."""
    plain = IngestSummary(encoder=None)  # type: ignore[arg-type]
    said: dict[str, Any] = {k: n for k, v in vars(plain).items() if v == 0}
    said |= {k: {f"S{n}": "why"} for k, v in vars(plain).items() if v == {}}
    return replace(plain, **said | {"stages": {"read": Spent(n, n)}})


@given(st.integers(0, 99), st.integers(100, 199))
def test_parts_of_a_call_add_up_in_every_field(a: int, b: int) -> None:
    both = part(a) + part(b)
    for name, value in vars(both).items():
        if isinstance(value, int | float):
            assert value == a + b, name
        elif isinstance(value, dict) and name != "stages":
            assert value == {f"S{a}": "why", f"S{b}": "why"}, name
    assert both.stages == {"read": Spent(a + b, a + b)}


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for i in range(N):
        write(folder / f"s{i}.svs", plain(700, green=70 + 5 * i), mpp=0.5, stated=0.5)
    (folder / "torn.svs").write_bytes(b"II*\0 no slide")
    return folder


@pytest.fixture(scope="module")
def alone(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    store = FeatureStore.create(tmp_path_factory.mktemp("alone") / "store")
    ingest(store, slides, Tiling(), IngestConfig(**LOCAL))
    return store


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each; a head without any."""
    utils = pytest.importorskip("ray.cluster_utils")
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    made.nodes = [made.add_node(num_cpus=1) for _ in range(2)]
    yield made
    made.shutdown()


def on_ray(
    cluster: Any,
    store: FeatureStore,
    slides: Path,
    progress: Progress = lambda *_: None,
    **more: Any,
) -> IngestSummary:
    config = IngestConfig(**LOCAL | more, engine="ray", address=cluster.address)
    return ingest(store, slides, Tiling(), config, progress=progress)


def arrays(store: FeatureStore) -> dict[str, bytes]:
    """Every array's bytes, by its place."""
    root = store.root / "slides"
    return {
        str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("c/*")) if f.is_file()
    }


def same(ours: FeatureStore, theirs: FeatureStore) -> None:
    assert arrays(ours) == arrays(theirs) != {}
    for table, columns in TABLES.items():
        query = f"select {columns} from {table} order by all"
        assert ours.sql(query).rows() == theirs.sql(query).rows(), table


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_two_nodes_make_the_store_of_one_machine(
    cluster: Any, alone: FeatureStore, slides: Path, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    told: list[tuple[int, int, str]] = []
    said = on_ray(cluster, store, slides, progress=lambda *how_far: told.append(how_far))
    assert (said.embedded, list(said.failures)) == (N, ["torn"])
    assert told[-1][:2] == (N + 1, N + 1)
    assert told[-1][2].rpartition(", ")[2] in ("1 worker", "2 workers")  # as many as have begun
    assert {done for done, *_ in told} == set(range(N + 2))  # each slide is told
    same(store, alone)
    assert on_ray(cluster, store, slides).known == N


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_node_that_is_lost_in_the_middle_loses_and_doubles_nothing(
    cluster: Any, alone: FeatureStore, slides: Path, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path / "store")

    def kill() -> None:
        while not any((store.root / "slides").iterdir()):
            time.sleep(0.01)
        cluster.remove_node(cluster.nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    said = on_ray(cluster, store, slides)
    killer.join()
    assert said.embedded + said.known + said.recognised == N
    ingest(store, slides, Tiling(), IngestConfig(**LOCAL))
    assert arrays(store) == arrays(alone)
    assert store.sql("select count(*) from slides").item() == N
    assert store.sql("select count(*), count(distinct slide_key) from embeddings").row(0) == (N, N)


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_slide_that_takes_workers_down_fails_alone(
    cluster: Any, slides: Path, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    stop = threading.Event()

    def hunt() -> None:
        """Kill whatever worker reads slide s3: its reader has the file open."""
        while not stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if any("s3.svs" in str(fd.readlink()) for fd in (process / "fd").iterdir()):
                        parent = (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
                        if "ray::" in Path("/proc", parent, "cmdline").read_text():
                            os.kill(int(parent), signal.SIGKILL)
                except OSError:
                    continue
            time.sleep(0.02)

    hunter = threading.Thread(target=hunt, daemon=True)
    hunter.start()
    try:
        said = on_ray(cluster, store, slides)
    finally:
        stop.set()
        hunter.join()
    assert said.failures["s3"] == "slide 's3' took down 3 workers."
    assert said.embedded + said.known + said.recognised == N - 1
    assert ("s3", 1) in store.sql("select slide_id, attempts from failures").rows()


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_no_cluster_at_the_address_is_one_sentence(slides: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    store = FeatureStore.create(tmp_path / "store")
    config = IngestConfig(**LOCAL, engine="ray", address="127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"refused\. Start one with: ray start --head"):
        ingest(store, slides, Tiling(), config)
    for wrong in ("ray://here:10001", "here:there", "127.0.0.1:99999"):
        with pytest.raises(ConfigError, match="there is no Ray cluster at"), reach(wrong):
            pass


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_worker_that_fits_no_node_is_refused(cluster: Any, slides: Path, tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"no node .* has 99 processors .* the largest has 1\."):
        on_ray(cluster, store, slides, threads=99)


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_sigterm_ends_an_ingest_with_a_word_and_leaves_nothing(
    alone: FeatureStore, slides: Path, tmp_path: Path, engine: str
) -> None:
    if engine == "ray":
        pytest.importorskip("ray")
    store = FeatureStore.create(tmp_path / "store")
    words = ["ingest", str(slides), "--store", str(store.root), "--engine", engine]
    words += [word for name, value in LOCAL.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, str(Path(__file__).parents[3] / "cli.py"), *words]
    mark = f"SLIDES_OF={tmp_path}"  # in the environment of all that it starts
    child = subprocess.Popen(
        command,
        env=os.environ | dict([mark.split("=")]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while child.poll() is None and not any((store.root / "slides").iterdir()):
        time.sleep(0.01)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=120)[1]
    assert child.returncode == 130, said
    assert said.splitlines()[-1].startswith(
        "trephine: ingest was stopped. Every finished slide is kept;"
    )
    time.sleep(2)
    assert marked(mark) == []
    ingest(store, slides, Tiling(), IngestConfig(**LOCAL))
    assert arrays(store) == arrays(alone)
    assert store.sql("select count(*) from slides").item() == N
    assert list((store.root / "tmp").iterdir()) == []


def marked(mark: str) -> list[str]:
    """Command lines of the processes that have this in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (process / "environ").read_text().split("\0"):
                found.append((process / "cmdline").read_text())
    return found
