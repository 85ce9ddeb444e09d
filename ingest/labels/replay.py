"""Answers of a model in a file: written while it is asked, read instead of asking it.

JSON lines, one a report: report_hash, model, model_digest, prompt_hash, marks (a hash of the places
of the report's figures) and the answer, or why there is none. Report text is never in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featurestore.errors import OllamaError
from featurestore.types import Report, Target, content_id
from ingest.labels.answers import (
    Answered,
    Fault,
    Model,
    Outcome,
    Unanswered,
    answered,
    instructions_of,
    parse_answer,
)
from ingest.labels.config import OllamaConfig
from ingest.labels.prompt import marked
from ingest.labels.rules import understand
from ingest.table import read_text

# the texts that each line has: who was asked what
NAMES = ("report_hash", "model", "model_digest", "prompt_hash")


@dataclass(frozen=True, kw_only=True)
class RecordedModel(Model):
    """The model whose answers a file holds."""

    answers: Mapping[str, dict[str, Any]] = field(repr=False)  # by report hash; the last one holds
    others: str  # what the file holds beside; empty if nothing


def start(path: Path) -> None:
    """Make the file that answers are written to.

    Raises:
        OllamaError: it is there already, or cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("x").close()
    except FileExistsError:
        raise OllamaError(f"{path} exists: name a new file for the model's answers") from None
    except OSError as problem:
        raise OllamaError(f"{path} cannot be written: {problem.strerror}. Name another") from None


def write(path: Path, report: Report, model: Model, outcome: Outcome) -> None:
    """Append one outcome; each is in the file before the next is waited for."""
    texts = (report.report_hash, model.name, model.digest, model.prompt_hash)
    said: dict[str, Any] = dict(zip(NAMES, texts, strict=True)) | {"marks": _marks(report)}
    if isinstance(outcome, Answered):
        said["answer"] = outcome.answer.model_dump()
    else:
        said["failure"] = outcome.reason
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(said) + "\n")


def connect(config: OllamaConfig) -> RecordedModel:
    """Find the model whose answers the file holds, before any work is done.

    Raises:
        OllamaError: the file cannot be read, or holds no answer to this prompt, or several models'.
    """
    path = config.replay or Path()
    text, _ = read_text(path, OllamaError, "Expected a file that --record made.")
    lines = enumerate(text.split("\n"), 1)
    read = {number: _line(line) for number, line in lines if line.strip()}
    found = [said for said in read.values() if said]
    strange = [number for number, said in read.items() if not said]
    if not found:
        raise OllamaError(
            f"{path} holds no answer of a model: expected JSON lines with {', '.join(NAMES)} and "
            "answer. Make such a file with --record"
        )
    instructions, prompt_hash = instructions_of(config)
    good = [said for said in found if said["prompt_hash"] == prompt_hash]
    if not good:
        raise OllamaError(
            f"the answers in {path} were given to the prompt {found[0]['prompt_hash']}, and this "
            f"version asks {prompt_hash}. Score them with the version or --prompt that they were "
            "made with, or make them anew with --record"
        )
    models = sorted({(said["model"], said["model_digest"]) for said in good})
    if len(models) > 1:
        names = ", ".join(f"{name} ({digest[:19]})" for name, digest in models)
        raise OllamaError(f"{path} holds answers of {len(models)} models: {names}. Divide the file")
    others = {
        "of another prompt": len(found) - len(good),
        f"no answers, the first is line {min(strange, default=0)}": len(strange),
    }
    return RecordedModel(
        name=models[0][0],
        digest=models[0][1],
        context_tokens=0,
        instructions=instructions,
        prompt_hash=prompt_hash,
        answers={said["report_hash"]: said for said in good},
        others=", ".join(f"{n:,} lines are {what}" for what, n in others.items() if n),
    )


def outcome_of(
    report: Report, model: RecordedModel, config: OllamaConfig, target: Target
) -> Outcome:
    """What the file says of a Report."""
    try:
        return _answered(report, model, config, target)
    except Fault as fault:
        return Unanswered.of(report, fault)


def _answered(
    report: Report, model: RecordedModel, config: OllamaConfig, target: Target
) -> Answered:
    said = model.answers.get(report.report_hash)
    if said is None:
        others = f" ({model.others})" if model.others else ""
        raise Fault(f"{config.replay} has no answer to this report{others}")
    if "answer" not in said:
        raise Fault(str(said["failure"]))
    if said.get("marks", _marks(report)) != _marks(report):
        raise Fault("its answer is about figures as another version found them")
    given = said["answer"]
    answer = parse_answer(given if isinstance(given, str) else json.dumps(given), None)
    return answered(answer, report, model, target)


def _line(line: str) -> dict[str, Any] | None:
    """One line as what it says; None for one that is no answer of a model."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not ("answer" in said or "failure" in said):
        return None
    texts = [said.get(name) for name in NAMES]
    return said if all(isinstance(text, str) and text.isprintable() for text in texts) else None


def _marks(report: Report) -> str:
    figures = marked(understand(report.text))[1]
    return content_id([[figure.start, figure.end] for figure in figures])
