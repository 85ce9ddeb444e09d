"""The ledger: what was said is kept; what is not sound is set aside and blocks nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from builders.catalog_rows import case_row, label_row, slide_row
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore, frame_of, layout, ledger, nouns_of
from featurestore.types import Case, Failure, Slide

SOUND = [case_row("C1", "P1"), slide_row("S1", "C1", "0" * 16), label_row("C1", 40.0)]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def write(store: FeatureStore, kind: str, frame: pl.DataFrame) -> Path:
    """Put a file into the ledger as another version of the code might have."""
    path = layout.ledger_dir(store.root, kind) / "00000000000000001-1-aaaaaaaa.parquet"
    frame.write_parquet(path)
    return path


@given(
    st.lists(
        st.builds(
            Slide,
            slide_id=TEXTS,
            case_id=TEXTS,
            path=TEXTS,
            scanned_on=st.none() | st.dates(date(1970, 1, 1)),
            mpp=st.none() | st.floats(0.01, 10),
            width_px0=st.none() | st.integers(1, 10**6),
            ingested_at=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
        ),
        max_size=5,
    )
)
def test_nouns_come_back_from_their_columns(slides: list[Slide]) -> None:
    assert nouns_of(Slide, frame_of(Slide, slides)) == slides


@pytest.mark.parametrize(
    ("kind", "row", "changes", "says"),
    [
        ("cases", case_row("C9", "P9"), {"age_years": 300.0}, "age_years is 300.0, expected 0 to"),
        ("cases", case_row("C9", "P9"), {"patient_id": None}, "patient_id has no value"),
        ("slides", slide_row("S9", "C9", "1" * 16), {"specimen": "bone"}, "specimen is bone"),
        ("slides", slide_row("S9", "C9", "1" * 16), {"mpp": float("nan")}, "mpp is NaN"),
        ("slides", slide_row("S9", "C9", "1" * 16), {"width_px0": 0}, "width_px0 is 0"),
        ("labels", label_row("C9", 5.0), {"method": "guess"}, "method is guess"),
        (
            "failures",
            Failure(item="x", stage="open", reason="r"),
            {"item": None},
            "item has no value",
        ),
    ],
)
def test_a_row_that_is_not_sound_is_set_aside_and_blocks_nothing(
    store: FeatureStore, kind: str, row: Any, changes: dict[str, Any], says: str
) -> None:
    noun = type(row)
    good, bad = frame_of(noun, [row]), frame_of(noun, [row])
    bad = bad.with_columns(pl.lit(v, bad.schema[k]).alias(k) for k, v in changes.items())
    path = write(store, kind, pl.concat([bad, good]))
    store.record(SOUND)
    aside = store.sql("select item, reason from failures where stage = 'ledger'").rows()
    assert [item for item, _ in aside] == [f"{path.relative_to(store.root)} row 1"]
    assert says in aside[0][1]
    assert store.sql("select slide_id from slides where slide_id = 'S1'").height == 1
    assert nouns_of(noun, frame_of(noun, [row])) == [row]  # the sound row beside it came in
    table = store.sql(f"from {kind}").height
    assert table == sum(type(one) is noun for one in SOUND) + 1 + (kind == "failures")


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "other columns", "other types"])
def test_a_file_that_cannot_be_read_is_set_aside_and_blocks_nothing(
    store: FeatureStore, damage: str
) -> None:
    frame = frame_of(Case, [case_row("C9", "P9")])
    if damage == "other columns":
        frame = pl.DataFrame({"nothing": [1]})
    if damage == "other types":
        frame = frame.with_columns(age_years=pl.lit("old"))
    path = write(store, "cases", frame)
    whole = path.read_bytes()
    if damage in ("empty", "cut", "text"):
        path.write_bytes({"empty": b"", "cut": whole[:100], "text": b"hello" * 99}[damage])
    store.record(SOUND)
    failed = store.sql("select item from failures where stage = 'ledger'")["item"].to_list()
    assert failed
    assert all(item.startswith(str(path.relative_to(store.root))) for item in failed)
    assert store.sql("select case_id from cases").rows() == [("C1",)]
    store.record([replace(case_row("C2", "P2"))])
    assert store.sql("from cases").height == 2


def test_rows_that_only_the_catalog_refuses_are_set_aside_with_their_file(
    store: FeatureStore,
) -> None:
    """The noun has no limit there, but the table has: DuckDB's word stands in failures."""
    wide = frame_of(Slide, [slide_row("S9", "C9", "1" * 16)]).with_columns(
        extra=pl.lit("{not json")
    )
    path = write(store, "slides", wide)
    store.record([*SOUND, label_row("C2", 1.0)])
    assert store.sql("select item from failures where stage = 'ledger'").rows() == [
        (str(path.relative_to(store.root)),)
    ]
    assert store.sql("select slide_id from slides").rows() == [("S1",)]
    assert store.sql("from labels").height == 2


def test_a_file_of_an_older_version_takes_the_defaults_of_new_columns(store: FeatureStore) -> None:
    old = frame_of(Case, [case_row("C9", "P9")]).drop("age_years", "patient_made_up")
    write(store, "cases", old)
    store.record()
    assert store.sql("from cases").rows() == [("C9", "P9", False, None)]


def test_each_kind_has_a_folder_a_noun_and_folds_that_exist(store: FeatureStore) -> None:
    import sql

    folds = {Path(name).name for name in sql.names("folds")}
    named = [fold for kind in ledger.KINDS.values() for fold in kind.folds]
    assert folds - {"drop_slide_facts"} == set(named)  # that has rows of several kinds
    for kind in ledger.KINDS:
        assert layout.ledger_dir(store.root, kind).is_dir()
