"""Labels in numbers: the summary of a batch, and a parser against gold values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featurestore import FeatureStore, best_of, strangers
from featurestore.fields import to_json
from featurestore.types import Label, Progress, Reading, Report, Target, silent
from featurestore.words import Told, counted, grouped
from ingest.labels.config import OllamaConfig, Parser, ParserConfig, ValueConfig
from ingest.labels.labels import LabelBatch, make_labels
from ingest.labels.reports import LabelFile, ReportFile, read_gold

RIGHT_POINTS = 0.5  # a reading this near to the gold value is right


@dataclass(frozen=True, kw_only=True)
class LabelSummary:
    """A batch in numbers; values are those of the best Label of each Case."""

    counts: dict[str, int]  # by method/status
    histogram: list[int]  # tenths of the Target's range
    multiples_of_10: float | None  # share of the values; null without any, and but of percentages
    multiples_of_5: float | None
    n_values: int
    n_states_none: int  # Cases without a value: a parser says that the Report states none
    n_not_read: int  # and those that no parser could read for certain
    n_failed: int
    n_unchanged: int  # Labels that the store had: they add nothing
    failures: dict[str, str]  # Case to reason
    target: str
    low: float  # of the Target
    high: float
    n_empty: int  # rows of the file without text
    n_superseded: int  # rows of a Case with a later one
    n_joined: int  # rows that are one Report with others
    file_notes: str  # what the file's reader tells
    reports_without_slide: int  # Cases of the store, here and below
    cases_without_report: int
    cases_without_label: int
    unknown_cases: list[str]  # Cases of the file that the store has no Slide of
    likely_cases: dict[str, str]  # of those: the one of the store that is alike
    unknown_text: str  # what to tell of them
    gave_up: bool  # the store has Cases, and none of the file is one of them

    def text(self) -> str:
        """The numbers and a histogram, for the terminal."""
        rows = [(key.replace("/", ", "), n) for key, n in self.counts.items()]
        rows += [
            ("states none", self.n_states_none),
            ("not read", self.n_not_read),
            ("failed", self.n_failed),
            *[("unchanged", self.n_unchanged)] * (self.n_unchanged > 0),
        ]
        lines = [f"{name:20} {n:7,}" for name, n in rows]
        lines += ["", f"{self.target} of {counted(self.n_values, 'case')}"]
        step = (self.high - self.low) / len(self.histogram)
        for index, n in enumerate(self.histogram):
            low = self.low + index * step
            bar = "█" * -(-40 * n // max(self.histogram)) if n else ""
            lines.append(f"{f'{low:g} to {low + step:g}':20} {n:7,} {bar}".rstrip())
        if self.multiples_of_10 is not None:
            shares = f"{self.multiples_of_10:.0%}, of 5: {self.multiples_of_5:.0%}"
            lines.append(f"multiples of 10: {shares} (by chance 10% and 20%)")
        lines.append(
            f"cases without report: {self.cases_without_report:,}, without a label to use: "
            f"{self.cases_without_label:,}; reports without slide: {self.reports_without_slide:,}"
        )
        lines += [told for told in (self.file_notes, self.unknown_text) if told]
        lines += grouped("failed", {f"case {case}": why for case, why in self.failures.items()})
        return "\n".join(lines)


def summarise(
    store: FeatureStore,
    batch: LabelBatch,
    target: Target,
    file: ReportFile | LabelFile | None = None,
) -> LabelSummary:
    """Count the Labels of a batch by method and status, and their values by range and digit."""
    best = best_of(label.recorded(target) for label in batch.labels)
    values = best["value"].to_list()
    percents = values if target.kind == "fraction" and target.high > 1 else []
    width = target.high - target.low
    tenths = Counter(min(int(10 * (value - target.low) / width), 9) for value in values)
    valued = (label for label in batch.labels if label.value is not None)
    counts = Counter(f"{label.method}/{label.status}" for label in valued)
    without = batch.without_value()
    reports = file if isinstance(file, ReportFile) else None
    told = reports.reports if reports else batch.labels
    with_slide = "select case_id, patient_id from cases semi join slides using (case_id)"
    cases = store.ask(with_slide)
    failures = {one.case_id: one.reason for one in batch.failures}
    for one, why in reports.failures.items() if reports else ():
        failures[one if isinstance(one, str) else f"of row {one}"] = why
    others = strangers((one.case_id for one in told), cases["case_id"].to_list())
    return LabelSummary(
        counts=dict(sorted(counts.items())),
        histogram=[tenths[index] for index in range(10)],
        multiples_of_10=_share(value % 10 == 0 for value in percents),
        multiples_of_5=_share(value % 5 == 0 for value in percents),
        n_values=len(values),
        n_states_none=len(without["states none"]),
        n_not_read=len(without["not read"]),
        n_failed=len(failures),
        n_unchanged=batch.unchanged,
        failures=failures,
        target=target.name,
        low=target.low,
        high=target.high,
        **{name: getattr(reports, name, 0) for name in ("n_empty", "n_superseded", "n_joined")},
        file_notes=file.text() if file else "",
        unknown_cases=list(others.unknown),
        likely_cases=dict(others.likely),
        unknown_text=others.text("cases") + _column_hint(others.unknown, cases["patient_id"]),
        gave_up=bool(cases.height and others.n and others.n == len(others.unknown)),
        **store.named("queries/label_coverage", {"target": target.name}).row(0, named=True),
    )


def _column_hint(unknown: Sequence[str], patients: Iterable[str]) -> str:
    """The likely mistake where most ids that are no Case's are a Patient's."""
    known = set(patients)
    n = sum(one in known for one in unknown)
    if 2 * n <= len(unknown):
        return ""
    return (
        f" {n:,} of them are patient_id in the store: the column read as case_id is likely the "
        "patient's. Name the case's with --column case_id=COLUMN."
    )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a parser does on reports with gold values; right is within 0.5, or both null."""

    n: int
    accuracy: float | None  # share right
    coverage: float | None  # of the reports with a gold value, the share given any value
    wrong: int  # a value was given, and another one, or none, is right
    null_precision: float | None  # of the null answers, the share that is right
    null_recall: float | None  # of the gold nulls, the share answered null
    mae: float | None  # mean absolute error in points, where both have a value
    by_tag: dict[str, dict[str, Any]]  # n, accuracy, wrong
    failed: int  # reports without an answer, which is neither right nor null
    errors: list[dict[str, Any]]  # id, gold, got, status, evidence, rule, outcome, reason, tags
    notes: list[str] = field(default_factory=list)  # of the table's reader

    def text(self, *, errors: bool = False) -> str:
        """The numbers, for the terminal; with each wrong answer if asked."""
        mae = "-" if self.mae is None else f"{self.mae:.2f}"
        lines = [
            f"{counted(self.n, 'report')}: accuracy {_percent(self.accuracy)}, coverage "
            f"{_percent(self.coverage)}, wrong values {self.wrong:,}",
            f"null precision {_percent(self.null_precision)}, recall {_percent(self.null_recall)}; "
            f"mean absolute error {mae} points",
        ]
        lines += self.notes
        if self.failed:
            rows = (row for row in self.errors if row["got"] is None)
            first = next(row["reason"] for row in rows if row["reason"])
            lines.append(f"reports that failed: {self.failed:,}; the first: {first}")
        for tag, score in self.by_tag.items():
            wrong = f"  {score['wrong']} wrong" if score["wrong"] else ""
            lines.append(f"  {tag:16} {score['n']:5} {_percent(score['accuracy']):>7}{wrong}")
        for row in self.errors if errors else ():
            why = row["reason"] or row["status"] if row["got"] is None else None
            why = why or (row["rule"] or "").removeprefix("none: ")
            got = row["outcome"] if row["got"] is None else row["got"]
            lines.append(f"{row['id']}: expected {row['gold']}, got {got or 'no value'} ({why})")
        if self.errors and not errors:
            lines.append("See what was read wrong with: --errors")
        return "\n".join(lines)

    def told(self, *, errors: bool) -> Told:
        """What is printed: each wrong answer, or how many there are."""
        data = to_json(self) | ({} if errors else {"errors": len(self.errors)})
        return Told(self.text(errors=errors), data, gave_up=self.failed > 0)


