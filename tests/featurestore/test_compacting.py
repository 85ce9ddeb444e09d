"""Compacted or not, killed or not, late or not: the ledger says the same, once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from builders.catalog_rows import case_row, cohort_row, label_row, slide_row
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from featurestore import FeatureStore, compacting, folding, layout, ledger
from featurestore.bookkeeping import Failure, Tombstone

TABLES = (
    "cases",
    "slides",
    "labels",
    "best_labels",
    "cohorts",
    "cohort_slides",
    "failures where stage <> 'ledger'",
    "slide_facts",
    "tombstones",
)
NUMBERS = st.integers(0, 3)
ROWS = st.one_of(
    st.builds(lambda i, j: case_row(f"C{i}", f"P{j}"), NUMBERS, NUMBERS),
    st.builds(lambda i, j: slide_row(f"S{i}", f"C{j}", f"{i:016x}"), NUMBERS, NUMBERS),
    st.builds(lambda i, v: label_row(f"C{i}", float(v)), NUMBERS, NUMBERS),
    st.builds(lambda i: cohort_row(f"S{i}", f"C{i}", f"P{i}", f"{i:016x}"), NUMBERS),
    st.builds(lambda i: Tombstone(kind="cohort", name=f"S{i}"), NUMBERS),
    st.builds(lambda i: Failure(item=f"x{i}", stage="open", reason="r"), NUMBERS),
    st.builds(lambda i: Failure(item=f"x{i}", mended=True), NUMBERS),
)
STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(ROWS, min_size=1, max_size=6)),
    st.tuples(st.just("late"), st.lists(ROWS, min_size=1, max_size=2)),
    st.tuples(
        st.sampled_from(["fold", "compact", "killed before", "killed after", "rebuild"]),
        st.just([]),
    ),
)


def tables_of(store: FeatureStore) -> dict[str, list[tuple]]:
    return {table: store.ask(f"from {table} order by all").rows() for table in TABLES}


def rebuilt(root: Path) -> FeatureStore:
    (root / layout.CATALOG).unlink()
    return FeatureStore.create(root)


class Twins:
    """A store that is compacted, and what was ever said of it in plain files."""

    def __init__(self, place: Path) -> None:
        self.root, self.plain, self.n = place / "store", place / "plain", 0
        FeatureStore.create(self.root)
        FeatureStore.create(self.plain)
        self.held: list[Path] = []  # written by another machine, and not seen here yet

    def append(self, rows: list[object], late: bool) -> None:
        for file in ledger.append(self.root, rows):
            kind = file.parent.name
            shutil.copy(file, layout.ledger_dir(self.plain, kind) / file.name)
            if late:
                self.held.append(file.rename(self.plain / file.name))
                self.held[-1] = self.held[-1].rename(self.plain / f"{kind} {file.name}")

    def deliver(self) -> None:
        for file in self.held:
            kind, name = file.name.split(" ")
            file.rename(layout.ledger_dir(self.root, kind) / name)
        self.held.clear()

    def compact(self, how: str) -> None:
        """Compact; put back what a kill would have left."""
        folding.fold(self.root, published=())
        catalog = self.root / layout.CATALOG
        before = {file: file.read_bytes() for file in self.root.rglob("*.parquet")}
        known = catalog.read_bytes()
        compacting.compact(self.root, at_least=2)
        if how == "compact":
            return
        for n, (file, content) in enumerate(before.items()):
            if how == "killed before" or n % 2:
                file.write_bytes(content)
        if how == "killed before":
            catalog.write_bytes(known)

    def step(self, what: str, rows: list[object]) -> None:
        if what in ("append", "late"):
            self.append(rows, late=what == "late")
        elif what == "fold":
            self.deliver()
            folding.fold(self.root, published=())
        elif what == "rebuild":
            rebuilt(self.root)
        else:
            self.compact(what)


def check_equal(place: Path, steps: list[tuple[str, list[object]]]) -> None:
    twins = Twins(place)
    for what, rows in [*steps, ("fold", []), ("compact", []), ("fold", [])]:
        twins.step(what, rows)
    expected = tables_of(rebuilt(twins.plain))
    store, files = FeatureStore(twins.root), "select * exclude (folded_at) from ledger_files"
    assert tables_of(store) == expected
    known = set(store.ask(files).rows())
    again = rebuilt(twins.root)
    assert tables_of(again) == expected
    assert set(again.ask(files).rows()) == known


def test_a_compacted_ledger_says_what_its_files_said_also_after_kills_and_late_files(
    tmp_path: Path,
) -> None:
    failed = Failure(item="x", stage="open", reason="r")
    first, last = case_row("C1", "P1"), case_row("C1", "P2")
    steps: list[tuple[str, list[object]]] = [
        ("append", [first, failed, cohort_row("S1", "C1", "P1", "0" * 16)]),
        ("late", [first, failed]),
        ("append", [last, failed, Tombstone(kind="cohort", name="S1")]),
        ("killed before", []),
        ("append", [label_row("C1", 3.0), failed]),
        ("append", [label_row("C1", 4.0), cohort_row("S1", "C1", "P2", "0" * 16)]),
        ("killed after", []),
    ]
    check_equal(tmp_path, steps)
    assert len(list((tmp_path / "store" / "ledger").rglob("*.parquet"))) < 12


@pytest.mark.proof
@pytest.mark.timeout(900)
@settings(max_examples=40, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(steps=st.lists(STEPS, min_size=3, max_size=9))
def test_whatever_is_appended_folded_compacted_killed_and_rebuilt_the_catalog_is_the_same(
    steps: list[tuple[str, list[object]]],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        check_equal(Path(place), steps)


KILLED = """
import os, signal, sys
from pathlib import Path
from featurestore import compacting
left = int(sys.argv[2])
def count(frame, event, argument):
    global left
    left -= event == "c_call"
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
sys.setprofile(count)
compacting.compact(Path(sys.argv[1]), at_least=2)
sys.setprofile(None)
print(int(sys.argv[2]) - left)
"""
NEVER, KILLS = 10**9, 15


@pytest.mark.proof
@pytest.mark.timeout(900)
def test_a_compaction_that_is_killed_anywhere_loses_and_doubles_nothing(tmp_path: Path) -> None:
    twins = Twins(tmp_path)
    for i in range(4):
        twins.append([Failure(item="x", stage="open", reason="r"), label_row("C1", i)], late=False)
        twins.append([case_row("C1", f"P{i}")], late=False)
    folding.fold(twins.root, published=())
    expected = tables_of(FeatureStore(twins.root))

    def compacted(at: int) -> subprocess.CompletedProcess[str]:
        root = tmp_path / f"killed-{at}"
        shutil.copytree(twins.root, root)
        command = [sys.executable, "-c", KILLED, str(root), str(at)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        folding.fold(root, published=())
        assert tables_of(FeatureStore(root)) == expected, at
        assert tables_of(rebuilt(root)) == expected, at
        assert not FeatureStore.verify(root).failures, at
        return done

    calls = int(compacted(NEVER).stdout)
    killed = [compacted(at).returncode for at in range(0, calls, calls // KILLS)]
    assert killed.count(-signal.SIGKILL) >= KILLS - 1
