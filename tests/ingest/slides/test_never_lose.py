"""Long proofs that no Slide is lost: kills, full and closed disks, company, five hundred Slides."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import ingest_stores
from builders.ingest_stores import TINY, content, plain, published, same, write
from builders.slide_files import write_svs

from featurestore import FeatureStore
from featurestore.types import Tiling
from ingest.slides.archive import read_archive
from ingest.slides.config import IngestConfig
from ingest.slides.embed import ingest_archive
from ingest.slides.encoders import load

KILLS, COMMAND_KILLS = 50, 4
INGEST = ("--weights", "random", "--encoder", TINY, "--runtime", "torch")
pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "cli", *map(str, words)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve Slides of four tiles, and one that is torn."""
    folder = tmp_path_factory.mktemp("slides")
    for i in range(12):
        write(folder / f"{i}.svs", plain(600, 20 + 9 * i), mpp=0.5, stated=0.5)
    (folder / "torn.svs").write_bytes(b"II*\0 no slide")
    return folder


def equal(whole: FeatureStore, broken: FeatureStore) -> None:
    assert content(whole.root / "slides") == content(broken.root / "slides")
    same(whole, broken, but=("ingest_times", "failures"))  # a kill loses times, and failures count


def test_an_ingest_killed_at_fifty_moments_equals_an_unbroken_one(
    slides: Path, tmp_path: Path
) -> None:
    processes = multiprocessing.get_context("forkserver")
    # imports alone take seconds; the server finds what is installed, not what lies in tests/
    processes.set_forkserver_preload(["ingest.slides.embed", "ingest.synthetic.archive"])
    rng = random.Random(0)

    def begin(store: FeatureStore) -> multiprocessing.process.BaseProcess:
        ours, theirs = processes.Pipe()
        process = processes.Process(
            target=ingest_stores.ingest_and_tell, args=(slides, store.root, theirs)
        )
        process.start()
        theirs.close()
        assert ours.recv() == "started"
        ours.close()
        return process

    whole = FeatureStore.create(tmp_path / "whole")
    took = []
    for store in (FeatureStore.create(tmp_path / "warm"), whole):
        process = begin(store)
        began = time.monotonic()
        process.join()
        took.append(time.monotonic() - began)
    kills = stores = 0
    met: dict[int, int] = {}  # slides that were published at a kill
    while kills < KILLS:
        stores += 1
        broken = FeatureStore.create(tmp_path / f"broken{stores}")
        while kills < KILLS:
            process = begin(broken)
            time.sleep(rng.uniform(0, 1.2 * max(took)))  # what comes may take longer
            if not process.is_alive():
                break
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            kills += process.exitcode == -signal.SIGKILL
            found = published(broken)
            met[len(found)] = met.get(len(found), 0) + 1
            for ids in found:  # whole, or not there
                broken.embeddings(*ids)
        process = begin(broken)
        process.join()
        assert process.exitcode == 0
        equal(whole, broken)
    print(f"{kills} kills in {stores} stores, by slides published: {sorted(met.items())}")
    assert len(met) > 2  # they met the work at several moments, on a busy machine too


def test_the_command_killed_with_its_readers_equals_an_unbroken_one(
    slides: Path, tmp_path: Path
) -> None:
    whole, broken = (FeatureStore.create(tmp_path / name) for name in ("whole", "broken"))
    began = time.monotonic()
    assert run("ingest", slides, *INGEST, "--store", whole.root).returncode == 3
    unbroken_s = time.monotonic() - began
    rng = random.Random(0)
    for _ in range(COMMAND_KILLS):
        words = command("ingest", slides, *INGEST, "--retry-failed", "--store", broken.root)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.4, 1.0) * unbroken_s)
        process.kill()
        process.wait()
        for ids in published(broken):
            broken.embeddings(*ids)
    assert run("ingest", slides, *INGEST, "--retry-failed", "--store", broken.root).returncode == 3
    equal(whole, broken)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("kib", [1640, 1800, 2400])
