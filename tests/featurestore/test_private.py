"""A store is its owner's, or its group's; nothing of a report but evidence is in it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from builders.embedding_stores import build, freeze, planted
from builders.longer import longer
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore
from featurestore.errors import RunNotFound
from featurestore.frames import Rows, rendered
from featurestore.types import Report, Target
from featurestore.words import quoted, unquoted
from ingest.labels.recording import record_reports
from ingest.table import Column, read_table
from trainer import TrainConfig, train

SETPRIV = shutil.which("setpriv")
GROUP, OTHER = 45_454, 54_321
RUN = """
import sys
from click.testing import CliRunner
import cli
for line in sys.argv[2:]:
    done = CliRunner().invoke(cli.main, [*line.split(), "--store", sys.argv[1]])
    print("code", done.exit_code, done.output)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
"""


def modes(root: Path) -> dict[str, int]:
    paths = [root, *root.rglob("*")]
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Twelve Slides, a Cohort, a Run."""
    made = build(tmp_path_factory.mktemp("private") / "store", *planted(12, 10))
    freeze(made, "all")
    train(made, TrainConfig(cohort="all", steps=5, bag_size=4))
    return made


def test_a_new_store_is_its_owners_alone(store: FeatureStore) -> None:
    found = modes(store.root)
    assert any(name.endswith("weights.safetensors") for name in found)
    assert {name for name, mode in found.items() if mode & 0o077} <= {
        name for name in found if name.endswith(("SHA256SUMS", "sequence"))
    }


