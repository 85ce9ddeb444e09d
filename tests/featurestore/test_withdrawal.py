"""What is taken out is in nothing that comes later; what is erased is nowhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from builders.catalog_rows import case_row, slide_row
from builders.damage import publish_run
from builders.longer import longer
from builders.withdrawn import RANDOM, places_of, rebuilt, secret_store, slides_of
from click.testing import CliRunner

import cli
from featurestore import FeatureStore, layout, ledger, where_query
from featurestore.errors import CohortError, CohortNotFound, TrephineError
from featurestore.overview import show, status

IDS = {"slide": "S3", "case": "C3", "patient": "P3"}
WITHOUT = {"slide": {"S3"}, "case": {"S3", "S4"}, "patient": {"S3", "S4", "S5"}}
OWNER = {"slide": "S3", "case": "S4", "patient": "S5"}  # a Slide of each
OTHERS = [("slide", True), ("case", False), ("case", True), ("patient", False)]


@pytest.mark.parametrize(
    ("kind", "erase"),
    [
        ("slide", False),
        ("patient", True),
        *(longer(*one) for one in OTHERS),
    ],
)
def test_a_withdrawn_thing_is_in_nothing_that_comes_later(
    six: FeatureStore, kind: str, erase: bool
) -> None:
    told = six.withdraw(IDS[kind], erase=erase)
    assert list(told.cohorts) == ["before"]
    assert "before" in told.text()
    late = slide_row("S3", "C3", f"{3:016x}")  # what an ingest says of it later changes nothing
    six.record([case_row("C3", "P3"), late])
    for again in (six, rebuilt(six)):
        left = {f"S{i}" for i in range(6)} - WITHOUT[kind]
        for view in ("bags", "slide_overview", "cohort_bags"):
            assert slides_of(again.sql(f"from {view}")) == left, view
        assert slides_of(again.bags("before")) == left
    assert (
        slides_of(six.bags(six.create_cohort("later", where_query("true"), split=RANDOM).cohort))
        == left
    )


@pytest.mark.parametrize("kind", IDS)
def test_what_is_withdrawn_is_said_and_counted_nowhere(six: FeatureStore, kind: str) -> None:
    six.withdraw(IDS[kind])
    left = 6 - len(WITHOUT[kind])
    assert sum(side.slides for side in six.splits("before")) == left
    assert six.named("queries/cohorts")["slides"].item() == left
    assert status(six).data["retired"] == len(WITHOUT[kind])
    assert show(six, OWNER[kind]).data["retired"][0]["name"] == IDS[kind]
    assert not show(six, "S0").data["retired"]
    if kind != "slide":
        assert show(six, "C3").data["retired"][0]["kind"] == kind


@pytest.mark.parametrize("kind", ["patient", *(longer(one) for one in ("slide", "case"))])
def test_an_erased_thing_is_in_no_file_of_the_store(six: FeatureStore, kind: str) -> None:
    six.withdraw(IDS[kind], erase=True)
    gone = WITHOUT[kind]
    keys = {f"{int(slide[1]):016x}" for slide in gone}
    assert not {path.stem for path in layout.slides_dir(six.root).iterdir()} & keys
    told: Mapping[str, set[str]] = {
        "slide_id": gone,
        "case_id": {} if kind == "slide" else {"case": {"C3"}, "patient": {"C3", "C5"}}[kind],
        "patient_id": {"P3"} if kind == "patient" else set(),
    }
    for name in ledger.KINDS.keys() - {"tombstones"}:
        for file in ledger.files(six.root, name):
            rows = ledger.read(file, name)
            for column in told.keys() & set(rows.columns):
                assert not set(rows[column]) & set(told[column]), (name, column)
    assert six.sql("select dropped ->> 'erased' from cohorts").item() == str(len(gone))
    tables = ("slides", "labels", "best_labels", "cohorts", "cohort_slides", "embeddings")
    tables = (*tables, "cases", "reports", "tombstones")
    before = {t: six.sql(f"select * from {t} order by all") for t in tables}
    again = rebuilt(six)
    for table, rows in before.items():
        now = again.sql(f"select * from {table} order by all")
        known = [c for c in rows.columns if c != "embedded_at"]
        assert now.select(known).rows() == rows.select(known).rows(), table


@pytest.mark.parametrize("kind", ["slide", "case", "patient"])
@pytest.mark.parametrize("erase", [False, longer(True)])
def test_a_run_that_was_made_meanwhile_has_no_prediction_of_what_was_taken_out(
    six: FeatureStore, kind: str, erase: bool
) -> None:
    six.withdraw(IDS[kind], erase=erase)  # after the training read its slides
    for run_id, slide_id in (("gone", "S3"), ("other", "S0")):
        publish_run(six, run_id, slide_id=slide_id)
    for again in (six, rebuilt(six)):
        assert again.predictions("gone").height == 0
        assert (
            "1 slides that were taken out meanwhile have no prediction" in again.run("gone").notes
        )
        assert again.predictions("other")["slide_id"].to_list() == ["S0"]
        assert again.run("other").notes == ()
    if erase:
        assert places_of(six.root / "runs", {"S3"}) == []


def test_the_name_of_a_deleted_cohort_is_free_again(six: FeatureStore) -> None:
    first = six.cohort("before")
    assert six.withdraw("before", "cohort").runs == []
    with pytest.raises(CohortNotFound):
        six.cohort("before")
    again = six.create_cohort("before", where_query("slide_id <> 'S0'"), split=RANDOM)
    assert again.cohort_id != first.cohort_id
    for at in (six, rebuilt(six)):
        assert at.cohort("before").cohort_id == again.cohort_id
        assert "S0" not in slides_of(at.bags("before"))
        with pytest.raises(CohortError, match="exists"):
            at.create_cohort("before", where_query("true"))


def test_what_is_out_already_is_said_to_be_and_how_it_goes_on(six: FeatureStore) -> None:
    assert six.withdraw("P3").text().splitlines() == [
        "taken out: patient P3",
        "  1 cohort had it: before",
        "Its files are kept. Remove them for good with: trephine retire P3 --erase",
    ]
    assert six.withdraw("P3").text().startswith("already out: patient P3")
    assert six.ask("from tombstones").height == 1


def test_a_patient_is_shown_with_what_is_theirs(six: FeatureStore) -> None:
    told = show(six, "P3")
    assert [one["case_id"] for one in told.data["cases"]] == ["C3", "C5"]
    assert slides_of(pl.DataFrame(told.data["slides"])) == WITHOUT["patient"]


def test_what_has_no_arrays_any_more_is_to_be_ingested_first(six: FeatureStore) -> None:
    assert not status(six).data["next"].startswith("trephine ingest")
    shutil.rmtree(layout.group_dir(six.root, f"{3:016x}"))
    FeatureStore.verify(six.root, repair=True)
    assert status(six).data["next"] == "trephine ingest SLIDES"


def test_what_is_not_there_is_refused_and_changes_nothing(six: FeatureStore) -> None:
    files = sorted(six.root.rglob("*.parquet"))
    for name, kind in (("S9", None), ("P3", "slide"), ("gone", "cohort"), ("gone", "run")):
        with pytest.raises(TrephineError, match=f"{name}|no run yet"):
            six.withdraw(name, kind)
    assert sorted(six.root.rglob("*.parquet")) == files


def test_a_name_of_two_things_asks_which(six: FeatureStore) -> None:
    six.record([case_row("S0", "P9"), slide_row("S9", "S0", "9" * 16)])
    with pytest.raises(TrephineError, match="--kind"):
        six.withdraw("S0")
    assert six.withdraw("S0", "slide").names == {"slide": ["S0"]}


def test_a_damaged_run_is_deleted_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    store = secret_store(tmp_path / "store")
    (layout.runs_dir(store.root) / "r1" / "run.json").write_text("{}")
    assert store.withdraw("r1", "run", erase=True).names == {"run": ["r1"]}
    assert store.withdraw("r", "run").names == {"run": ["r2"]}


@pytest.mark.parametrize("erase", [False, True])
def test_several_runs_are_deleted_together_or_not_at_all(tmp_path: Path, erase: bool) -> None:
    store = secret_store(tmp_path / "store")
    folders = [layout.runs_dir(store.root) / name for name in ("r1", "r2")]
    options = ["--yes", "--store", str(store.root), *["--erase"] * erase]
    out = CliRunner().invoke(cli.main, ["runs", "delete", "r1", "r9", *options])
    assert (out.exit_code, out.stderr.count("\n")) == (1, 1)
    assert "run 'r9' is none of those here: " in out.stderr
    assert FeatureStore(store.root).runs()["run_id"].to_list() == ["r2", "r1"]
    assert all(folder.exists() for folder in folders)
    asked = CliRunner().invoke(cli.main, ["runs", "delete", "r1", "r2", "r1", *options[1:]])
    assert "Delete r1, r2? " in asked.stderr
    assert "r1, r2 were not deleted, for nobody said yes." in asked.stderr
    out = CliRunner().invoke(cli.main, ["runs", "delete", "r2", "r1", "r2", *options])
    verb = "erased" if erase else "taken out"
    assert (out.exit_code, out.stdout.splitlines()[0]) == (0, f"{verb}: run r1, run r2")
    assert FeatureStore(store.root).runs().is_empty()
    assert [folder.exists() for folder in folders] == [not erase] * 2


def test_several_cohorts_are_deleted_together_or_not_at_all(six: FeatureStore) -> None:
    names, options = ["one", "two"], ["--yes", "--store", str(six.root)]
    for name in names:
        six.create_cohort(name, where_query("true"), split=RANDOM)
    out = CliRunner().invoke(cli.main, ["cohort", "delete", "one", "gone", *options])
    assert (out.exit_code, "cohort 'gone' is not in the store" in out.stderr) == (1, True)
    assert {*names} <= {*six.ask("from cohorts")["cohort"]}
    out = CliRunner().invoke(cli.main, ["cohort", "delete", *names, *options])
    assert out.stdout.startswith("taken out: cohort one, cohort two\n")
    assert not {*names} & {*six.ask("from cohorts")["cohort"]}


def test_a_deleted_cohort_had_no_run_though_others_predicted_its_slides(
    six: FeatureStore,
) -> None:
    publish_run(six, "r9", slide_id="S1")
    six.create_cohort("unused", where_query("true"), split=RANDOM)
    assert six.withdraw("unused", "cohort").runs == []
