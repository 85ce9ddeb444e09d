"""Read Reports, and values given by people, from the files a hospital hands over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featurestore.errors import LabelError, ReportError, reading
from featurestore.types import Label, ReadingOutcome, Report, Target
from featurestore.words import counted
from ingest.config import TableConfig
from ingest.labels.config import ValueConfig
from ingest.labels.holding import OF_ANOTHER, Piece, is_addendum, is_void, joined, that_hold
from ingest.table import (
    Column,
    Table,
    cleaned,
    column_of,
    guessed,
    is_missing,
    read_table,
    read_text,
    values_of,
)

CASE = (  # what others call case_id
    *("case", "caseid", "case_no", "case_number"),
    *("accession", "accession_id", "accession_no", "accession_number"),
)
DATE = ("date", "report_date", "reported", "date_reported", "signed_on", "sign_out_date")
HEADING = Column(name="heading", several=True, also=("section", "specimen"))  # of a text
REPORT_COLUMNS = (
    column_of(Report, "case_id", needed=True, filled=True, also=CASE),
    Column(
        name="text",
        kind="prose",
        needed=True,
        several=True,
        also=("report", "report_text", "reporttext", "full_text"),
    ),
    column_of(Report, "reported_on", also=DATE),
    HEADING,
    Column(name="status", also=("report_status", "result_status")),
)
READ_MORE = (
    "Of one with more of the text say --column text=NAME, once for each; of one that says what a "
    "row is about, --column heading=NAME"
)
ENDS = ("value", "low", "high")
Ends = tuple[float | None, float | None, float | None]
NO_VALUE: Ends = (None, None, None)
STATES_NONE: ReadingOutcome = "states none"  # in place of a value: who read the Report found none
VALUE_HINTS = (  # how people write what is no one number
    (
        r"(?:no|not|none|kein\w*|nicht|aucune?|pas)\b.+",
        f"is no number: write {STATES_NONE!r} of a report that gives none",
    ),
    (
        r"y|n|yes|no|ja|nein|oui|non|t|f|true|false|pos(?:itive?)?|neg(?:ative?)?|positiv|negativ",
        "is a yes or a no, and no number: write 1 and 0, of a --target of --kind binary",
    ),
    (
        r"[\d.,]+ ?%? ?(?:-|–|to|bis|à) ?[\d.,]+ ?%?",
        "is a range: leave value empty, and write its ends into columns low and high",
    ),
    (
        r"(?:[<>≤≥]=?|under|over|at (?:least|most)) ?[\d.,]+ ?%?",
        "is a bound: leave value empty, and write the ends of what it allows into columns low and "
        "high",
    ),
)
FOR_TARGET = "for_target"  # of a list for review: the Target that its values are of


@dataclass(frozen=True, kw_only=True)
class ReportFile:
    """The Reports of a file or folder, one a Case, and what was left out or joined."""

    reports: list[Report]
    failures: dict[str | int, str]  # Case, or number of a row without one, to what is wrong
    n_rows: int
    n_empty: int  # rows without any text
    n_superseded: int  # rows of a Case with a later one
    n_joined: int  # rows that are one Report with others
    notes: list[str]
    addenda: frozenset[str] = frozenset()  # Cases of which there are addenda alone
    void: frozenset[str] = frozenset()  # and those of which no row holds

    def text(self) -> str:
        """What became of the rows that are no Report of their own; empty if all are."""
        counts = {
            "without text": self.n_empty,
            "superseded by a later one of the case": self.n_superseded,
            "joined with others of the case": self.n_joined,
        }
        said = [f"{n:,} {what}" for what, n in counts.items() if n]
        lines = [f"of {counted(self.n_rows, 'row')}: " + ", ".join(said)] if said else []
        return "\n".join([*lines, *self.notes])


def read_reports(path: Path, config: TableConfig | None = None) -> ReportFile:
    """Read the Reports of a table, or of a folder of `.txt` files named by their Cases.

    A file whose name is that of another and a word for what is added or corrected ("A1 addendum 2",
    "A1_corrected") is a later text of that one's Case, joined behind it.

    Of several rows of a Case the latest holds, with its addenda: texts of one date, and a later
    text that calls itself an addendum, is far shorter or, other than the earlier, has no word on
    the cellularity (cytogenetics), are one Report, joined in order, each below its heading: what
    its row says in columns `heading`, `section` or `specimen`. A row whose status is that it does
    not hold (cancelled, entered in error) is left out. A text
    without a date is joined with what holds: nobody can say that it is older. A Case with a row
    that cannot be read fails whole, for that row may be the one that holds; the others go on.

    Raises:
        ReportError: the file or its columns cannot be understood, or most of its rows.
    """
    with reading(path, ReportError, ""):
        read = _folder if path.is_dir() else _table
    found, failures, notes = read(path, config)
    found = [one for one in found if one.case_id not in failures]
    by_status = Counter(one.status for one in found)
    void = Counter({status: n for status, n in by_status.items() if is_void(status)})
    there = [one for one in found if one.status not in void]
    kept = [one for one in there if not is_missing(cleaned(one.text))]
    cases: dict[str, list[Piece]] = {}
    for report in kept:
        cases.setdefault(report.case_id, []).append(report)
    held = [that_hold(several) for several in cases.values()]
    undated = sum({one.reported_on is None for one in parts} == {True, False} for parts in held)
    if undated:
        notes.append(
            f"cases with dated and undated texts, joined as none is the older: {undated:,}"
        )
    if void:
        said = ", ".join(f"{n:,} {status!r}" for status, n in void.most_common(3))
        n = sum(void.values())
        notes.append(f"rows that do not hold by their status, left out: {n:,} ({said})")
    n_held = sum(map(len, held))
    return ReportFile(
        reports=[joined(parts) for parts in held],
        failures=failures,
        n_rows=len(found),
        n_empty=len(there) - len(kept),
        n_superseded=len(kept) - n_held,
        n_joined=sum(len(parts) for parts in held if len(parts) > 1),
        notes=notes,
        void=frozenset(one.case_id for one in found) - {one.case_id for one in there},
        addenda=frozenset(parts[0].case_id for parts in held if all(map(is_addendum, parts))),
    )


def _table(
    path: Path, config: TableConfig | None
) -> tuple[list[Piece], dict[str | int, str], list[str]]:
    """The texts of the sound rows, what fails, and notes."""
    table = read_table(path, REPORT_COLUMNS, config, error=ReportError)
    sound = table.sound()
    if 2 * len(sound) < len(table.rows) or any(row is None for row, _ in table.faults):
        table.refuse(ReportError)  # it was not read as it was meant
    case_of = {row.number: row.values["case_id"] for row in table.rows}
    failures: dict[str | int, str] = {}
    for row, fault in table.faults:
        case_id = case_of[row or 0]
        failures.setdefault(case_id or row or 0, f"row {row}: {fault}" if case_id else fault)
    if unread := table.unread():
        table.notes.append(f"columns that are not read: {unread}. {READ_MORE}")
    found = [_piece(row.values["case_id"], row.values) for row in sound]
    return found, failures, table.notes


def _folder(
    path: Path, config: TableConfig | None
) -> tuple[list[Piece], dict[str | int, str], list[str]]:
    """The texts of the files, and the files that are none."""
    expected = "Expected a text file a case, CASE_ID.txt."
    with reading(path, ReportError, expected):
        every = [one for one in sorted(path.iterdir()) if not one.name.startswith(".")]
        there = [one for one in every if one.is_file() or one.is_symlink()]
    files = [one for one in there if one.suffix.lower() == ".txt"]
    if not files:
        raise ReportError(f"{path} holds no .txt file. {expected}")
    found, guesses = [], []
    failures: dict[str | int, str] = {}
    stems = {file.stem for file in files}
    # "A1 addendum.txt" is of case A1 where A1.txt is there, and comes behind it
    bases = {stem: base for stem in stems if (base := OF_ANOTHER.sub("", stem)) in stems - {stem}}
    for file in sorted(files, key=lambda it: (it.stem in bases, len(it.stem) * (it.stem in bases))):
        case_id = bases.get(file.stem, file.stem).strip()
        _, wrong = values_of(REPORT_COLUMNS[0], [(0, case_id)])
        try:
            if wrong or is_missing(case_id):
                raise ReportError(f"{wrong[0][1] if wrong else 'no case_id'}. Rename the file")
            text, guess = read_text(file, ReportError, expected)
        except ReportError as error:
            failures[_whole(case_id or file.name)] = _whole(str(error))
        else:
            found.append(Piece(case_id=case_id, text=text))
            guesses.append(guess)
    notes = guessed(guesses)
    if rest := [one.name for one in every if one not in files]:
        notes.append(
            f"left out, as they are no .txt files: {len(rest):,} ({', '.join(rest[:3])}"
            f"{', ...' if rest[3:] else ''}); a report of any layout is read as CASE_ID.txt"
        )
    return found, failures, notes


def _piece(case_id: str, values: Mapping[str, Any]) -> Piece:
    text, heading = (_whole(values[name] or "") for name in ("text", "heading"))
    day, status = values.get("reported_on"), values.get("status") or ""
    return Piece(case_id=case_id, text=text, reported_on=day, heading=heading, status=status)


def _whole(text: str) -> str:
    """A text that can be written: JSON, and names of files, may hold a half of a character."""
    return text.encode("utf-8", "replace").decode()


# -- values that people gave -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """Values that people gave, one a Case."""

    labels: list[Label]
    notes: list[str]  # what was left out, or taken as missing
    n_empty: int = 0  # rows left without a value

    def text(self) -> str:
        """What the table's reader tells; empty if nothing."""
        return "\n".join(self.notes)


