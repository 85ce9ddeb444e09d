"""The links that no foreign key holds: a whole store has no offending row, a broken one has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import duckdb
import pytest
from builders.catalog_rows import case_row, cohort_row, label_row, slide_arrays, slide_row
from builders.damage import NOT_COUNTED
from builders.longer import longer
from click.testing import CliRunner

import cli
import sql
from featurestore import catalog, queries
from featurestore.store import FeatureStore

BREAKS = {
    "patients_on_two_sides": "insert into cohort_slides select * replace ('S9' as slide_id, "
    "'test' as split) from cohort_slides limit 1",
    "slides_without_case": "delete from cases where case_id = 'C1'",
    "slides_of_two_patients": "update slides set fingerprint = 'f'",
    "embeddings_without_names": "update encoders set dim = dim + 1",
    "cohort_slides_without_embeddings": "delete from embeddings",
    "best_labels_without_label": "update best_labels set value = value + 1",
    "runs_without_cohort": "insert into runs values ('r', 'gone', 'e', 't', 'cellularity', 'mean', "
    "1, 0, 1, 0, 1, '{}', 'v', now()::timestamp, 1, null, null, 0, null)",
}


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Two Slides of two Patients with Labels, in a Cohort."""
    store = FeatureStore.create(tmp_path / "store")
    for i in (1, 2):
        key = f"{i:016x}"
        store.publish(slide_arrays(key, 9))
        store.record(
            [
                case_row(f"C{i}", f"P{i}"),
                slide_row(f"S{i}", f"C{i}", key),
                label_row(f"C{i}", 10.0 * i),
                cohort_row(f"S{i}", f"C{i}", f"P{i}", key),
            ]
        )
    return store


@pytest.mark.parametrize("name", sql.names("checks"))
def test_each_check_finds_its_break_and_nothing_in_a_whole_store(
    store: FeatureStore, name: str
) -> None:
    assert store.sql(sql.read(name)).is_empty()
    with duckdb.connect(str(catalog.path_of(store.root))) as con:
        con.execute(BREAKS[Path(name).name])
        con.execute(f"delete from migrations where {NOT_COUNTED}")
    assert not store.sql(sql.read(name)).is_empty()


@pytest.mark.parametrize("name", [*list(BREAKS)[:3], *map(longer, list(BREAKS)[3:])])
def test_every_command_that_a_check_names_works_as_printed(store: FeatureStore, name: str) -> None:
    with duckdb.connect(str(catalog.path_of(store.root))) as con:
        con.execute(BREAKS[name])
        con.execute(f"delete from migrations where {NOT_COUNTED}")
    said = CliRunner().invoke(cli.main, ["verify", "--store", str(store.root)])
    (line,) = (one for one in said.stdout.splitlines() if f"the check {name}" in one)
    commands = re.findall(r"trephine (.*?)(?:, |$)", line)
    assert [one.split()[0] for one in commands][-1] == "sql"
    for words in reversed(commands):
        done = CliRunner().invoke(cli.main, shlex.split(words), input="y\n")
        assert done.exit_code == 0, (words, done.output)


def test_every_check_can_be_asked_by_its_name(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    for check in sql.names("checks"):
        text = queries.chosen("named", None, None, Path(check).name)
        assert store.sql(text).is_empty()
        assert f"--named {Path(check).name}" in queries.listed("named").text()
