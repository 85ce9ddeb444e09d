"""Freeze a Cohort: choose Slides, join their Labels, split by time or at random, by Patient.

What cannot be frozen or split so is a `CohortError`, which says what to change.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import polars as pl

from featurestore.config import SplitConfig
from featurestore.errors import CohortError
from featurestore.ids import strangers
from featurestore.ledger import cohort_id_of
from featurestore.types import Cohort, CohortSlide
from featurestore.words import counted

ADD_LABELS = "Add labels with: trephine label REPORTS, or trephine label --table LABELS.csv"
TRY = "Try the condition with: trephine sql 'from bags'"
STRATUM = 10  # Patients of like labels, among whom chance decides
Dealt = tuple[str, int, float, float]  # a Patient, its Slides, their mean and greatest label
RUN_ID = r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}"  # of `trainer.runs.new_run_id`
SIDES = ("train", "validation", "calibration", "test")


def ids_of(chosen: pl.DataFrame) -> pl.DataFrame:
    """The slide_ids that the query of a Cohort yields, as texts."""
    if "slide_id" not in chosen.columns:
        raise CohortError(
            f"the SQL of a cohort must yield a column slide_id, got {', '.join(chosen.columns)}"
        )
    return pl.DataFrame({"slide_id": chosen["slide_id"]}, schema={"slide_id": pl.String})


def check_free(con: Any, name: str) -> None:
    """Refuse a name that a Cohort of an open catalog has."""
    if con.execute("select 1 from cohorts where cohort = ?", [name]).fetchall():
        raise CohortError(
            f"cohort {name!r} exists, and cohorts never change. Choose another name, or see it "
            f"with: trephine cohort show {name}"
        )


def freeze(
    name: str,
    chosen: pl.DataFrame,
    labelled: pl.DataFrame,
    *,
    query: str,
    parameters: Mapping[str, Any],
    config: SplitConfig,
    target: str,
) -> tuple[Cohort, pl.DataFrame]:
    """Choose Slides with tiles and a Label, split them by Patient, and say what was left out.

    `chosen` has the slide_ids that the query yields, `labelled` are rows of
    sql/queries/cohort_labels.sql.

    Returns:
        The Cohort, and its Slides with the columns of `CohortSlide`.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise CohortError(f"a cohort's name is letters, digits, '_', '-' and '.', got {name!r}")
    if re.fullmatch(rf"latest|{RUN_ID}", name, re.IGNORECASE):
        raise CohortError(f"{name!r} is what a run is called: name the cohort otherwise")
    slides, dropped = _labelled(chosen, labelled, query, target)
    if slides.is_empty():
        any_label = labelled.is_empty() or labelled["value"].count()
        of_which = ", ".join(f"{n} are {why}" for why, n in dropped.items())
        raise CohortError(
            f"no slide is left for cohort {name!r}: the SQL yields {chosen.height}, of which "
            f"{of_which}. {TRY if any_label else ADD_LABELS}"
        )
    slides, copies = _without_copies(slides, config)
    slides, late = split(slides, config)
    frozen = slides.sort("slide_id").select(one.name for one in fields(CohortSlide))
    cohort = Cohort(
        cohort=name,
        cohort_id=cohort_id_of(frozen.with_columns(target=pl.lit(target))),
        target=target,
        query=query,
        parameters=dict(parameters),
        split_method=config.method,
        options=config.options | {"patients_made_up": int(slides["patient_made_up"].sum())},
        dropped={why: n for why, n in (dropped | copies | late).items() if n},
    )
    return cohort, frozen


def _labelled(
    chosen: pl.DataFrame, labelled: pl.DataFrame, query: str, target: str
) -> tuple[pl.DataFrame, dict[str, int]]:
    """The chosen Slides with tiles, a Label and, unless the query says, a core; and the rest."""
    slides = labelled.join(chosen.select("slide_id").unique(), on="slide_id", how="semi")
    dropped = {"without tiles": chosen["slide_id"].n_unique() - slides.height}
    if not re.search(r"\bspecimen\b", query, re.IGNORECASE):
        core = pl.col("specimen").is_null() | (pl.col("specimen") == "core")
        dropped["specimen other than core"] = slides.filter(~core).height
        slides = slides.filter(core)
    dropped[f"without a label of {target}"] = slides["value"].null_count()
    return slides.filter(pl.col("value").is_not_null()), dropped


