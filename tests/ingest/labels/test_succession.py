"""Two calls of `label`: what the second hands in takes no value away without a word."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featurestore import FeatureStore
from ingest.labels.config import LabelConfig, OllamaConfig
from ingest.labels.recording import label_reports
from ingest.labels.scores import LabelSummary

RULES = LabelConfig(parser="rules")
DAYS = st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 9))
TEXTS = st.sampled_from(
    [
        "Core biopsy: the marrow is 40% cellular.",
        "Core biopsy: the marrow is 60% cellular.",
        "Core biopsy: the marrow is hypocellular.",
        "Cellularity: 20%. Cellularity cannot be 80%.",
        "Peripheral smear: the neutrophils are 60%.",
        "Flow cytometry: no aberrant cells are seen.",
        "Addendum: iron stores are found to be 2+.",
    ]
)
Text = tuple[str, date | None]


def handed(store: FeatureStore, *texts: Text) -> LabelSummary:
    path = store.root.parent / "reports.csv"
    rows = [{"case_id": "C1", "text": text, "reported_on": day} for text, day in texts]
    pl.DataFrame(rows, {"case_id": str, "text": str, "reported_on": pl.Date}).write_csv(path)
    return label_reports(store, path, RULES, OllamaConfig())


def value(store: FeatureStore) -> float | None:
    return next(iter(store.sql("select value from best_labels")["value"]), None)


def new(tmp: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore.create(tmp.mktemp("s") / "store")


@given(first=st.tuples(TEXTS, DAYS), second=st.tuples(TEXTS, DAYS))
def test_a_second_call_says_so_or_leaves_what_one_call_with_both_gives(
    first: Text, second: Text, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assume(first[0] != second[0] and first[1] != second[1])
    store, other = new(tmp_path_factory), new(tmp_path_factory)
    handed(store, first)
    before = value(store)
    told = handed(store, second)
    after = value(store)
    handed(other, first, second)
    said = bool(told.n_failed or "not used" in told.file_notes)
    assert not said or after == before
    gone = before is not None and after is None
    assert ("had a value" in told.text()) == gone
    if before is not None and not said:
        assert after == value(other)
    if first[1] and not second[1]:
        assert told.n_failed == 1
        assert "hand in both" in told.failures["C1"]
    if second[1] and not first[1]:
        assert "not used" in told.file_notes or told.n_failed


def test_what_is_handed_in_again_says_nothing(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    for text in ("Core: 40% cellular.", "Core: 60% cellular."):
        for _ in range(2):
            told = handed(store, (text, date(2020, 1, 1)))
            assert (told.n_failed, told.file_notes) == (0, "")