def read_label_table(
    path: Path, target: Target, config: ValueConfig | None = None, *, skip_empty: bool = False
) -> LabelFile:
    """Read values given by people: columns case_id, value and, where known, low and high.

    `states none` in place of a value says that the Report gives none. Rows without a value are
    refused, or passed over with `skip_empty`.

    Raises:
        LabelError: rows have no number, or one outside the Target's range; names the rows. Or it is
            left open whether the values are percentages.
    """
    case = column_of(Label, "case_id", needed=True, filled=True, unique=True, also=CASE)
    columns = [case, *_value_columns(target), Column(name=FOR_TARGET)]
    table = read_table(path, columns, config, error=LabelError)
    others = {row.values[FOR_TARGET] for row in table.rows} - {None, "", target.name}
    for other in sorted(others):
        said = f"its values are of target {other!r}, not {target.name!r}: pass --target {other}"
        table.faults.append((None, said))
    values = _values(table, target, config)
    empty = [row for row in table.sound() if row.number not in values]
    for row in [] if skip_empty else empty:
        table.faults.append((row.number, f"case {row.values['case_id']!r} has no value"))
    table.refuse(LabelError)
    case_of = {row.number: row.values["case_id"] for row in table.rows}
    labels = [
        Label(
            case_id=case_of[number],
            target=target.name,
            value=value,
            low=low,
            high=high,
            method="human",
            status="single",
            rule="table",
            outcome=STATES_NONE if value is None else None,
        )
        for number, (value, low, high) in values.items()
    ]
    return LabelFile(labels=labels, notes=table.notes, n_empty=len(empty))


