"""What Reports that are handed in later do to those of their Cases that the store has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from featurestore import FeatureStore
from featurestore.types import Report, Target
from featurestore.words import counted
from ingest.labels.holding import on_cellularity
from ingest.labels.reports import ReportFile

NAMED = 10  # Cases that a message names
HIDES = "would hide the report of its case that the store has: hand in both in one file"
ALONE = f"an addendum alone, it {HIDES}"
UNDATED = f"without a date, it {HIDES}, or say its date"
NO_WORD = f"without a word on the cellularity, it {HIDES}"


def without_hiding(store: FeatureStore, file: ReportFile, target: Target) -> ReportFile:
    """Let Reports fail that belong beside one that the store has, and would hide it.

    In one file they are joined with it; its text is not in the store.
    """
    current = {row["case_id"]: row for row in store.ask("from case_reports").iter_rows(named=True)}
    read = values(store, target, but="human")
    alone = {
        one.case_id: why
        for one in file.reports
        if (before := current.get(one.case_id)) and before["report_hash"] != one.report_hash
        if (why := _hides(one, before, one.case_id in file.addenda, one.case_id in read))
    }
    reports = [one for one in file.reports if one.case_id not in alone]
    return replace(file, reports=reports, failures=file.failures | dict(sorted(alone.items())))


def _hides(one: Report, before: Mapping[str, Any], is_addendum: bool, has_value: bool) -> str:
    if is_addendum:
        return ALONE
    last: date | None = before["reported_on"]
    if one.reported_on is None or last is None:
        return UNDATED if last else ""
    silent = has_value and one.reported_on >= last and not on_cellularity(one)
    return NO_WORD if silent else ""


def values(store: FeatureStore, target: Target, but: str = "") -> set[str]:
    """The Cases with a value to use, but those of a method."""
    text = "select case_id from best_labels where target = $target and method != $but"
    return set(store.ask(text, {"target": target.name, "but": but})["case_id"])


def with_changes(
    store: FeatureStore, file: ReportFile, target: Target, before: Collection[str]
) -> ReportFile:
    """Tell of Reports that are not their Case's last one, and of values that are gone."""
    current = dict(store.ask("select case_id, report_hash from case_reports").iter_rows())
    after = values(store, target)
    hashes = {one.case_id: one.report_hash for one in file.reports}
    unused = [case for case, own in hashes.items() if current.get(case, own) != own]
    gone = [case for case in hashes if case in before and case not in after]
    notes = list(file.notes)
    if unused:
        later = "as the store has one of their case that is later, or without a date"
        notes.append(f"not used, {later}: {_named(unused, 'report')}")
    if gone:
        notes.append(
            "had a value before this call and have none now, as the report that counts now gives "
            f"none for certain: {_named(gone, 'case')}"
        )
    if void := sorted(file.void & after):
        notes.append(
            "no row of it holds here, and the value in the store stays; write 'states none' for it "
            f"in a --table to take it away: {_named(void, 'case')}"
        )
    return replace(file, notes=notes)


def _named(cases: list[str], what: str) -> str:
    more = ", ..." * (len(cases) > NAMED)
    return f"{counted(len(cases), what)} ({', '.join(map(repr, cases[:NAMED]))}{more})"
