"""The catalog is a fold: again it changes nothing, and made anew it is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from builders.copies import copy_of

from featurestore import catalog, creation, folding
from featurestore.queries import where_query
from featurestore.store import FeatureStore
from featurestore.types import Failure, now

NEW_COLUMN = """
import sys
from pathlib import Path
import featurestore
from featurestore.types import Case, Slide

assert Path(featurestore.__file__).parent.parent == Path.cwd()
rows = [
    Case(case_id="C9", patient_id="P9"),
    Slide(slide_id="S9", case_id="C9", path="b.svs", slide_key="9" * 16, lot="L7"),
]
store = featurestore.FeatureStore.create(Path(sys.argv[1]))
store.record(rows)
for _ in range(2):
    print(store.ask("select lot from slide_overview order by slide_id")["lot"].to_list())
    (store.root / "catalog.duckdb").unlink()
    store = featurestore.FeatureStore.create(store.root)
"""


@pytest.fixture
def store(made: FeatureStore, tmp_path: Path) -> FeatureStore:
    return copy_of(made, tmp_path)


def test_a_new_column_of_slides_costs_the_dataclass_a_migration_and_the_view(
    store: FeatureStore, tmp_path: Path
) -> None:
    code, repository = tmp_path / "code", Path(catalog.__file__).parent.parent
    for package in ("featurestore", "sql"):
        shutil.copytree(repository / package, code / package)
    for name, line in (
        ("featurestore/types.py", "    scanner: str | None = None\n"),
        ("sql/views/slide_overview.sql", "    scanner,\n"),
    ):
        text = (code / name).read_text()
        assert text.count(line) == 1
        (code / name).write_text(text.replace(line, line + line.replace("scanner", "lot")))
    migration = "-- slides: the lot of the stain.\nalter table slides add column lot varchar"
    (code / "sql/migrations/9999_add_lot.sql").write_text(migration)
    done = subprocess.run(
        [sys.executable, "-c", NEW_COLUMN, store.root],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[None, None, None, 'L7']\n" * 2, done.stderr


def test_folding_again_changes_nothing(store: FeatureStore) -> None:
    tables = ("slides", "cases", "labels", "best_labels", "embeddings", "encoders", "tilings")
    before = [store.sql(f"from {table} order by all").rows() for table in tables]
    assert folding.fold(store.root) == 0
    assert [store.sql(f"from {table} order by all").rows() for table in tables] == before


def test_a_catalog_made_anew_from_ledger_and_arrays_is_the_same(store: FeatureStore) -> None:
    store.create_cohort("all", where_query("true"))
    tables = ("slides", "cases", "labels", "best_labels", "encoders", "tilings", "cohort_slides")
    before = [store.sql(f"from {table} order by all").rows() for table in tables]
    catalog.path_of(store.root).unlink()
    catalog.migrate(store.root)
    folding.fold(store.root)
    assert [store.sql(f"from {table} order by all").rows() for table in tables] == before
    assert store.sql("from embeddings").height == 3


def test_attempts_are_counted_and_a_success_ends_them(store: FeatureStore) -> None:
    torn = Failure(item="/slides/a.svs", stage="open", reason="it is torn", slide_id="a")
    for expected in (1, 2):
        store.record([replace(torn, seen_at=now())])
        assert store.sql("select attempts from failures").item() == expected
    store.record([replace(torn, mended=True)])
    assert store.sql("from failures").is_empty()


def test_the_catalog_says_what_an_array_was_embedded_with(store: FeatureStore) -> None:
    said = store.sql("select distinct precision, device, runtime from embeddings").rows()
    assert said == [("float32", "cpu", "torch")]
    with creation.fresh(store.root) as anew:
        assert anew.execute("select distinct runtime from embeddings").fetchall() == [("torch",)]
