"""Splits: never two sides for a Patient, and the time split by the first test date."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders.catalog_rows import case_row, cohort_row, label_row, slide_arrays, slide_row
from builders.copies import copy_of
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.cohorts import split
from featurestore.config import SplitConfig
from featurestore.errors import CohortError, CohortNotFound
from featurestore.queries import where_query
from featurestore.store import FeatureStore

DAY0 = date(2020, 1, 1)


def slides(rows: list[tuple[str, int | None]]) -> pl.DataFrame:
    """Slides from (patient, day) pairs."""
    return pl.DataFrame(
        {
            "slide_id": [f"S{i}" for i in range(len(rows))],
            "patient_id": [patient for patient, _ in rows],
            "value": [float(7 * i % 100) for i in range(len(rows))],
            "dated": [None if d is None else DAY0 + timedelta(days=d) for _, d in rows],
        },
        schema_overrides={"dated": pl.Date},
    )


def brute_force_border(frame: pl.DataFrame, order: list[str], fraction: float) -> float:
    """Distance to the wanted share of the best border, by trying each one out."""
    rank = {patient: i for i, patient in enumerate(order)}
    rows = [(rank[p], d) for p, d in frame.select("patient_id", "dated").iter_rows()]
    best = 1.0
    for k in range(1, len(order)):
        first_test = min(d for r, d in rows if r >= k)
        train = sum(r < k and d <= first_test for r, d in rows)
        test = sum(r >= k for r, d in rows)
        best = min(best, abs(test / (train + test) - fraction))
    return best


@given(
    st.lists(st.tuples(st.sampled_from("abcdefghij"), st.integers(0, 30)), min_size=4, max_size=40),
    st.sampled_from([0.2, 0.5, 0.7]),
)
@settings(max_examples=150, deadline=None)
def test_the_time_split_keeps_its_laws(rows: list, fraction: float) -> None:
    frame = slides(rows)
    if frame["patient_id"].n_unique() < 2 or frame["dated"].n_unique() < 2:
        return
    made, dropped = split(frame, SplitConfig(test_fraction=fraction))
    train, test = (made.filter(pl.col("split") == side) for side in ("train", "test"))
    assert not set(train["patient_id"]) & set(test["patient_id"])
    assert train["dated"].max() <= test["dated"].min()
    assert made.height + sum(dropped.values()) == frame.height
    firsts = frame.group_by("patient_id").agg(pl.col("dated").min()).sort("dated")
    if firsts["dated"].n_unique() == firsts.height:  # the order of ties is a hash's business
        got = abs(test.height / made.height - fraction)
        assert got == pytest.approx(
            brute_force_border(frame, firsts["patient_id"].to_list(), fraction)
        )


def test_late_slides_of_train_patients_are_dropped_and_counted_or_kept() -> None:
    frame = slides([("a", 0), ("a", 99), ("b", 1), ("c", 50), ("d", 60)])
    made, dropped = split(frame, SplitConfig())
    assert made.filter(pl.col("slide_id") == "S1").is_empty()
    assert dropped == {"late, of train patients": 1}
    made, dropped = split(frame, SplitConfig(late_slides="keep"))
    assert made.filter(pl.col("slide_id") == "S1")["split"].to_list() == ["train"]
    assert dropped == {}


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    frame = slides([(p, d) for d, p in enumerate("abcabdefgh")])
    there, back = (split(f, SplitConfig())[0].sort("slide_id") for f in (frame, frame.reverse()))
    assert there.equals(back)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", 1), ("b", None)], "1 of 2 slides.*--undated drop"),
        ([("a", 1), ("b", 1)], "one date.*--split random"),
        ([("a", 1), ("a", 2)], "at least 2 patients"),
        ([("a", 1)], r"at least 2 patients, got 1 with 1 slide\. Widen .*trephine predict RUN"),
    ],
)
def test_what_time_cannot_split_is_refused_with_the_count(rows: list, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        split(slides(rows), SplitConfig())


def test_undated_slides_can_be_dropped() -> None:
    _, dropped = split(slides([("a", 1), ("b", 2), ("c", None)]), SplitConfig(undated="drop"))
    assert dropped == {"undated": 1}


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=6, max_size=60), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_random_and_fold_splits_never_part_a_patient(patients: list[str], seed: int) -> None:
    frame = slides([(p, 0) for p in patients])
    if frame["patient_id"].n_unique() < 3:
        return
    for config in (
        SplitConfig(method="random", seed=seed),
        SplitConfig(method="folds", folds=3, seed=seed),
    ):
        made, _ = split(frame, config)
        sides = made.group_by("patient_id").agg(pl.col("split").n_unique())["split"]
        assert (sides == 1).all()
        assert made["split"].n_unique() == (2 if config.method == "random" else 3)
        assert made.equals(split(frame, config)[0])


@given(st.integers(2, 9), st.integers(0, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_folds_and_sides_have_the_whole_range_of_labels(k: int, seed: int, data: Any) -> None:
    n = data.draw(st.integers(k, 120))
    values = data.draw(st.lists(st.floats(0, 100), min_size=n, max_size=n, unique=True))
    frame = slides([(f"P{i}", 0) for i in range(n)]).with_columns(value=pl.Series(values))
    made, _ = split(frame, SplitConfig(method="folds", folds=k, seed=seed))
    sizes = made["split"].value_counts()["count"]
    assert sizes.max() - sizes.min() <= 1
    ranks = made.sort("value").with_row_index("rank")
    for side in map(str, range(k)):  # of any k + 1 neighbours in label, and so on, one at least
        gaps = ranks.filter(pl.col("split") == side)["rank"].cast(pl.Int64).diff().drop_nulls()
        assert (gaps < 3 * k).all()
    binary = frame.with_columns(value=(pl.col("value") > 50).cast(pl.Float64))
    made, _ = split(binary, SplitConfig(method="random", seed=seed))
    shares = made.group_by("split").agg(pl.col("value").mean(), pl.len()).sort("split")
    assert shares.height == 2
    assert abs(shares["len"][1] - n / 2) <= 1
    if n > 60:
        assert abs(shares["value"][0] - shares["value"][1]) < 0.25


@given(st.integers(2, 9), st.integers(0, 9), st.lists(st.booleans(), min_size=9, max_size=120))
@settings(max_examples=60, deadline=None)
def test_folds_share_two_classes_evenly(k: int, seed: int, positive: list[bool]) -> None:
    rng = np.random.default_rng(seed)
    of = [i for i in range(len(positive)) for _ in range(rng.integers(1, 4))]
    value = pl.Series([100.0 * (positive[i] and rng.random() < 0.9) for i in of])
    made, _ = split(
        slides([(f"P{i}", 0) for i in of]).with_columns(value=value),
        SplitConfig(method="folds", folds=k, seed=seed),
    )
    each = made.group_by("patient_id").agg(pl.col("split").first(), pl.col("value").max() > 0)
    for some in each, each.filter("value"), each.filter(~pl.col("value")):
        counts = [some.filter(split=str(fold)).height for fold in range(k)]
        assert max(counts) - min(counts) <= 1


@given(st.integers(2, 9), st.integers(0, 9), st.lists(st.integers(0, 12), min_size=9, max_size=99))
def test_folds_share_each_of_many_labels_evenly(k: int, seed: int, labels: list[int]) -> None:
    frame = slides([(f"P{i}", 0) for i in range(len(labels))])
    frame = frame.with_columns(value=pl.Series(labels, dtype=pl.Float64))
    made, _ = split(frame, SplitConfig(method="folds", folds=k, seed=seed))
    for some in made, *made.partition_by("value"):
        counts = [some.filter(split=str(fold)).height for fold in range(k)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("labels", "folds"),
    [
        ([7 * i % 31 for i in range(31)], "1232011322210302133001230300321"),
        ([i % 3 == 0 for i in range(31)], "2200131111312202233030021313203"),
    ],
)
def test_a_seed_deals_distinct_labels_and_two_classes_as_ever(
    labels: list[float], folds: str
) -> None:
    rng = np.random.default_rng(1)
    of = [i for i in range(len(labels)) for _ in range(rng.integers(1, 4))]
    value = pl.Series([float(labels[i]) for i in of])
    frame = slides([(f"P{i}", 0) for i in of]).with_columns(value=value)
    made, _ = split(frame, SplitConfig(method="folds", folds=4, seed=3))
    sides = dict(made.select("patient_id", "split").iter_rows())
    assert "".join(sides[f"P{i}"] for i in range(len(labels))) == folds


def test_a_table_must_name_every_slide_and_part_no_patient() -> None:
    frame = slides([("a", 0), ("a", 1), ("b", 2)])
    made, _ = split(frame, SplitConfig(method="table", table={"a": "train", "S2": "test"}))
    assert made["split"].to_list() == ["train", "train", "test"]
    with pytest.raises(CohortError, match="1 slides have no split"):
        split(frame, SplitConfig(method="table", table={"a": "train"}))
    with pytest.raises(CohortError, match="'s02' is likely 'S2'"):
        split(frame, SplitConfig(method="table", table={"a": "train", "s02": "test"}))
    with pytest.raises(CohortError, match="more than one side"):
        split(frame, SplitConfig(method="table", table={"S0": "train", "S1": "test", "S2": "test"}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Eight labelled slides of four patients; one more is a clot, one has no label, one no tile."""
    store = FeatureStore.create(tmp_path_factory.mktemp("made") / "store")
    rows, cases, labels = [], [], []
    for i in range(11):
        store.publish(slide_arrays(f"{i:016x}", 0 if i == 10 else 5 + i))
        day = DAY0 + timedelta(days=40 * i)
        specimen = "clot" if i == 8 else "core" if i % 2 else None
        rows.append(slide_row(f"S{i}", f"C{i}", f"{i:016x}", day, specimen=specimen))
        cases.append(case_row(f"C{i}", f"P{i // 2}"))
        if i != 9:
            labels.append(label_row(f"C{i}", 5.0 + 8 * i))
    store.record([*rows, *cases, *labels])
    return store