def read_gold(
    path: Path, config: ValueConfig | None = None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Read gold readings: id, text, value (missing: none is stated) and, if any, tags; and notes.

    Raises:
        ReportError: the table cannot be understood, or a value cannot be: a score without its row
            would be another one.
    """
    columns = [
        Column(name="id", kind="id", needed=True, filled=True, unique=True),
        Column(name="text", kind="prose", needed=True, filled=True, several=True),
        *(replace(column, by_blanks=True) for column in _value_columns(Target())),
        Column(name="tags", kind="list"),
        HEADING,
    ]
    table = read_table(path, columns, config, error=ReportError)
    values = _values(table, Target(), config)
    table.refuse(ReportError)
    rows = [
        {
            **row.values,
            "text": _piece(row.values["id"], row.values).whole(),
            "value": values.get(row.number, NO_VALUE)[0],
            "tags": row.values["tags"] or [],
        }
        for row in table.rows
    ]
    return rows, table.notes


def _value_columns(target: Target) -> list[Column]:
    how: dict[str, Any] = {"also": ("label", target.name), "yes_no": target.kind == "binary"}
    return [
        column_of(Label, "value", needed=True, hints=VALUE_HINTS, words=(STATES_NONE,), **how),
        column_of(Label, "low", also=("lower",)),
        column_of(Label, "high", also=("upper",)),
    ]


def _values(table: Table, target: Target, config: ValueConfig | None) -> dict[int, Ends]:
    """Value, low and high of each sound row that has one or states none; adds what is wrong."""
    scale = config.scale if config else None
    if scale is None and target.kind == "fraction" and target.high > 1:
        _ask_for_scale(table, target)
    found: dict[int, Ends] = {}
    for row in table.sound():
        given = [_scaled(row.values[name], scale) for name in ENDS]
        if given == [None] * 3:
            continue
        found[row.number], wrong = _ends(given, target)
        if wrong:
            name = table.columns[0].name
            whose = f"{name.removesuffix('_id')} {row.values[name]!r}"
            table.faults.append((row.number, f"{whose}: {wrong}. Correct the row"))
    return found


def _ask_for_scale(table: Table, target: Target) -> None:
    """Add as a fault the values of a percentage that may be shares of 1, or yes and no."""
    most = {
        row.number: max(numbers)
        for row in table.rows
        if (numbers := [one for one in map(row.values.get, ENDS) if isinstance(one, float)])
    }
    said = ", ".join(f"row {row} has {number:g}" for row, number in most.items() if 0 < number < 1)
    if most and 0 <= max(most.values()) <= 1:
        said = "no value is over 1"
    if said:
        question = (
            f"{said}, and {target.name} is {target.low:g} to {target.high:g}. Shares of 1? Pass "
            "--scale 100, or write each as a percentage. Percentages? Pass --scale 1. Yes or no? "
            "Give a new --target and --kind binary"
        )
        table.faults.append((None, question))


def _ends(given: list[Any], target: Target) -> tuple[Ends, str]:
    """What a row says, whole, and what is wrong with it."""
    value, low, high = given
    if value == STATES_NONE:
        return NO_VALUE, "" if low is high is None else f"{STATES_NONE}, and has low or high"
    if value is None and low is not None and high is not None:
        value = (low + high) / 2
    if value is None:
        return NO_VALUE, "no value"
    low, high = value if low is None else low, value if high is None else high
    if target.low <= low <= value <= high <= target.high and (
        target.kind != "binary" or value in (target.low, target.high)
    ):
        return (value, low, high), ""
    said = f"value {value:g}"
    if not low == value == high:
        said += f", low {low:g}, high {high:g}; expected low <= value <= high"
    allowed = "or" if target.kind == "binary" else "to"
    return NO_VALUE, f"{said}; {target.name} is {target.low:g} {allowed} {target.high:g}"


def _scaled(given: Any, scale: float | None) -> Any:
    if not isinstance(given, float) or scale in (None, 1):
        return given
    return float(f"{given * scale:.12g}")  # 0.29 is 29