def _without_copies(
    slides: pl.DataFrame, config: SplitConfig
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Keep one content from standing under several Patients, and so on both sides of a split."""
    if config.duplicates == "drop":
        ordered = slides.sort("patient_made_up", "slide_id")
        kept = ordered.unique("content", keep="first", maintain_order=True)
        return kept, {"with the content of another": slides.height - kept.height}
    of = pl.col("slide_id").sort(), pl.col("patient_id").unique().sort()
    contents = slides.group_by("content").agg(*of).sort(pl.col("slide_id").list.first())
    shared = contents.filter(pl.col("patient_id").list.len() > 1)
    if shared.height:
        names, patients = (", ".join(map(repr, some)) for some in shared.row(0)[1:])
        raise CohortError(
            f"{shared.height:,} contents stand under several patients, the first as slides {names} "
            f"of patients {patients}: a model would be tested on what it was trained on. Give "
            "them one patient, in the manifest or by patients= of add_bags, or make the cohort "
            "with --duplicates drop, of SplitConfig in Python, to keep the first of each."
        )
    return slides, {}


def broken_links(frozen: pl.DataFrame, checks: Mapping[str, pl.DataFrame]) -> dict[str, int]:
    """Count the rows that break the store's checks, by their names."""
    for name, rows in checks.items():
        for column in {"slide_id", "slide_key", "case_id"} & set(rows.columns):
            hits = rows[column].filter(rows[column].is_in(frozen[column].implode()))
            if len(hits):
                raise CohortError(
                    f"the store is broken: {len(hits):,} {column} of the cohort break the check "
                    f"{name}, the first is {hits[0]!r}. See them with: trephine sql --named {name}"
                )
    return {name: rows.height for name, rows in checks.items() if rows.height}


def split(slides: pl.DataFrame, config: SplitConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """Give every Slide a split, by Patient; `time` is that of docs/design.md, section 7.

    Of rows with slide_id, patient_id, value and dated (date or null), it gives those that are kept,
    with a column `split`, and the count of dropped Slides by reason.
    """
    undated = slides["dated"].null_count() if config.method == "time" else 0
    if undated and config.undated == "refuse":
        raise CohortError(
            f"{undated} of {slides.height} slides have neither reported_on nor scanned_on, and a "
            "time split needs a date. Add dates to the manifest, or pass --undated drop."
        )
    slides = slides.filter(pl.col("dated").is_not_null()) if undated else slides
    if (n := slides["patient_id"].n_unique()) < 2:
        raise CohortError(
            f"a split needs at least 2 patients, got {n} with {counted(slides.height, 'slide')}. "
            "Widen the condition of the cohort. A run needs none to predict: trephine predict RUN "
            "--where EXPR"
        )
    if config.method != "time":
        return (_by_table if config.method == "table" else _at_random)(slides, config), {}
    slides, late = _by_time(slides, config)
    return slides, ({"undated": undated} if undated else {}) | late


def _by_time(slides: pl.DataFrame, config: SplitConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    if slides["dated"].n_unique() == 1:
        raise CohortError(
            f"all {slides.height} slides have one date, {slides['dated'][0]}, so time cannot split "
            "them. Pass --split random."
        )
    hashed = pl.col("patient_id").map_elements(_hash, return_dtype=pl.UInt64)
    patients = slides.group_by("patient_id").agg(first=pl.col("dated").min())
    patients = patients.sort("first", hashed).with_row_index("rank")
    slides = slides.join(patients.select("patient_id", "rank"), on="patient_id")
    rank = slides["rank"].to_numpy().astype(np.int64)
    day, first = (days.cast(pl.Int32).to_numpy() for days in (slides["dated"], patients["first"]))

    # With the first k Patients in train, a Slide is kept in train once k passes its Patient and
    # the first test date, first[k], reaches its own date. Both only grow with k, so one count does.
    n = len(first)
    kept_from = np.maximum(rank + 1, np.searchsorted(first, day, side="left"))
    late = config.late_slides == "keep"
    kept_train = np.cumsum(np.bincount((rank + 1) if late else kept_from, minlength=n + 1))[1:n]
    test = len(rank) - np.cumsum(np.bincount(rank + 1, minlength=n + 1))[1:n]
    border = 1 + int(np.argmin(np.abs(test / (kept_train + test) - config.test_fraction)))

    in_test = rank >= border
    side = pl.Series("split", np.where(in_test, "test", "train"))
    slides = slides.with_columns(side).drop("rank")
    is_late = ~in_test & (day > first[border])
    if late or not is_late.any():
        return slides, {}
    return slides.filter(pl.Series(~is_late)), {"late, of train patients": int(is_late.sum())}


def _at_random(slides: pl.DataFrame, config: SplitConfig) -> pl.DataFrame:
    """Deal Patients out in the order of their mean label, so that every side has the whole range.

    Which of neighbours goes where is a hash's business. Each run of K Patients has one for each of
    K folds; a side of `random` gets the next one where that brings it nearer to its share.
    """
    value, patients = pl.col("value"), slides.group_by("patient_id")
    counts = patients.agg(pl.len(), value.mean(), greatest=value.max()).rows()
    drawn = {row[0]: _hash(f"{config.seed}/{row[0]}") for row in counts}
    ordered = sorted(counts, key=lambda row: (row[2], drawn[row[0]]))
    width, deal = (config.folds, _folds) if config.method == "folds" else (STRATUM, _sides)
    runs = [
        sorted(ordered[i : i + width], key=lambda row: drawn[row[0]])
        for i in range(0, len(ordered), width)
    ]
    sides = deal(runs, config)
    return slides.with_columns(pl.col("patient_id").replace_strict(sides).alias("split"))


def _folds(runs: Sequence[Sequence[Dealt]], config: SplitConfig) -> dict[str, str]:
    """A fold for each Patient of each run: the largest to the emptiest.

    A label begins and ends in runs that it shares, so some folds get one more of it there: where
    it ends, its Patients go first, to the folds with the fewest of it.
    """
    if (n := sum(map(len, runs))) < config.folds:
        raise CohortError(f"{config.folds} folds need as many patients, got {n}: make fewer")
    sizes, dealt, sides = [0] * config.folds, Counter[tuple[float, int]](), {}
    for run in runs:
        left, of = sorted(range(config.folds), key=sizes.__getitem__), Counter(r[3] for r in run)
        ends = {k for k, n in of.items() if n < len(left) and len({dealt[k, f] for f in left}) > 1}
        for patient, n, _, label in sorted(run, key=lambda r: (r[3] not in ends, -r[1])):
            fold = min(left, key=lambda fold: dealt[label, fold] if label in ends else 0)
            left.remove(fold)
            sides[patient], sizes[fold] = str(fold), sizes[fold] + n
            dealt[label, fold] += 1
    return sides


def _sides(runs: Sequence[Sequence[Dealt]], config: SplitConfig) -> dict[str, str]:
    """Train or test for each Patient."""
    sides, test, seen = {}, 0, 0
    for patient, n, *_ in (one for run in runs for one in run):
        seen += n
        wanted = config.test_fraction * seen
        taken = abs(test + n - wanted) < abs(test - wanted)
        sides[patient], test = ("test", test + n) if taken else ("train", test)
    first, *_, last = sides
    for patient, side in ((first, "train"), (last, "test")):
        if side not in sides.values():
            sides[patient] = side
    return sides


def _by_table(slides: pl.DataFrame, config: SplitConfig) -> pl.DataFrame:
    sides: list[Any] = [
        config.table.get(slide, config.table.get(patient))
        for slide, patient in slides.select("slide_id", "patient_id").iter_rows()
    ]
    if missing := sides.count(None):
        slide = slides["slide_id"][sides.index(None)]
        others = strangers(config.table, [*slides["slide_id"], *slides["patient_id"]])
        raise CohortError(
            f"{missing} slides have no split in the table, the first is {slide!r}. "
            f"Add rows with its slide_id or patient_id.{others.hint()}"
        )
    given = set(sides)
    if not (given <= set(SIDES) or all(side.isdecimal() for side in given)):
        raise CohortError(
            f"splits are either of {', '.join(SIDES)} or all numbers of folds, got "
            f"{', '.join(sorted(given))}. Correct the table."
        )
    slides = slides.with_columns(pl.Series("split", sides, dtype=pl.String))
    of = slides.group_by("patient_id").agg(pl.col("split").n_unique())
    if both := sorted(of.filter(pl.col("split") > 1)["patient_id"]):
        raise CohortError(
            f"{len(both)} patients stand on more than one side of the table, the first is "
            f"{both[0]!r}. Give all slides of a patient one split."
        )
    return slides


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
