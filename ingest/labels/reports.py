"""Read Reports, and labels given by people, from the files a hospital hands over."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from featurestore.errors import LabelError, ReportError
from featurestore.types import Report, Target
from ingest.labels.labels import Label

SUFFIXES = (".csv", ".jsonl", ".parquet")
MARKS = {  # byte order marks
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
NAMES = {  # what other systems call our columns
    "case_id": "case caseid case_no case_number accession accession_id accession_no "
    "accession_number",
    "text": "report report_text reporttext full_text",
    "reported_on": "date report_date reported date_reported signed_on sign_out_date",
    "value": "label cellularity",
    "low": "lower",
    "high": "upper",
}


@dataclass(frozen=True, kw_only=True)
class ReportFile:
    """The Reports of a file or folder, one a Case, and what was left out."""

    reports: list[Report]
    n_rows: int
    n_empty: int  # rows without any text
    n_superseded: int  # rows of a Case with a later one


def read_reports(path: Path) -> list[Report]:
    """Read the Reports of a `.csv`, `.jsonl` or `.parquet` file, or a folder of `.txt` files.

    The latest row of a Case wins; rows without text are left out (`load_reports` counts both).

    Raises:
        ReportError: the file, its columns, a date or a Case cannot be understood.
    """
    return load_reports(path).reports


def load_reports(path: Path) -> ReportFile:
    """Read Reports as `read_reports` does, and count what was left out."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() == ".txt")
        if not files:
            raise ReportError(f"{path} holds no .txt file. Expected one a case, CASE_ID.txt.")
        rows = [
            {"case_id": file.stem, "text": decode(file.read_bytes(), str(file))[0]}
            for file in files
        ]
    else:
        rows = _read_table(path, ("case_id", "text"), ("reported_on",))
    found = [_report(row, f"{path} row {number}") for number, row in enumerate(rows, 1)]
    kept = [report for report in found if report.text.strip()]
    latest = _latest(kept, path)
    return ReportFile(
        reports=latest,
        n_rows=len(found),
        n_empty=len(found) - len(kept),
        n_superseded=len(kept) - len(latest),
    )


def read_label_table(path: Path, target: Target, *, skip_empty: bool = False) -> list[Label]:
    """Read values given by people: columns case_id, value and, where known, low and high.

    Args:
        path: of the table.
        target: what the values are about.
        skip_empty: pass over rows without a value, instead of refusing them.

    Raises:
        LabelError: a row has no number, or one outside the Target's range; names the row.
    """
    try:
        rows = _read_table(path, ("case_id", "value"), ("low", "high"))
        labels: dict[str, Label] = {}
        for number, row in enumerate(rows, 1):
            where = f"{path} row {number}"
            if skip_empty and all(_number(row, name, where) is None for name in ("value", "low")):
                continue
            label = _human_label(row, target, where)
            if label.case_id in labels:
                raise LabelError(f"{where}: case {label.case_id!r} is there twice. Keep one row.")
            labels[label.case_id] = label
    except ReportError as problem:
        raise LabelError(str(problem)) from None
    return list(labels.values())


def read_gold(path: Path) -> list[dict[str, Any]]:
    """Read gold readings: `.jsonl` with id, text, value (may be null) and, if any, tags."""
    rows = _read_rows(path)
    for number, row in enumerate(rows, 1):
        if missing := {"id", "text", "value"} - set(row):
            raise ReportError(f"{path} row {number} has no {', '.join(sorted(missing))}.")
    return rows


def decode(data: bytes, name: str) -> tuple[str, str]:
    r"""Decode bytes; returns the text, with `\n` for every line end, and the encoding.

    A byte order mark decides; else NUL bytes tell utf-16; else what is not utf-8 is cp1252.

    Raises:
        ReportError: no encoding fits.
    """
    encodings = [encoding for mark, encoding in MARKS.items() if data.startswith(mark)]
    if not encodings and b"\0" in data[:4096]:
        little = data[1:4096:2].count(0) > data[0:4096:2].count(0)
        encodings = ["utf-16-le" if little else "utf-16-be"]
    for encoding in encodings or ["utf-8", "cp1252"]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n"), encoding
    raise ReportError(f"{name} is neither UTF-8, UTF-16 nor Windows-1252 text. Save it as UTF-8.")


def _read_table(path: Path, needed: tuple[str, ...], known: tuple[str, ...]) -> list[dict]:
    """Rows under our column names; a name of ours wins over what others call the column."""
    rows = _read_rows(path)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    plain = {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in columns}
    names = {}
    for ours in needed + known:
        exact = [name for name in columns if plain[name] == ours]
        found = exact or [name for name in columns if plain[name] in NAMES[ours].split()]
        if len(found) > 1 or (rows and not found and ours in needed):
            problem = "more than one column for" if found else "no column"
            expected = ", ".join(needed) + "".join(f"[, {name}]" for name in known)
            raise ReportError(
                f"{path} has {problem} {ours}: found {', '.join(map(repr, columns))}; expected "
                f"{expected}. Rename the columns."
            )
        if found:
            names[ours] = found[0]
    return [{ours: row.get(name) for ours, name in names.items()} for row in rows]