def test_init_shared_gives_a_store_to_its_group(store: FeatureStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "store")
    done = CliRunner().invoke(cli.main, ["init", "--shared", "--store", str(tmp_path / "store")])
    assert done.exit_code == 0
    for name, mode in modes(tmp_path / "store").items():
        assert mode & 0o060 == 0o060, name
        assert mode & 0o007 == 0 or not mode & 0o002, name


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into: pytest's own are its owner's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0 or not SETPRIV, reason="needs root and setpriv")
@pytest.mark.parametrize("is_member", [longer(True), False])
def test_another_user_of_a_shared_store_works_or_gets_a_sentence(
    is_member: bool, open_folder: Path
) -> None:
    folder = open_folder / "for-the-group"
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2770)
    root = folder / "store"
    FeatureStore.create(root, shared=True)
    build(root, *planted(12, 10))
    (open_folder / "labels.csv").write_text("case_id,value\nC-0001,50\n")
    (open_folder / "labels.csv").chmod(0o644)
    lines = [f"label --table {open_folder}/labels.csv"]
    lines += ["cohort create mine --where true", "train mine --steps 5 --bag-size 4"]
    # It may read all, as it must to start Python; whether it may write, the modes alone say.
    may = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    who = [f"--reuid={OTHER}", f"--regid={OTHER}", f"--groups={GROUP if is_member else OTHER}"]
    done = subprocess.run(
        [str(SETPRIV), *who, *may, sys.executable, "-c", RUN, str(root), *lines],
        capture_output=True, text=True, check=False, cwd=Path(cli.__file__).parent,
        env={**os.environ, "HOME": "/nonexistent", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    codes = re.findall(r"^code (\d)", done.stdout, re.MULTILINE)
    assert codes == (["0"] * 3 if is_member else ["2"] * 3), done.stdout
    if not is_member:
        assert done.stdout.count("is not readable") == 3
        return
    store = FeatureStore(root)
    (run_id,) = store.sql("select run_id from runs")["run_id"]
    weights = store.run_folder(run_id) / "weights.safetensors"
    assert (weights.stat().st_uid, weights.stat().st_gid) == (OTHER, GROUP)
    assert all(mode & 0o060 == 0o060 for mode in modes(store.run_folder(run_id)).values())
    train(store, TrainConfig(cohort="mine", steps=6, bag_size=4))


@pytest.mark.parametrize("run_id", ["../x", "a/b", "..", "", "/etc/passwd", "a/../../b"])
def test_a_run_id_that_is_a_path_is_refused(run_id: str, store: FeatureStore) -> None:
    with pytest.raises(RunNotFound):
        store.run_folder(run_id)
    with pytest.raises(RunNotFound):
        store.run(run_id)


def test_nothing_of_a_report_but_its_evidence_is_in_the_store(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    long = "with quartzlong " * 30
    texts = {
        "C1": "Quartzone was seen. The marrow is 40% cellular. Quartztwo is next.",
        "C2": f"Quartzthree. The marrow, {long}, is 60% cellular {long}. Quartzfour.",
        "C3": "Quartzfive: cellularity cannot be assessed. Quartzsix.",
        "C4": "Quartzseven. CELLULARITY 30%. Blasts 5% quartzeight. The clot is 80% cellular.",
    }
    reports = [
        Report(case_id=name, text=text, reported_on=date(2021, 1, 1))
        for name, text in texts.items()
    ]
    record_reports(store, reports, target=Target(), parser="rules")
    kept = [one or "" for one in store.sql("select evidence from labels")["evidence"]]
    assert any(kept)
    assert all(len(one) <= 200 for one in kept)
    words = [f"quartz{n}" for n in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
    for text in everything(store):
        assert not [word for word in words if word in text.lower()]


def everything(store: FeatureStore) -> list[str]:
    """All bytes of a store's files as text, and what Parquet and DuckDB pack."""
    files = [path for path in store.root.rglob("*") if path.is_file()]
    found = [path.read_bytes().decode("latin-1") for path in files]
    found += [str(pl.read_parquet(path).rows()) for path in files if path.suffix == ".parquet"]
    tables = store.sql("select table_name from duckdb_tables()")["table_name"]
    return found + [str(store.sql(f"from {name}").rows()) for name in tables]


# -- cells that a spreadsheet would run ------------------------------------------------------------

CELLS = st.text(st.sampled_from("=+-@\t\r'\n 1A\"'"), max_size=6) | st.text(max_size=8)


@given(cell=CELLS)
def test_no_quoted_cell_is_run_and_every_one_reads_back(cell: str) -> None:
    shown = quoted(cell)
    assert unquoted(shown) == cell
    assert not shown.strip(" ").startswith(("=", "+", "-", "@"))
    assert not shown.startswith(("\t", "\r", "\n"))


def test_rows_as_csv_are_harmless_and_read_back(tmp_path: Path) -> None:
    ids = ["=1+1", "+A1", "-2", "@x", "plain", "'=1", "a=b", "-"]
    frame = pl.DataFrame({"slide_id": ids, "n": [-1] * len(ids), "=x": "y"})
    (text, _) = rendered(Rows(frame), "csv")
    assert isinstance(text, str)
    assert text.splitlines()[0] == "slide_id,n,'=x"
    assert text.splitlines()[1] == "'=1+1,-1,y"
    (tmp_path / "of.csv").write_text(text)
    columns = [Column(name="slide_id", kind="text"), Column(name="n", kind="number")]
    table = read_table(tmp_path / "of.csv", columns)
    assert [row.values["slide_id"] for row in table.rows][:-1] == ids[:-1]
    assert {row.values["n"] for row in table.rows} == {-1}


@pytest.fixture
def other_user(open_folder: Path) -> Iterator[Path]:
    """A folder, and this process without root's rights on it."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give its rights up")
    yield open_folder
    os.seteuid(0)


@pytest.mark.parametrize(
    ("room", "words"),
    [
        ("catalog.duckdb", ("status", "cohort list", "predict latest all", "verify")),
        ("slides", ("status", "predict latest all", "verify")),
        ("ledger/labels", ("status", "label --table labels.csv", "verify")),
        ("runs", ("runs", "predict latest all", "verify")),
        ("slides/*.zarr/*/embeddings/*/c/0/0", ("predict latest all",)),
        ("runs/*/run.json", ("predict latest all",)),
    ],
)
def test_what_may_not_be_read_is_told_as_that_and_never_as_damage(
    room: str, words: tuple[str, ...], store: FeatureStore, other_user: Path
) -> None:
    root = Path(shutil.copytree(store.root, other_user / "store"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    said = ["--store", str(root)]
    assert CliRunner().invoke(cli.main, ["predict", "latest", "all", *said]).exit_code == 0
    assert CliRunner().invoke(cli.main, ["verify", *said]).exit_code == 0
    path = next(root.glob(room))
    path.chmod(0)
    os.seteuid(OTHER)
    for command in words:
        result = CliRunner().invoke(cli.main, [*command.split(), *said])
        assert (result.exit_code, result.stdout) == (1, ""), result.output
        assert f"{path} may not be read: Permission denied. It is no damage" in result.stderr
        assert "--repair" not in result.output


def test_one_file_or_folder_that_may_not_be_read_is_a_finding_and_the_rest_is_verified(
    store: FeatureStore, other_user: Path
) -> None:
    root = Path(shutil.copytree(store.root, other_user / "store"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    flipped = max(root.glob("slides/*.zarr/*/tiles/blur/c/0"))
    flipped.write_bytes(bytes(255 - byte for byte in flipped.read_bytes()))
    inner = ("slides/*.zarr/zarr.json", "slides/*.zarr/*/embeddings/*/c/0/0", "slides/*.zarr")
    inner = (*inner, "slides/*.zarr/*/embeddings", "slides/*.zarr/*/tiles/coords/c")
    inner = (*inner, "ledger/*/*", "runs/*/run.json", "runs/*/weights.safetensors", "runs/*")
    for path in [min(root.glob(of)) for of in inner]:
        right = path.stat().st_mode
        path.chmod(0)
        os.seteuid(OTHER)
        found = {one.path: one for one in FeatureStore.verify(root).failures}
        os.seteuid(0)
        path.chmod(right)
        assert len(found) == 2, found
        assert "differs" in found.pop(flipped.relative_to(root).as_posix()).fault
        ((name, told),) = found.items()
        assert path.relative_to(root).as_posix().startswith(name)
        assert "may not be read. It is no damage" in told.fault
        assert told.mend.startswith("its owner's chmod")


def test_who_may_read_a_store_may_verify_it_and_mends_nothing(
    store: FeatureStore, other_user: Path
) -> None:
    root = Path(shutil.copytree(store.root, other_user / "store"))
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    os.seteuid(OTHER)
    result = CliRunner().invoke(cli.main, ["verify", "--store", str(root)])
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "whole")
    for how in ("--repair", "--rebuild"):
        result = CliRunner().invoke(cli.main, ["verify", how, "--store", str(root)])
        assert result.exit_code == (how == "--rebuild"), result.stderr
        assert not result.exit_code or "cannot write to the store" in result.stderr
