"""Label the Cases of a store: read Reports, ask what is not answered yet, record the Labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import OF_CASE, Failure, Progress, Reading, Report, Target, silent
from ingest.config import TableConfig
from ingest.labels import succession
from ingest.labels.answers import answer_key
from ingest.labels.config import LabelConfig, OllamaConfig, Parser, ValueConfig
from ingest.labels.labels import Known, LabelBatch, make_labels
from ingest.labels.reports import LabelFile, ReportFile, read_label_table, read_reports
from ingest.labels.scores import LabelSummary, summarise

F = TypeVar("F", ReportFile, LabelFile)
UNREAD = "its row or file cannot be read"
OF_TEXTS = (succession.ALONE, succession.UNDATED, succession.NO_WORD)  # these show none of it


def label_reports(
    store: FeatureStore,
    path: Path,
    config: LabelConfig,
    ollama_config: OllamaConfig,
    table: TableConfig | None = None,
    *,
    progress: Progress = silent,
) -> LabelSummary:
    """Give the store Labels from a table, or a folder, of Reports; see `record_reports`."""
    target = target_of(store, config)
    file = without_erased(store, read_reports(path, table))
    file = succession.without_hiding(store, file, target)
    before = succession.values(store, target)
    batch = record_reports(
        store,
        file.reports,
        target=target,
        parser=config.parser,
        ollama_config=ollama_config,
        keep_evidence=config.keep_evidence,
        progress=progress,
    )
    # What is wrong with a row may show a piece of its text: said, not stored.
    lost = {one: why if why in OF_TEXTS else UNREAD for one, why in file.failures.items()}
    store.record(
        Failure(item=_item(one), stage="label", reason=why)
        for one, why in lost.items()
        if isinstance(one, str)
    )
    return summarise(store, batch, target, succession.with_changes(store, file, target, before))


def label_table(
    store: FeatureStore, path: Path, config: LabelConfig, table: ValueConfig | None = None
) -> LabelSummary:
    """Give the store the values of a table as Labels of method human."""
    target = target_of(store, config)
    file = without_erased(store, read_label_table(path, target, table))
    known = len(file.labels) - store.record_labels(file.labels, target)
    batch = LabelBatch(labels=file.labels, failures=[], unchanged=known)
    return summarise(store, batch, target, file)


def record_reports(
    store: FeatureStore,
    reports: Sequence[Report],
    *,
    target: Target,
    parser: Parser,
    ollama_config: OllamaConfig | None = None,
    keep_evidence: bool = True,
    progress: Progress = silent,
) -> LabelBatch:
    """Give the store Labels from Reports; a Report that a model answered is never asked again.

    The Labels of each answer are in the ledger before the next one is waited for: a killed call
    loses the questions in flight and nothing else.
    Of the Reports' texts it keeps the quoted pieces, or nothing without `keep_evidence`. The rest
    is as for `make_labels`.
    """
    store.record()  # the answers that a killed call left
    failed_before = set(store.ask("select item from failures where stage = 'label'")["item"])
    seen, unchanged = [report.seen for report in reports], 0

    def record(part: LabelBatch) -> None:
        nonlocal unchanged
        labels = part.labels
        if not keep_evidence:
            labels = [replace(label, evidence=None) for label in labels]
        new = store.new_labels(labels, target)
        unchanged += len(labels) - len(new)
        failed = [
            Failure(item=_item(one.case_id), stage="label", reason=one.reason)
            for one in part.failures
        ]
        store.record([*seen, *new, *failed], fold=False)
        seen.clear()  # said with the first part: a call that is refused changes nothing

    batch = make_labels(
        reports,
        target=target,
        parser=parser,
        ollama_config=ollama_config,
        known=_known_answers(store, target),
        on_part=record,
        progress=progress,
    )
    still = {_item(failure.case_id) for failure in batch.failures}
    mended = {_item(report.case_id) for report in reports} & failed_before - still
    store.record(Failure(item=item, mended=True) for item in sorted(mended))
    return replace(batch, unchanged=unchanged)


def target_of(store: FeatureStore, config: LabelConfig) -> Target:
    """The Target that is labelled: as the store knows it, or a new one as it is told.

    Raises:
        ConfigError: it is told otherwise than it is known, or a new one too little.
    """
    told: dict[str, Any] = {"kind": config.kind, "low": config.low, "high": config.high}
    told = {name: value for name, value in told.items() if value is not None}
    known = set(store.ask("select target from targets")["target"])
    if config.target in known or config.target == Target().name:
        target = store.target(config.target) if config.target in known else Target()
        if any(getattr(target, name) != value for name, value in told.items()):
            raise ConfigError(
                f"target {target.name!r} is known as {target.kind}, from {target.low:g} to "
                f"{target.high:g}. Leave out --kind, --low and --high, or name another --target"
            )
        return target
    for name in known | {Target().name}:
        if config.target.strip().casefold() == name.casefold():
            raise ConfigError(f"target {config.target!r} is not known, {name!r} is: name it so")
    if config.kind == "continuous" and len(told) < 3:
        raise ConfigError("a new target that is continuous needs --low and --high")
    ends: dict[str, Any] = {"high": 1.0} if config.kind == "binary" else {}
    return Target(name=config.target, **ends | told)


def without_erased(store: FeatureStore, file: F) -> F:
    """Leave out, and tell, what is of Cases that were erased: nothing of them comes back."""
    gone, of = store.erased(), "reports" if isinstance(file, ReportFile) else "labels"
    kept = [one for one in getattr(file, of) if not gone.has([("case", one.case_id)])]
    n = len(getattr(file, of)) - len(kept)
    note = f"{of} of cases that were erased from the store, left out: {n:,}"
    change: dict[str, Any] = {of: kept, "notes": [*file.notes, note]}
    return replace(file, **change) if n else file


def _item(case_id: str) -> str:
    return OF_CASE + case_id


def _known_answers(store: FeatureStore, target: Target) -> dict[str, Known]:
    answers = store.ask(
        "from labels where method = 'ollama' and target = $target order by recorded_at",
        {"target": target.name},
    )
    return {
        answer_key(row["report_hash"], row["model_digest"], row["prompt_hash"]): (
            Reading(
                **{one.name: row[one.name] for one in fields(Reading)}
                | {"outcome": row["outcome"] or "stated", "reason": row["reason"] or ""}
            ),
            row["status"] != "unsupported",
        )
        for row in answers.iter_rows(named=True)
    }
