"""Of what is erased no byte stands anywhere, whoever is killed on the way or brings it back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from builders import killed
from builders.catalog_rows import case_row, label_row, slide_row
from builders.longer import longer
from builders.withdrawn import RANDOM, SECRET, places_of, rebuilt, secret_store, slides_of
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore, layout, where_query, withdrawal
from featurestore.arrays import quarantine
from featurestore.bookkeeping import Gone, hidden
from featurestore.errors import CatalogBusy
from featurestore.types import Failure

TYPED = (
    "slide_id <> '{slide}' and slide_id <> 'S2 {slide}' -- {patient}",
    "case_id not in ('{case}','{patient}') or slide_id like '%{slide}%'",
    "slide_id <> $a and case_id <> $b and patient_id <> $c",
)


@pytest.mark.parametrize("kind", [longer("slide"), "patient"])
def test_no_byte_of_what_was_erased_stands_anywhere(tmp_path: Path, kind: str) -> None:
    store = secret_store(tmp_path / "store")
    words = {SECRET["slide"]} if kind == "slide" else {*SECRET.values(), "evidence-0"}
    assert places_of(store.root, words)
    store.withdraw(SECRET[kind], erase=True)
    assert places_of(store.root, words) == []
    assert any("1 predictions of erased" in note for note in store.run("r1").notes)
    assert store.predictions("r1").height == 0
    assert store.predictions("r2").height == 1
    assert store.sql("select count(*) from failures where stage <> 'ledger'").item() >= 4
    left = [one for one in FeatureStore.verify(store.root).failures if "the check" not in one.fault]
    assert not left
    store.record(
        [case_row(SECRET["case"], SECRET["patient"]), slide_row(SECRET["slide"], "C1", "1")]
    )
    assert SECRET["slide"] not in slides_of(store.sql("from bags"))
    for n, where in enumerate(TYPED):  # as people type who do not know, or do not want it
        values = dict(zip("abc", SECRET.values(), strict=True)) if "$" in where else None
        query = where_query(where.format(**SECRET))
        store.create_cohort(f"later{n}", query, values, split=RANDOM)
        assert len(store.bags(f"later{n}")) == 2
    assert "where (slide_id <> 'erased'" in store.cohort("later0").query
    assert store.withdraw(SECRET[kind], erase=True).erased  # again: it came back
    assert places_of(store.root, words) == []


@pytest.mark.parametrize(
    ("first", "then"),
    [
        longer("slide", "slide"),
        ("slide", "case"),
        longer("case", "patient"),
        longer("patient", "patient"),
    ],
)
def test_the_name_of_what_was_taken_out_before_is_erased_too(
    tmp_path: Path, first: str, then: str
) -> None:
    store = secret_store(tmp_path / "store")
    store.withdraw(SECRET[first])
    store.withdraw(SECRET[then], erase=True)
    assert places_of(store.root, {SECRET[first], SECRET[then]}) == []
    assert SECRET["slide"] not in slides_of(rebuilt(store).sql("from bags"))
    assert not [f for f in FeatureStore.verify(store.root).failures if "the check" not in f.fault]
    modes = {stat.S_IMODE(file.stat().st_mode) for file in store.root.glob("runs/*/*")}
    assert modes == {0o600}


def test_an_erasure_that_was_stopped_is_told_and_never_called_done(tmp_path: Path) -> None:
    store = secret_store(tmp_path / "store")
    mark = withdrawal.begun(store.root)
    mark.write_text(json.dumps([None, SECRET["case"]]))  # killed before its tombstone
    (told,) = [f for f in FeatureStore.verify(store.root).failures if "erasure" in f.fault]
    assert told.path == "tmp/erasing"
    mended = FeatureStore.verify(store.root, repair=True).mended
    again = f"trephine retire {SECRET['case']} --erase"
    assert [line for line in mended if line.startswith("nothing of ") and again in line]
    assert "what was erased is gone" not in mended
    assert store.ask("from slides").height == 3
    assert not mark.exists()
    store.withdraw(SECRET["case"], erase=True)
    mark.write_text(json.dumps([None, SECRET["case"]]))  # killed after it
    assert "what was erased is gone" in FeatureStore.verify(store.root, repair=True).mended
    assert places_of(store.root, {SECRET["case"]}) == []


DRIVER = Path(killed.__file__)
POINTS = (1, 3, 8, 15, 25, 38, 55, 80, 120, 200, 400)
RETIRE = ("retire", SECRET["patient"], "--erase")
DELETE = ("runs", "delete", "r1", "--erase", "--yes")


def erased_until(
    root: Path, at: int, sent: signal.Signals, words: Sequence[str] = RETIRE
) -> subprocess.Popen[str]:
    """`trephine retire --erase`, or another, killed or stopped before its n-th change."""
    words = [*words, "--store", str(root)]
    return subprocess.Popen(
        [sys.executable, str(DRIVER), str(at), str(int(sent)), str(root), *words],
        env=os.environ | {"PYTHONPATH": str(DRIVER.parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows_left(store: FeatureStore) -> dict[str, list[object]]:
    """All that a store says, but for when."""
    left: dict[str, list[object]] = {}
    for table in ("slides", "cases", "labels", "reports", "cohort_slides", "predictions", "runs"):
        rows = store.sql(f"from {table}")
        plain = [c for c in rows.columns if c not in ("digest", "notes")]
        left[table] = sorted(map(repr, rows.select(plain).rows()))
    return left


@pytest.mark.proof
@pytest.mark.parametrize("again", ["the same command", "verify --repair"])
def test_an_erasure_that_is_killed_anywhere_is_ended_by_the_next(
    tmp_path: Path, again: str
) -> None:
    store = secret_store(tmp_path / "store")
    words = {*SECRET.values(), "evidence-0"}
    whole = FeatureStore(shutil.copytree(store.root, tmp_path / "whole"))
    whole.withdraw(SECRET["patient"], erase=True)
    expected, is_over = rows_left(whole), False
    for at in POINTS:
        root = shutil.copytree(store.root, tmp_path / f"at-{at}")
        child = erased_until(root, at, signal.SIGKILL)
        said = child.communicate(timeout=300)[1]
        is_over = child.returncode == 0
        assert is_over or child.returncode == -signal.SIGKILL, said
        part = FeatureStore(root)
        is_told = part.ask("select 1 from tombstones where erase").height > 0
        part.record()  # whoever comes in between loses nothing
        if again == "verify --repair" and is_told:
            FeatureStore.verify(root, repair=True)
        else:
            part.withdraw(SECRET["patient"], erase=True)
        assert places_of(root, words) == [], at
        assert rows_left(part) == expected, at
        assert not list(layout.tmp_dir(root).glob("eras*")), at
        found = [f for f in FeatureStore.verify(root).failures if "the check" not in f.fault]
        assert found == [], at
        shutil.rmtree(root)
        if is_over:
            break
    assert is_over


@pytest.mark.proof
def test_a_run_whose_erasure_was_killed_is_erased_by_the_next(tmp_path: Path) -> None:
    store, ended = secret_store(tmp_path / "store"), {}
    for at in POINTS:
        for again in ("the same command", "verify --repair"):
            root = shutil.copytree(store.root, tmp_path / f"at-{at}-{again}")
            child = erased_until(root, at, signal.SIGKILL, DELETE)
            said = child.communicate(timeout=300)[1]
            ended[at] = child.returncode == 0
            assert ended[at] or child.returncode == -signal.SIGKILL, said
            part = FeatureStore(root)
            part.record()
            if again == "verify --repair" and part.ask("from tombstones where erase").height:
                FeatureStore.verify(root, repair=True)
            else:
                words = [*DELETE, "--store", str(root)]
                told = CliRunner().invoke(cli.main, words, catch_exceptions=False)
                assert (told.exit_code, "erased: run r1" in told.output) == (0, True), (at, told)
            assert not (layout.runs_dir(root) / "r1").exists()
            assert part.runs()["run_id"].to_list() == ["r2"]
            assert not list(layout.tmp_dir(root).glob("eras*"))
            shutil.rmtree(root)
        if ended[at]:
            return
    raise AssertionError("it was killed every time")


@pytest.mark.proof
def test_nobody_writes_while_files_are_erased(tmp_path: Path) -> None:
    store = secret_store(tmp_path / "store")
    for at in (20, 40):
        root = shutil.copytree(store.root, tmp_path / f"at-{at}")
        child = erased_until(root, at, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        with pytest.raises(CatalogBusy):
            FeatureStore(root).record([case_row("C9", "P9")], wait_s=0.2)
        child.send_signal(signal.SIGCONT)
        child.communicate(timeout=300)
        assert child.returncode == 0
        FeatureStore(root).record([case_row("C9", "P9")])


def test_an_erasure_deletes_nothing_foreign_that_was_set_aside_and_names_what_it_does(
    tmp_path: Path,
) -> None:
    store = secret_store(tmp_path / "store")
    gone, other = (layout.group_dir(store.root, f"{i:016x}") for i in (0, 1))
    mine = ("slides/notes.docx", "ledger/labels/notes.docx", "runs/plan.pdf", "slides/a/b.svs")
    for name in mine:
        (store.root / name).parent.mkdir(exist_ok=True)
        (store.root / name).write_text("mine")
    shutil.copytree(gone, gone.with_name("copy.zarr"))
    for group in (gone, other):
        (group / "notes.docx").write_text("mine")
    assert not [f for f in FeatureStore.verify(store.root, repair=True).failures if "a" in f.path]
    quarantine(store.root, gone)
    quarantine(store.root, other)
    said = store.withdraw(SECRET["patient"], erase=True).text()
    left = {path.name for path in layout.quarantine_dir(store.root).rglob("*") if path.is_file()}
    docs = list(layout.quarantine_dir(store.root).rglob("notes.docx"))
    assert len(docs) == 4
    assert {"plan.pdf", "b.svs", "zarr.json"} <= left
    assert "of quarantine/ deleted: quarantine/" in said
    assert "copy.zarr/zarr.json" in said
    assert f"{other.name}/zarr.json" not in said
    assert places_of(store.root, set(SECRET.values())) == []


def test_what_was_erased_is_told_counted_and_not_written_whoever_brings_it(tmp_path: Path) -> None:
    store = secret_store(tmp_path / "store")
    slide, case, patient = SECRET.values()
    store.withdraw(patient, erase=True)
    labels, reports = tmp_path / "labels.csv", tmp_path / "reports.csv"
    labels.write_text(f"case_id,value\n{case},40\nC1,30\n")
    reports.write_text(f"case_id,text\n{case},Cellularity: 40%.\nC1,Cellularity: 30%.\n")
    at = ["--store", str(store.root)]
    for words in (["--table", str(labels)], [str(reports), "--parser", "rules"]):
        told = CliRunner().invoke(cli.main, ["label", *words, *at])
        assert "cases that were erased from the store, left out: 1" in told.output
        assert case not in told.output
    words = ["review", "import", str(labels), *at]
    assert "left out: 1" in CliRunner().invoke(cli.main, words).output
    bags = {one: np.full((3, 4), n) for n, one in enumerate((slide, case, "new", "other"))}
    sides = dict(zip(bags, ("train", "train", "train", "test"), strict=True))
    patients = {"new": patient}
    told = store.add_bags("bags", bags, labels=dict.fromkeys(bags, 1.0), patients=patients)
    assert told.erased == 3
    assert "3 bags of slides that were erased" in told.text()
    assert store.add_bags("more", bags, labels=dict.fromkeys(bags, 1.0)).erased == 2
    assert store.add_bags("split", bags, labels=dict.fromkeys(bags, 1.0), splits=sides).erased == 2
    store.record([Failure(item=f"report of case {case}", stage="label", reason="no answer")])
    store.record([Failure(item=f"/archive/{slide}.svs", stage="read", reason="torn")], fold=False)
    store.record([label_row(case, 2.0), label_row("C1", 2.0)], fold=False)
    assert places_of(store.root, {*SECRET.values()}) == []
    assert store.sql("select count(*) from labels where case_id = 'C1'").item() >= 3


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1
)


@example('"', "json")
@example("'", "sql")
@given(NAMES.map(str.strip).filter(bool), st.sampled_from(["sql", "json", "word"]))
def test_an_erased_name_is_blanked_however_it_is_spelled(name: str, how: str) -> None:
    gone = Gone({("slide", hidden(name))})
    quoted = name.replace("'", "''")
    said = {"sql": f"slide_id = '{quoted}'", "json": json.dumps({"a": ["x", name]}), "word": name}
    text = gone.blank(said[how])
    if how != "word":
        assert text.endswith({"sql": " 'erased'", "json": ', "erased"]}'}[how])
    elif re.fullmatch(r"[\w.-]+", name):
        assert text == "erased"
    assert Gone({("slide", hidden(f"{name}!"))}).blank(said[how]) == said[how]
