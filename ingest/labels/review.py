"""What a person should look at: disputed and unsupported Labels out, their values back in."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from featurestore import FeatureStore, strangers
from featurestore.errors import LabelError, write_beside
from featurestore.types import Target
from featurestore.words import Told, quoted
from ingest.config import TableConfig
from ingest.labels.claims import left_open
from ingest.labels.config import ValueConfig
from ingest.labels.recording import without_erased
from ingest.labels.reports import ENDS, FOR_TARGET, STATES_NONE, read_label_table, read_reports
from ingest.labels.rules import understand
from ingest.table import cleaned

EXCERPT_CHARACTERS = 240  # either side of the evidence
DOUBTFUL_CHARACTERS, DOUBTFUL_SENTENCES = 200, 3  # of a Report without evidence, at most
GAP = " [...] "
COLUMNS = (  # value, low and high are empty: for the person to fill in
    *("case_id", "value", "low", "high", "status", "reason", "rules_value", "ollama_value"),
    *("human_value", "rules_evidence", "ollama_evidence", "excerpt", FOR_TARGET),
)


def export_review(
    store: FeatureStore,
    path: Path,
    target: str = "cellularity",
    reports: Path | None = None,
    config: TableConfig | None = None,
    *,
    suspects: Mapping[str, str] | None = None,
) -> Told:
    """Write the Labels that need a person to a CSV with an empty column value.

    An excerpt of the Report, or of what leaves its value open, stands beside where its hash is that
    of the Label: the CSV holds health data then.
    With `suspects`, Cases in order and why, it holds those instead.

    Raises:
        LabelError: the file is not named as a CSV; or it is there already, and no such list, or a
            person filled in values.
    """
    if path.suffix.lower() != ".csv" and (path.is_file() or not path.exists()):
        better = path.with_suffix(".csv")
        raise LabelError(f"{path}: the list is a CSV, which spreadsheets open: name it {better}")
    if path.is_file() and not _is_untouched(path):
        raise LabelError(f"{path} exists, and may hold values that you filled in: name a new file")
    found = read_reports(reports, config).reports if reports else []
    texts = {report.report_hash: report.text for report in found}
    about = {"target": store.target(target).name}
    if suspects is None:
        rows = store.named("named/labels_to_review", about)
    else:
        why = pl.DataFrame([*suspects.items()], {"case_id": str, "reason": str}, orient="row")
        rows = store.named("queries/labels_of_cases", about | {"cases": list(suspects)})
        rows = why.join(rows, on="case_id", how="left", maintain_order="left")
    _write(path, rows, target, texts)
    told = {"path": str(path), "n": rows.height}
    if rows.is_empty():
        return Told(f"No label needs a person: {path} has no row.", told)
    more = "" if reports else " Pass --reports for what each report says."
    if lost := sum(bool(one) and one not in texts for one in rows["report_hash"] if reports):
        more = f" Without an excerpt, as {reports} lacks the report that was read: {lost:,}."
    own = "" if target == Target.name else f" --target {target}"
    then = f"Fill in value, or {STATES_NONE!r}, then: trephine review import {path}{own}"
    return Told(f"cases to judge in {path}: {rows.height:,}.{more} {then}", told)


def _write(path: Path, rows: pl.DataFrame, target: str, texts: Mapping[str, str]) -> None:
    with write_beside(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for row in rows.iter_rows(named=True):
            excerpt = _excerpt(row, texts.get(row["report_hash"]))
            cells = {**row, FOR_TARGET: target, "excerpt": excerpt}
            writer.writerow({name: quoted(cell) for name, cell in cells.items()})


def _is_untouched(path: Path) -> bool:
    """Whether a file is a list of `export_review` in which nobody filled in a value."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            same = rows.fieldnames == list(COLUMNS)
            return same and not any(row[name] for row in rows for name in ENDS)
    except (OSError, ValueError, csv.Error):
        return False


def import_review(
    store: FeatureStore, path: Path, target: str = "cellularity", config: ValueConfig | None = None
) -> Told:
    """Take the values a person filled in as Labels of method human, which win."""
    about = store.target(target)
    file = without_erased(store, read_label_table(path, about, config, skip_empty=True))
    n = len(file.labels)
    known = n - store.record_labels(file.labels, about)
    cases = store.ask("select distinct case_id from slides")["case_id"].to_list()
    others = strangers((one.case_id for one in file.labels), cases)
    notes = "\n".join(filter(None, [file.text(), others.text("cases")]))
    none = sum(one.value is None for one in file.labels)
    said = f"No row has a value; rows left empty: {file.n_empty:,}. Fill in value."
    if n:
        said = f"labels taken: {n:,}" + f" ({known:,} unchanged)" * (known > 0) + "."
        said += f" Of them {STATES_NONE}: {none:,}." * (none > 0)
        said += f" Rows left empty: {file.n_empty:,}." * (file.n_empty > 0)
        said += " Next: trephine sql \"from labels where method = 'human'\""
    told = {"n": n, "unchanged": known, "n_states_none": none, "n_empty": file.n_empty}
    lost = bool(cases) and 0 < others.n == len(others.unknown)
    return Told("\n".join(filter(None, [notes, said])), told | {"notes": notes}, gave_up=lost)


def _excerpt(row: dict[str, Any], text: str | None) -> str:
    if text is None:
        return ""
    text = cleaned(text)
    quotes = filter(None, (row["rules_evidence"], row["ollama_evidence"]))
    places = ((text.find(quote), len(quote) + EXCERPT_CHARACTERS) for quote in quotes)
    pieces = (text[max(0, at - EXCERPT_CHARACTERS) : at + n] for at, n in places if at >= 0)
    return "\n[...]\n".join(dict.fromkeys(pieces)) or doubtful(text)


def doubtful(text: str) -> str:
    """The sentences of a Report that leave its value open, cut around their figures.

    They are those whose figure may be the cellularity; else those on it with any figure.
    """
    it = understand(text)
    figures = [one for one in it.claims if one.counts or one.may_count]
    left = [one for one in it.segments if left_open([one], it.claims)]
    own = [one for one in it.claims if one.owner in ("cellularity", "unclear")]
    tied = figures or ([] if left else own)
    spans = {(one.segment.start, one.segment.end): one.start for one in tied}
    for one in [] if spans else left or it.segments:
        if figure := re.search(r"\d", it.text[one.start : one.end]):
            spans[one.start, one.end] = one.start + figure.start()
    spans = spans or {(0, len(it.text)): 0}
    n = min(len(spans), DOUBTFUL_SENTENCES)
    most = (DOUBTFUL_CHARACTERS - len(GAP) * (n - 1)) // n
    pieces = []
    for (begin, end), at in list(spans.items())[:n]:
        first = max(begin, min(at - most // 2, end - most))
        pieces.append(" ".join(it.text[first : min(end, first + most)].split()))
    return GAP.join(dict.fromkeys(pieces))