def test_a_full_disk_is_told_and_the_ingest_goes_on_when_there_is_room(
    slides: Path, tmp_path: Path, kib: int
) -> None:
    whole = FeatureStore.create(tmp_path / "whole")
    run("ingest", slides, *INGEST, "--store", whole.root)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs") as disk:
        store = FeatureStore.create(disk / "store")
        told = run("ingest", slides, *INGEST, "--store", store.root)
        print(kib, len(published(store)), told.stderr.splitlines()[-1])
        assert told.returncode == 1, told.stdout + told.stderr
        assert "No space left on device" in told.stderr
        assert "run the same command again" in told.stderr
        assert "Traceback" not in told.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert run("ingest", slides, *INGEST, "--store", store.root).returncode == 3
        equal(whole, store)


def test_a_store_without_the_right_to_write_is_told_and_goes_on_later(
    slides: Path, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    with mounted(store.root, "--bind", str(store.root)):  # root ignores chmod, not a closed mount
        subprocess.run(["mount", "-o", "remount,bind,ro", str(store.root)], check=True)
        told = run("ingest", slides, *INGEST, "--store", store.root)
        assert told.returncode == 1
        assert "Read-only file system" in told.stderr
        assert "Traceback" not in told.stderr
    with mounted(store.root / "slides", "--bind", str(store.root / "slides")) as inner:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(inner)], check=True)
        told = run("ingest", slides, *INGEST, "--store", store.root)
        assert (told.returncode, "Traceback" in told.stderr) == (1, False)
        assert "cannot write to the store" in told.stderr
    done = run("ingest", slides, *INGEST, "--json", "--store", store.root)
    assert (done.returncode, json.loads(done.stdout)["embedded"]) == (3, 12)


def test_two_ingests_training_and_sql_at_the_same_time_are_safe(
    archive: Path, tmp_path: Path
) -> None:
    whole, store = (FeatureStore.create(tmp_path / name) for name in ("whole", "store"))
    manifest, first, second = archive / "manifest.csv", Tiling(), ("--min-tissue", 0.3)
    run("ingest", manifest, *INGEST, "--store", whole.root)
    run("ingest", manifest, *INGEST, *second, "--store", whole.root)
    run("ingest", manifest, *INGEST, "--store", store.root)
    run("label", archive / "reports.csv", "--parser", "rules", "--store", store.root)
    assert run("cohort", "create", "all", "--where", "true", "--store", store.root).returncode == 0
    words = [("ingest", manifest, *INGEST, *second), ("ingest", manifest, *INGEST, *second)]
    words += [("train", "all", "--bag-size", 8, "--steps", 50, "--tiling", first.tiling_id)]
    processes = [
        subprocess.Popen(
            command(*w, "--store", store.root),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for w in words
    ]
    seen = []
    while any(process.poll() is None for process in processes):
        seen.append(store.sql("select count(*) from bags").item())
        time.sleep(0.5)  # a reader that never pauses keeps every writer waiting
    ended = [(process.communicate(), process.returncode) for process in processes]
    assert [code for _, code in ended] == [3, 3, 0], ended
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    assert store.sql("from runs").height == 1
    assert content(whole.root / "slides") == content(store.root / "slides")
    same(whole, store, but=("ingest_times", "failures"))


def resident_mib() -> tuple[float, float]:
    """Of this process, and of its readers together."""

    def one(pid: int | str) -> float:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    readers = [process.pid for process in multiprocessing.active_children() if process.pid]
    return one("self"), sum(one(pid) for pid in readers)


def test_memory_is_flat_over_five_hundred_slides(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    image = plain(460)
    for i in range(500):
        for bit in range(9):  # a content of its own, which JPEG keeps
            image[:48, 48 * bit : 48 * (bit + 1), 1] = 130 if i >> bit & 1 else 60
        write_svs(folder / f"{i}.svs", image, mpp=2.0)
    store = FeatureStore.create(tmp_path / "store")
    seen: dict[int, tuple[float, float]] = {}

    def on(done: int, total: int, note: str) -> None:
        if done in (200, 400, 500) and done not in seen:
            seen[done] = resident_mib()

    encoder = load(TINY, "random")
    summary = ingest_archive(
        store, read_archive(folder), encoder, Tiling(), IngestConfig(), progress=on
    )
    for n, (ours, readers) in seen.items():
        print(f"resident at {n} slides: {ours:.0f} MiB, its readers {readers:.0f} MiB")
    assert (summary.embedded, summary.tiles) == (500, 500 * 4)
    assert seen[500][0] - seen[200][0] < 40  # by 200 the queues and caches are full
    assert 0 < seen[400][1] < seen[200][1] + 40  # at 500 they have ended