def _read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows as they stand in the file, without those that hold nothing."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        problem = "does not exist" if suffix in SUFFIXES else f"has the suffix {suffix!r}"
        expected = f"{', '.join(SUFFIXES)} or a folder of .txt files"
        raise ReportError(f"{path} {problem}. Expected {expected}.")
    try:
        if suffix == ".parquet":
            rows = pl.read_parquet(path).to_dicts()
        elif suffix == ".jsonl":
            rows = _json_rows(decode(path.read_bytes(), str(path))[0], path)
        else:
            rows = _csv_rows(decode(path.read_bytes(), str(path))[0])
    except pl.exceptions.PolarsError:  # its message may quote a report
        raise ReportError(
            f"{path} is not a well-formed {suffix} file. In a CSV, a text with commas, quotes or "
            'line ends stands in "quotes", and its own quotes are doubled.'
        ) from None
    return [row for row in rows if any(value not in (None, "") for value in row.values())]


def _csv_rows(text: str) -> list[dict[str, Any]]:
    """Everything stays text (`007` is a case_id); the separator is the header's commonest."""
    separator = max(",;\t|", key=text.lstrip().partition("\n")[0].count)
    table = pl.read_csv(io.BytesIO(text.encode()), separator=separator, infer_schema=False)
    return table.to_dicts()


def _json_rows(text: str, path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                rows.append(None)
            if not isinstance(rows[-1], dict):
                raise ReportError(
                    f"{path} line {number} is not a JSON object. Expected one a line."
                )
    return rows


def _report(row: Mapping[str, Any], where: str) -> Report:
    text = row["text"] or ""
    if not isinstance(text, str):
        raise ReportError(f"{where}: the text is a {type(text).__name__}, expected a string.")
    text = text.encode("utf-8", "replace").decode()  # JSON may hold half a surrogate pair
    return Report(
        case_id=_case_id(row, where), text=text, reported_on=_date(row.get("reported_on"), where)
    )


def _latest(reports: Iterable[Report], path: Path) -> list[Report]:
    """The latest Report of each Case, in the order in which the Cases first appear."""
    cases: dict[str, list[Report]] = {}
    for report in reports:
        cases.setdefault(report.case_id, []).append(report)
    for case_id, several in cases.items():
        several.sort(key=lambda report: report.reported_on or date.max)
        last = several[-1].reported_on
        if len(several) > 1 and last in (None, several[-2].reported_on):
            when = f"several reports on {last}" if last else "several reports, not all with a date"
            raise ReportError(f"{path}: case {case_id!r} has {when}. Keep the one that holds.")
    return [several[-1] for several in cases.values()]


def _case_id(row: Mapping[str, Any], where: str) -> str:
    value = row["case_id"]
    if not isinstance(value, str | int) or not str(value).strip():
        raise ReportError(f"{where} has no case_id. Every row needs one, as text.")
    return str(value).strip()


def _date(value: Any, where: str) -> date | None:
    if value is None or str(value).strip() == "":
        return None
    try:
        return datetime.fromisoformat(str(value).strip()).date()
    except ValueError:
        got = repr(str(value)[:20])  # no more: a wrong column may hold the report
        raise ReportError(f"{where}: reported_on {got} is not an ISO date (2021-03-04).") from None


def _number(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(str(value).strip().removesuffix("%"))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LabelError(f"{where}: {name} {str(value)[:20]!r} is not a number.")
    return number


def _human_label(row: Mapping[str, Any], target: Target, where: str) -> Label:
    case_id = _case_id(row, where)
    value, low, high = (_number(row, name, where) for name in ("value", "low", "high"))
    if value is None and low is not None and high is not None:
        value = (low + high) / 2
    if value is None:
        raise LabelError(f"{where} (case {case_id!r}) has no value. Fill it in or drop the row.")
    low, high = value if low is None else low, value if high is None else high
    if not target.low <= low <= value <= high <= target.high or (
        target.kind == "binary" and value not in (target.low, target.high)
    ):
        allowed = "or" if target.kind == "binary" else "to"
        raise LabelError(
            f"{where} (case {case_id!r}): value {value:g}, low {low:g}, high {high:g}; expected "
            f"low <= value <= high, {target.low:g} {allowed} {target.high:g} ({target.name})."
        )
    return Label(
        case_id=case_id,
        target=target.name,
        value=value,
        low=low,
        high=high,
        method="human",
        status="single",
        rule="table",
    )