@pytest.fixture
def store(made: FeatureStore, tmp_path: Path) -> FeatureStore:
    return copy_of(made, tmp_path)


def test_a_cohort_keeps_cores_with_label_and_says_what_it_left_out(store: FeatureStore) -> None:
    made = store.create_cohort("all", where_query("true"))
    sides = {side.split: side.slides for side in store.splits("all")}
    assert sides == {"train": 4, "test": 4}
    assert made.dropped == {"specimen other than core": 1, "without a label of cellularity": 1}
    bags = store.bags("all")
    assert bags["slide_id"].to_list() == [f"S{i}" for i in range(8)]
    assert bags["value"].to_list() == [5.0 + 8 * i for i in range(8)]


def test_a_condition_on_specimen_is_taken_at_its_word(store: FeatureStore) -> None:
    store.create_cohort("any", where_query("specimen = 'clot' or cellularity < 30"))
    assert "S8" in store.bags("any")["slide_id"].to_list()


def test_a_cohort_is_frozen(store: FeatureStore) -> None:
    before = store.create_cohort("some", where_query("cellularity < 40"))
    store.record([label_row("C0", 99.0, method="human")])
    assert store.cohort("some") == before
    assert store.bags("some")["value"][0] == 5.0
    with pytest.raises(CohortError, match="never change"):
        store.create_cohort("some", where_query("true"))


