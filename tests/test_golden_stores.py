"""Stores made by earlier versions open, and their Runs predict the same."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from featurestore import FeatureStore
from trainer import predict

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.tgz"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Twelve Slides of 3 to 14 tiles, a Cohort and a Run, as that version left them."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "store"


def test_an_old_store_opens_and_its_run_predicts_the_same(old: Path) -> None:
    store = FeatureStore.create(old)
    assert "of an earlier version" in store.older
    assert FeatureStore.create(old).older == ""
    assert store.sql("from slides").height == 12
    record = store.run("latest")
    kept = store.predictions(record.run_id)
    again = predict(store, record.run_id).join(kept, on="slide_id", suffix="_then")
    assert again.height == kept.height > 0
    # another kind of processor adds up in another order
    assert (again["mean"] - again["mean_then"]).abs().max() < 2e-5
    assert again["label"].equals(again["label_then"])
    assert again["label"].null_count() == 0
    asked = store.sql("select slide_id, label from predictions order by slide_id")
    assert asked.equals(kept.select("slide_id", "label"))
    assert (
        store.sql("select value from metrics where metric = 'r2' and split = 'test'").item()
        == (record.metrics["test"]["r2"])
    )


def test_an_old_catalog_made_anew_from_the_ledger_says_the_same(old: Path) -> None:
    store = FeatureStore.create(old)
    tables = ("slides", "cases", "labels", "best_labels", "cohorts", "cohort_slides", "predictions")
    before = [store.sql(f"from {table} order by all").rows() for table in tables]
    (old / "catalog.duckdb").unlink()
    store = FeatureStore.create(old)
    store.record()
    assert [store.sql(f"from {table} order by all").rows() for table in tables] == before
