"""Label the Cases of a store: read Reports, ask what is not answered yet, record the Labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from featurestore import catalog, ledger
from featurestore.store import FeatureStore
from featurestore.types import Reading, Report, Target, content_id
from ingest.labels.labels import Known, Label, LabelBatch, Parser, Progress, make_labels
from ingest.labels.ollama import Answered, Failure, OllamaConfig, answer_key


def label_reports(
    store: FeatureStore,
    reports: Sequence[Report],
    *,
    target: Target,
    parser: Parser,
    ollama_config: OllamaConfig | None = None,
    keep_evidence: bool = True,
    progress: Progress | None = None,
) -> LabelBatch:
    """Give the store Labels from Reports; a Report that a model answered is never asked again.

    The Labels of each answer are in the ledger before the next one is waited for: a killed call
    loses the questions in flight and nothing else.

    Args:
        store: where the Labels go; report texts do not.
        reports: at most one a Case.
        target: what the Labels are about.
        parser: rules, ollama or both.
        ollama_config: where and how to ask.
        keep_evidence: whether to keep the quoted piece of the Report.
        progress: called with (reports done, reports in all).
    """
    catalog.fold(store.root)  # the answers that a killed call left
    failed_before = set(store.sql("select item from failures where stage = 'label'")["item"])
    hashes = {report.case_id: report.report_hash for report in reports}
    cases: dict[str, list[str]] = {}
    for case_id, report_hash in hashes.items():
        cases.setdefault(report_hash, []).append(case_id)
    seen = [
        {
            "case_id": report.case_id,
            "report_hash": report.report_hash,
            "reported_on": report.reported_on,
            "seen_at": catalog.now(),
        }
        for report in reports
    ]

    def record(part: LabelBatch) -> None:
        if seen:  # with the first part: a call that is refused changes nothing
            ledger.append(store.root, "reports", seen)
            seen.clear()
        labels = part.labels
        if not keep_evidence:
            labels = [replace(label, evidence=None) for label in labels]
        rows = [_row(label, target) for label in labels]
        for answer in part.answered:
            if not answer.reading.found:
                rows += [_null_row(answer, case, target) for case in cases[answer.report_hash]]
        if rows:
            ledger.append(store.root, "labels", rows)
        if part.failures:
            ledger.append(store.root, "failures", [_failed(it) for it in part.failures])

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
    mended = [_item(case) for case in hashes if _item(case) in failed_before - still]
    if mended:
        rows = [{"item": item, "mended": True, "seen_at": catalog.now()} for item in mended]
        ledger.append(store.root, "failures", rows)
    catalog.fold(store.root)
    return batch


def record_labels(store: FeatureStore, labels: Sequence[Label], target: Target) -> None:
    """Give the store Labels from a table or a person; of one person's several, the last holds."""
    rows = [_row(label, target) for label in labels]
    for row in rows:  # said again after another value, it is a new Label
        row["label_id"] = content_id([row["label_id"], str(row["recorded_at"])])
    store.record("labels", rows)


def _item(case_id: str) -> str:
    return f"report of case {case_id}"


def _failed(failure: Failure) -> dict[str, Any]:
    said = {"item": _item(failure.case_id), "stage": "label", "reason": failure.reason}
    return said | {"mended": False, "seen_at": catalog.now()}


def _row(label: Label, target: Target) -> dict[str, Any]:
    return asdict(label) | {"label_id": label.label_id} | _about(target)


def _null_row(answer: Answered, case_id: str, target: Target) -> dict[str, Any]:
    """Keep that the model found no figure: a Report is asked about once."""
    said = {
        "case_id": case_id,
        "target": target.name,
        "method": "ollama",
        "status": "single",
        "report_hash": answer.report_hash,
        "rule": answer.model,
        "model_digest": answer.model_digest,
        "prompt_hash": answer.prompt_hash,
    }
    return said | {"label_id": content_id(said)} | _about(target)


def _about(target: Target) -> dict[str, Any]:
    return {
        "target_kind": target.kind,
        "target_low": target.low,
        "target_high": target.high,
        "recorded_at": catalog.now(),
    }


def _known_answers(store: FeatureStore, target: Target) -> dict[str, Known]:
    answers = store.sql(
        "from labels where method = 'ollama' and target = $target order by recorded_at",
        {"target": target.name},
    )
    fields = ("value", "low", "high", "qualifier", "evidence", "rule")
    return {
        answer_key(row["report_hash"], row["model_digest"], row["prompt_hash"]): (
            Reading(**{name: row[name] for name in fields}),
            row["status"] != "unsupported",
        )
        for row in answers.iter_rows(named=True)
    }
