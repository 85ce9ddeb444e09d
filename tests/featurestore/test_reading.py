"""A store in a notebook: frames, arrays and what it says of itself."""

from __future__ import annotations

from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
from builders import embedding_stores as es

from featurestore import FeatureStore, Readable
from featurestore.errors import ConfigError, SlideNotFound


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Six Slides, the first without a Label."""
    x, values = es.planted(6, 9)
    return es.build(tmp_path_factory.mktemp("reading") / "a <b>", x, [None, *values[1:]])


def test_embeddings_are_had_by_slide_id_name_or_prefix(store: FeatureStore) -> None:
    slides = store.slides()
    assert slides.height == 6
    slide_id, key = slides.select("slide_id", "slide_key").row(2)
    ids = store.sql(
        "select tiling_id, encoder_id, name from embeddings join encoders using (encoder_id)"
    ).row(0)
    every = [
        store.embeddings(slide_id),
        store.embeddings(key),
        store.embeddings(key, ids[0], ids[1]),
        store.embeddings(slide_id, encoder_id=ids[2]),
        store.embeddings(slide_id, tiling_id=ids[0][:6]),
    ]
    assert every[0].shape == (9, every[0].shape[1])
    assert all(np.array_equal(every[0], one) for one in every)
    with pytest.raises(SlideNotFound, match="trephine sql"):
        store.embeddings("nothing")
    with pytest.raises(ConfigError, match="encoder_id 'nope' is none of those here: "):
        store.embeddings(slide_id, encoder_id="nope")


def test_labels_are_those_of_a_target(store: FeatureStore) -> None:
    labels = store.labels()
    assert labels.height == 5
    assert {"case_id", "value", "low", "high", "method", "status"} <= set(labels.columns)
    with pytest.raises(ConfigError, match="relapse"):
        store.labels("relapse")
    with pytest.raises(ConfigError, match="no label of target 5"):
        store.labels(5)  # type: ignore[arg-type]


def test_a_store_says_what_it_holds_and_is_escaped(store: FeatureStore, tmp_path: Path) -> None:
    assert "6 slides, 6 with embeddings, 1 encoder, 0 cohorts, 0 runs)" in repr(store)
    html = methodcaller("_repr_html_")(store)  # as notebooks do
    assert "a &lt;b&gt;" in html
    assert "a <b>" not in html
    assert "<th>on disk</th><td>slides " in html
    assert "<th>Next:</th><td>trephine " in html


def test_sql_is_a_text(store: FeatureStore) -> None:
    with pytest.raises(ConfigError, match="a text, got int"):
        store.sql(3)  # type: ignore[arg-type]


def test_what_is_set_aside_is_told_after_a_question_too(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    (store.root / "ledger" / "cases" / f"{1:020}-a.parquet").write_bytes(b"garbage")
    store.record()
    other = Readable(store.root)
    other.question("select 1").plain()
    assert "1 rows or files of the ledger are set aside" in other.set_aside()
    assert other.set_aside() == store.set_aside()