CREATE = """
import sys
from featurestore import FeatureStore, where_query
from featurestore.errors import CohortError
store = FeatureStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
try:
    print(store.create_cohort("one", where_query(sys.argv[2])).cohort_id)
except CohortError as error:
    print(error)
"""


def test_a_cohort_that_is_read_ahead_is_the_same_once(store: FeatureStore) -> None:
    store.create_cohort("all", where_query("true"))
    expected = store.bags("all")
    store.read_ahead("it", lambda: store.bags("all"))
    other = pickle.loads(pickle.dumps(store))
    assert other.taken("it", lambda: other.bags("all")).equals(expected)
    assert all(store.taken("it", lambda: expected).equals(expected) for _ in range(2))
    store.read_ahead("none", lambda: store.bags("none"))
    with pytest.raises(CohortNotFound):
        store.taken("none", lambda: expected)


def test_two_creates_of_one_name_give_one_cohort_and_the_other_is_refused(
    store: FeatureStore,
) -> None:
    path = str(store.root / "catalog.duckdb")
    held = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print(); sys.stdin.readline()"

    def begin(code: str, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        made = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdin=pipe, stdout=pipe, text=True
        )
        assert made.stdout is not None
        made.stdout.readline()
        return made

    wheres = ("cellularity < 60", "cellularity > 20")
    both = [begin(CREATE, str(store.root), where) for where in wheres]
    holder = begin(held, path)  # so that both wait for the lock, and get it in any order
    for one in both:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    time.sleep(0.3)
    assert not list((store.root / "ledger/cohorts").iterdir())  # nothing without the lock
    holder.communicate("\n")
    said = sorted(one.communicate()[0].strip() for one in both)
    assert "never change" in max(said, key=len)
    assert store.cohort("one").cohort_id in said
    (file,) = (store.root / "ledger/cohorts").iterdir()
    assert pl.read_parquet(file)["cohort_id"].unique().to_list() == [store.cohort("one").cohort_id]


