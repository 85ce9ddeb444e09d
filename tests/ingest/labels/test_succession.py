"""Two calls of `label`: what the second hands in takes no value away without a word."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
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
Text = tuple[str, str, date | None]  # of a Case
PAIRS = st.tuples(TEXTS, DAYS, TEXTS, DAYS).filter(lambda it: it[0] != it[2] and it[1] != it[3])


def handed(store: FeatureStore, *texts: Text) -> LabelSummary:
    path = store.root.parent / "reports.csv"
    schema = {"case_id": pl.String, "text": pl.String, "reported_on": pl.Date}
    pl.DataFrame(list(texts), schema, orient="row").write_csv(path)
    return label_reports(store, path, RULES, OllamaConfig())


def values(store: FeatureStore) -> dict[str, float]:
    return dict(store.sql("select case_id, value from best_labels").iter_rows())


def told_of(told: LabelSummary, what: str) -> set[str]:
    """The Cases that a note names."""
    notes = [one for one in told.file_notes.splitlines() if one.startswith(what)]
    return {case for one in notes for case in re.findall(r"'(C\d+)'", one)}


@settings(max_examples=settings().max_examples // 8)  # a store each
@given(pairs=st.lists(PAIRS, min_size=6, max_size=10))
def test_a_second_call_says_so_or_leaves_what_one_call_with_both_gives(
    pairs: list[tuple[str, date | None, str, date | None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("s")
    store, other = (FeatureStore.create(folder / name) for name in ("store", "other"))
    first: list[Text] = [(f"C{n}", one[0], one[1]) for n, one in enumerate(pairs)]
    second: list[Text] = [(f"C{n}", one[2], one[3]) for n, one in enumerate(pairs)]
    handed(store, *first)
    before = values(store)
    told = handed(store, *second)
    after = values(store)
    handed(other, *first, *second)
    together = values(other)
    failed, unused = set(told.failures), told_of(told, "not used")
    assert not failed & unused
    assert all("hand in both" in why for why in told.failures.values())
    assert told_of(told, "had a value") == before.keys() - after.keys()
    for (case, _, day), (_, _, later) in zip(first, second, strict=True):
        if case in failed | unused:
            assert after.get(case) == before.get(case)
        elif case in before:
            assert after.get(case) == together.get(case)
        assert later or case in failed  # a date is never said to be known
        assert day or case in failed | unused


def test_what_is_handed_in_again_says_nothing(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    for text in ("Core: 40% cellular.", "Core: 60% cellular."):
        for _ in range(2):
            told = handed(store, ("C1", text, date(2020, 1, 1)))
            assert (told.n_failed, told.file_notes) == (0, "")


@pytest.mark.parametrize("status", ["final", "cancelled"])
def test_a_value_whose_report_is_void_now_stays_and_that_is_said(
    status: str, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    path = tmp_path / "reports.csv"
    path.write_text("case_id,text\nC1,Core: 40% cellular.\nC2,Core: 60% cellular.\n")
    label_reports(store, path, RULES, OllamaConfig())
    rows = f"C1,Core: 40% cellular.,{status}\nC2,Core: 60% cellular.,F\nC3,x,cancelled\n"
    path.write_text(f"case_id,text,status\n{rows}")
    told = label_reports(store, path, RULES, OllamaConfig()).text()
    assert store.sql("select value from best_labels order by 1").rows() == [(40.0,), (60.0,)]
    assert ("take it away: 1 case ('C1')" in told) == (status == "cancelled")