def evaluate(
    gold: Sequence[Mapping[str, Any]],
    parser: Parser | Callable[[str], Reading] = "rules",
    *,
    ollama_config: OllamaConfig | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a parser as its Labels are used: disputed and unsupported values count as null.

    The rows of `gold` have id, text, value (null where none is stated) and, if any, tags; a parser
    may be a function from a text to a Reading. The rest is as for `make_labels`.
    """
    texts = [row["text"] for row in gold]
    if callable(parser):
        given: list[_Given] = [(parser(text), None, None) for text in texts]
    else:
        given = _given(texts, parser, ollama_config, progress)
    rows = [_judge(row, *one) for row, one in zip(gold, given, strict=True)]
    valued = [row for row in rows if row["gold"] is not None]
    gaps = [abs(row["got"] - row["gold"]) for row in valued if row["got"] is not None]
    tags = sorted({tag for row in rows for tag in row["tags"]})
    return Evaluation(
        **_score(rows),
        coverage=_share(row["got"] is not None for row in valued),
        null_precision=_share(
            row["gold"] is None for row in rows if row["got"] is None and not row["reason"]
        ),
        null_recall=_share(row["right"] for row in rows if row["gold"] is None),
        mae=sum(gaps) / len(gaps) if gaps else None,
        by_tag={tag: _score([row for row in rows if tag in row["tags"]]) for tag in tags},
        failed=sum(row["reason"] is not None and row["got"] is None for row in rows),
        errors=[row for row in rows if not row["right"]],
    )


def evaluate_file(
    path: Path,
    config: ParserConfig,
    ollama_config: OllamaConfig,
    table: ValueConfig | None = None,
    *,
    progress: Progress = silent,
) -> Evaluation:
    """Measure a parser on a table of gold values."""
    gold, notes = read_gold(path, table)
    found = evaluate(gold, config.parser, ollama_config=ollama_config, progress=progress)
    return replace(found, notes=notes)


_Given = tuple[Reading | Label | None, str | None, str | None]  # to use; status; why it failed


def _given(
    texts: Sequence[str], parser: Parser, config: OllamaConfig | None, progress: Progress
) -> list[_Given]:
    """For each text the Label to use, the status even of one not to use, and why it failed."""
    reports = [Report(case_id=str(n), text=text) for n, text in enumerate(texts)]
    batch = make_labels(
        reports, target=Target(), parser=parser, ollama_config=config, progress=progress
    )
    by_id = {label.content_id: label for label in batch.labels}
    chosen = best_of(label.recorded(Target()) for label in batch.labels)
    best = {by_id[label_id].case_id: by_id[label_id] for label_id in chosen["label_id"]}
    valued = [label for label in batch.labels if label.value is not None]
    status = {label.case_id: label.status for label in [*valued, *best.values()]}
    empty = {label.case_id: label for label in batch.labels if label.case_id not in status}
    reason = {failure.case_id: failure.reason for failure in batch.failures}
    ids = [report.case_id for report in reports]
    used = empty | best
    return [(used.get(case_id), status.get(case_id), reason.get(case_id)) for case_id in ids]


def _judge(
    row: Mapping[str, Any], reading: Reading | Label | None, status: str | None, reason: str | None
) -> dict[str, Any]:
    want, got = row["value"], reading.value if reading else None
    if want is None or got is None:
        right = want is None and got is None and not reason  # a failure is not a null answer
    else:
        right = abs(got - want) <= RIGHT_POINTS
    return {
        "id": row["id"],
        "gold": want,
        "got": got,
        "right": right,
        "status": status,
        **{name: getattr(reading, name, None) for name in ("evidence", "rule", "outcome")},
        "reason": reason,
        "tags": list(row.get("tags") or ()),
    }


def _score(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "n": len(rows),
        "accuracy": _share(row["right"] for row in rows),
        "wrong": sum(row["got"] is not None and not row["right"] for row in rows),
    }


def _share(flags: Iterable[bool]) -> float | None:
    flags = list(flags)
    return sum(flags) / len(flags) if flags else None


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
