"""What is refused never comes true later: on a full disk, by Ctrl-C, a damaged catalog, a path."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import pytest
from builders.catalog_rows import case_row, label_row, slide_arrays, slide_row
from builders.copies import copy_of
from builders.damage import publish_run
from builders.longer import longer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore import folding, layout, user_sql
from featurestore.bounded_process import BoundedProcess, Bounds, serve
from featurestore.catalog_file import MAKE_ANEW, path_of
from featurestore.config import SplitConfig
from featurestore.errors import ConfigError, FileUnwritable, StoreDamaged, disk_fault
from featurestore.queries import where_query
from featurestore.store import FeatureStore


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    store = FeatureStore.create(tmp_path_factory.mktemp("made") / "store")
    for i in range(12):
        key = f"{i:016x}"
        store.publish(slide_arrays(key, 3))
        rows = [case_row(f"C{i}", f"P{i}"), slide_row(f"S{i}", f"C{i}", key)]
        store.record([*rows, label_row(f"C{i}", 5.0 * i)], fold=False)
    store.record()
    return store


@pytest.fixture
def store(made: FeatureStore, tmp_path: Path) -> FeatureStore:
    return copy_of(made, tmp_path)


def acts(store: FeatureStore, n: int) -> list[Callable[[], object]]:
    """Every way in which rows come: checked, plain, of several kinds, a Run, a tombstone."""
    split = SplitConfig(method="random")
    return [
        lambda: store.create_cohort(f"c{n}", where_query("true"), split=split),
        lambda: store.record([case_row(f"X{n}", "P"), label_row("C1", n % 100)]),
        lambda: store.withdraw(f"S{n % 12}"),
        lambda: publish_run(store, f"r{n}"),
    ]


def told(store: FeatureStore) -> tuple[set[str], list[tuple[object, ...]]]:
    """The files of the ledger and the Runs, none of which waits for a fold, and what they say."""
    files = {path.name for path in store.root.glob("ledger/*/*")}
    runs = {path.name for path in layout.runs_dir(store.root).iterdir()}
    assert files == set(store.ask("select name from ledger_files")["name"])
    assert runs == set(store.ask("select run_id from runs")["run_id"])
    tables = ("cohorts", "cases", "labels", "tombstones", "runs")
    counts = store.ask(" union all ".join(f"select '{t}', count(*) from {t}" for t in tables))
    return files | runs, sorted(counts.rows())


@contextmanager
def small_disk(n_bytes: int) -> Iterator[None]:
    """No file grows beyond these bytes, as where a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def stopped_at(number: int) -> Iterator[None]:
    """Ctrl-C when so many functions of a fold were called."""
    left = [number]

    def stop(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == folding.__file__:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

    sys.setprofile(stop)
    try:
        yield
    finally:
        sys.setprofile(None)


def is_done(store: FeatureStore, act: Callable[[], object]) -> bool:
    """Whether an act was done; one that was refused left nothing, and another works then."""
    before = told(store)
    try:
        act()
    except Exception as error:
        if not disk_fault(error):
            raise
        assert told(store) == before
        return False
    except KeyboardInterrupt:
        pass
    return told(store) != before


@pytest.mark.parametrize("room", [1000, *map(longer, (30_000, 200_000, "same")), "half", "much"])
def test_what_a_full_disk_refuses_never_comes_true(store: FeatureStore, room: int | str) -> None:
    size = path_of(store.root).stat().st_size
    sizes = {"half": size // 2, "same": size, "much": 2 * size}
    for act in acts(store, 1):

        def limited(act: Callable[[], object] = act) -> None:
            with small_disk(sizes.get(room, room)):
                act()

        done = is_done(store, limited)
        assert done or room != "much"
        assert not done or room in ("same", "much")
    assert not list(layout.tmp_dir(store.root).glob("*.parquet"))
    assert is_done(store, acts(store, 2)[0])


@pytest.mark.parametrize("kind", [1, 3])
def test_what_ctrl_c_stops_never_comes_true(store: FeatureStore, kind: int) -> None:
    for n in range(2, 99, 4):

        def stopped(n: int = n) -> None:
            with stopped_at(n):
                acts(store, n)[kind]()

        if is_done(store, stopped):
            break
    assert 5 < n < 90


@pytest.mark.parametrize("share", [longer(0.02), 0.4, longer(0.75), longer(0.95), 0.9999])
def test_nothing_is_left_of_what_a_catalog_that_was_cut_short_refuses(
    store: FeatureStore, share: float
) -> None:
    file = path_of(store.root)
    os.truncate(file, int(file.stat().st_size * share))
    refused = []
    for act in acts(store, 1)[:3]:
        before = set(store.root.glob("ledger/*/*"))
        try:
            act()
            refused.append(False)
        except StoreDamaged as error:
            refused.append(MAKE_ANEW in str(error))
            assert set(store.root.glob("ledger/*/*")) == before
    assert any(refused) or share > 0.9
    with suppress(StoreDamaged):
        assert store.sql("select count(*) from labels").item() in (12, 13)
    FeatureStore.verify(store.root, rebuild=True)
    assert store.sql("select count(*) from labels").item() == 13 - refused[1]


@given(
    name=st.text(
        st.one_of(
            st.characters(min_codepoint=32, max_codepoint=126),
            st.characters(categories=["L", "N", "P", "S", "Zs", "Cc"], exclude_characters="\0"),
            st.sampled_from("\udc80\udcff"),
        ),
        min_size=1,
        max_size=6,
    ).filter(lambda name: "/" not in name and name not in (".", "..")),
    inside=st.booleans(),
)
@example("".join(map(chr, [*range(33, 47), *range(48, 63), *range(64, 92), *range(93, 127)])), True)
@example("a\\b", False)
@example("a?b", True)
@settings(max_examples=6, deadline=None)
def test_a_store_works_wholly_at_a_path_or_is_refused_there_at_once(
    name: str, inside: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, name, "store") if inside else Path(folder, name)
        odd = {"\\", "?", "\udc80"}
        if odd & set(name):
            with pytest.raises(ConfigError, match="Rename that folder"):
                FeatureStore.create(root)
            assert not list(Path(folder).iterdir())
            return
        store = FeatureStore.create(root)
        store.record([case_row("C1", "P1"), label_row("C1", 5.0)])
        store.record([slide_row("S1", "C1", "0" * 16)])
        if inside:
            FeatureStore.verify(root, rebuild=True)
        assert store.sql("select count(*) from labels").item() == 1
        assert path_of(root).is_file()


def test_no_folder_for_temporary_files_is_told(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_sql.stop()
    monkeypatch.setattr(tempfile, "tempdir", None)
    reader = BoundedProcess(Bounds(), serve)
    for start in (lambda: store.sql("select 1"), reader.start, reader.start):
        with small_disk(0), pytest.raises(FileUnwritable, match="export TMPDIR="):
            start()
    assert store.sql("select 1").item() == 1