@pytest.mark.parametrize(
    ("name", "query", "message"),
    [
        ("x", "select case_id from bags", "slide_id"),
        ("x", where_query("cellularity > 1000"), "no slide is left"),
        ("a b", where_query("true"), "letters"),
    ],
)
def test_a_cohort_that_makes_no_sense_is_refused(
    store: FeatureStore, name: str, query: str, message: str
) -> None:
    with pytest.raises(CohortError, match=message):
        store.create_cohort(name, query)
    with pytest.raises(CohortNotFound, match="cohort list"):
        store.cohort("x")


@pytest.fixture
def copies(tmp_path: Path) -> FeatureStore:
    """Six Slides; S1 is a copy of S0 under another Patient, S3 of S2 under another mpp."""
    store, rows = FeatureStore.create(tmp_path / "store"), list[object]()
    for i in range(6):
        key = f"{0 if i == 1 else i:016x}"
        store.publish(slide_arrays(key, 9))
        changes = {"fingerprint": f"{2:016x}"} if i == 3 else {}
        day = DAY0 + timedelta(days=i)
        slide = slide_row(f"S{i}", f"C{i}", key, day, **changes)
        rows += [case_row(f"C{i}", f"P{i}"), slide, label_row(f"C{i}", 10.0 * i)]
    store.record(rows)
    return store


def test_one_content_under_two_patients_is_refused_or_kept_once(copies: FeatureStore) -> None:
    with pytest.raises(CohortError, match=r"2 contents .*'S0', 'S1' of patients 'P0', 'P1'"):
        copies.create_cohort("all", where_query("true"))
    made = copies.create_cohort("all", where_query("true"), split=SplitConfig(duplicates="drop"))
    assert made.dropped == {"with the content of another": 2}
    assert copies.bags("all")["slide_id"].to_list() == ["S0", "S2", "S4", "S5"]
    copies.create_cohort("some", where_query("slide_id in ('S0', 'S2', 'S5')"))  # without copies


def test_one_content_of_one_patient_is_no_leak(copies: FeatureStore) -> None:
    copies.record([case_row(f"C{i}", "P0") for i in (0, 1)])
    copies.record([case_row(f"C{i}", "P2") for i in (2, 3)])
    assert len(copies.bags(copies.create_cohort("all", where_query("true")).cohort)) == 6


def test_a_cohort_of_broken_links_is_refused_and_other_breaks_are_told(
    copies: FeatureStore,
) -> None:
    drop = SplitConfig(duplicates="drop")
    gone = cohort_row("S9", "C9", "P9", "f" * 16)
    copies.record([gone])  # a Cohort whose arrays are gone, of no Slide of ours
    made = copies.create_cohort("mine", where_query("true"), split=drop)
    assert made.options["broken"] == {"cohort_slides_without_embeddings": 1}
    assert "1 other rows of the store break the check" in made.text([])
    assert made.options["patients_made_up"] == 0
    own = {one.name for one in fields(SplitConfig)} - {"method", "table"}
    assert {name: made.options[name] for name in own} == {k: vars(drop)[k] for k in own}


@pytest.mark.parametrize("name", ["latest", "20261127-234558-0b8fa9", "20261127-234558-0B8FA9"])
def test_what_a_run_is_called_is_no_name_of_a_cohort(copies: FeatureStore, name: str) -> None:
    with pytest.raises(CohortError, match="what a run is called"):
        copies.create_cohort(name, where_query("true"), split=SplitConfig(duplicates="drop"))
    copies.create_cohort(f"{name}.", where_query("true"), split=SplitConfig(duplicates="drop"))


def test_a_store_without_labels_is_sent_to_label_them(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    store.publish(slide_arrays("1" * 16, 3))
    store.record([case_row("C", "P"), slide_row("S", "C", "1" * 16)])
    with pytest.raises(CohortError, match="trephine label REPORTS"):
        store.create_cohort("all", where_query("true"))


@pytest.mark.parametrize("word", ["tset", "Train", "training", "-1", "", "0", "2"])
def test_a_split_table_takes_the_names_of_splits_or_folds_alone(word: str) -> None:
    frame = slides([("a", 0), ("b", 1)])
    with pytest.raises(CohortError, match="either of train, validation, calibration, test or all"):
        split(frame, SplitConfig(method="table", table={"a": "train", "b": word}))
