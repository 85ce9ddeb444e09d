"""Label the Cases of a store: read Reports, ask what is not answered yet, record the Labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from featurestore import catalog, ledger
from featurestore.store import FeatureStore
from featurestore.types import Reading, Report, Target, content_id
from ingest.label_ollama import Answered, OllamaConfig, answer_key
from ingest.labels import Label, LabelBatch, Parser, make_labels

# Reports recorded together. A killed call loses the model's answers of one chunk.
CHUNK_RULES, CHUNK_OLLAMA = 1_024, 16


def label_reports(
    store: FeatureStore,
    reports: Sequence[Report],
    *,
    target: Target,
    parser: Parser,
    ollama_config: OllamaConfig | None = None,
    keep_evidence: bool = True,
    progress: Callable[[int], None] = lambda n: None,
) -> LabelBatch:
    """Give the store Labels from Reports; a Report that a model answered is never asked again.

    Args:
        store: where the Labels go; report texts do not.
        reports: at most one a Case.
        target: what the Labels are about.
        parser: rules, ollama or both.
        ollama_config: where and how to ask.
        keep_evidence: whether to keep the quoted piece of the Report.
        progress: called with the number of Reports done since the last call.
    """
    known = _known_answers(store, target)
    total = LabelBatch(labels=[], failures=[], no_figure=[], answered=[], n_known=0)
    size = CHUNK_RULES if parser == "rules" else CHUNK_OLLAMA
    for start in range(0, len(reports), size):
        chunk = reports[start : start + size]
        told = 0

        def tell(done: int, _: int = 0) -> None:
            nonlocal told
            progress(done - told)
            told = done

        batch = make_labels(
            chunk,
            target=target,
            parser=parser,
            ollama_config=ollama_config,
            known=known,
            progress=tell,
        )
        _record(store, chunk, batch, target, keep_evidence)
        total = LabelBatch(
            labels=total.labels + batch.labels,
            failures=total.failures + batch.failures,
            no_figure=total.no_figure + batch.no_figure,
            answered=total.answered + batch.answered,
            n_known=total.n_known + batch.n_known,
        )
        tell(len(chunk))
    catalog.fold(store.root)
    return total


def record_labels(store: FeatureStore, labels: Sequence[Label], target: Target) -> None:
    """Give the store Labels from a table or a person."""
    store.record("labels", [_row(label, target) for label in labels])


def _record(
    store: FeatureStore,
    reports: Sequence[Report],
    batch: LabelBatch,
    target: Target,
    keep_evidence: bool,
) -> None:
    now = catalog.now()
    failed_before = set(store.sql("select item from failures where stage = 'label'")["item"])
    seen = [
        {
            "case_id": report.case_id,
            "report_hash": report.report_hash,
            "reported_on": report.reported_on,
            "seen_at": now,
        }
        for report in reports
    ]
    labels = batch.labels
    if not keep_evidence:
        labels = [replace(label, evidence=None) for label in labels]
    cases = {report.report_hash: report.case_id for report in reports}
    nulls = [
        _null_row(a, cases[a.report_hash], target) for a in batch.answered if not a.reading.found
    ]
    reasons = {failure.case_id: failure.reason for failure in batch.failures}
    failures = [
        {
            "item": f"report of case {report.case_id}",
            "stage": "label",
            "reason": reasons.get(report.case_id, ""),
            "mended": report.case_id not in reasons,
            "seen_at": now,
        }
        for report in reports
        if report.case_id in reasons or f"report of case {report.case_id}" in failed_before
    ]
    rows = [_row(label, target) for label in labels] + nulls
    for kind, what in (("reports", seen), ("labels", rows), ("failures", failures)):
        if what:
            ledger.append(store.root, kind, what)


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


def _known_answers(store: FeatureStore, target: Target) -> dict[str, Reading]:
    answers = store.sql(
        "from labels where method = 'ollama' and target = $target order by recorded_at",
        {"target": target.name},
    )
    return {
        answer_key(row["report_hash"], row["model_digest"], row["prompt_hash"]): Reading(
            value=row["value"],
            low=row["low"],
            high=row["high"],
            qualifier=row["qualifier"],
            evidence=row["evidence"],
            rule=row["rule"],
        )
        for row in answers.iter_rows(named=True)
    }
