"""What an answer of a language model is: to which question, by whom, and what it comes to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from pydantic import ValidationError

from featurestore.types import Reading, Report, Target, content_id
from ingest.labels.config import OllamaConfig
from ingest.labels.prompt import INSTRUCTIONS, QUESTION, REPAIR, Answer, read_answer
from ingest.labels.rules import understand

ANSWER_TOKENS = 640  # twelve claims of seven short fields


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model that is there to be asked, and all that decides its answers beside the report."""

    name: str
    digest: str
    context_tokens: int  # the most it can read
    instructions: str = field(repr=False)
    prompt_hash: str

    def key(self, report: Report) -> str:
        """The key of this model's answer about a Report."""
        return answer_key(report.report_hash, self.digest, self.prompt_hash)


@dataclass(frozen=True, kw_only=True)
class Answered:
    """A Report's text that was answered; the reading may be null."""

    report_hash: str
    answer: Answer = field(repr=False)
    reading: Reading


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A Report that could not be read, and why; never with its text."""

    case_id: str
    report_hash: str
    reason: str

    @classmethod
    def of(cls, report: Report, reason: object) -> Unanswered:
        """The failure of a Report."""
        return cls(case_id=report.case_id, report_hash=report.report_hash, reason=str(reason))


Outcome = Answered | Unanswered


class Fault(Exception):
    """An answer that cannot be used. The message quotes none of it: it may quote the report."""


def answer_key(report_hash: str, model_digest: str, prompt_hash: str) -> str:
    """The name of an answer: the same report, model and prompt are never asked twice."""
    return f"{report_hash}:{model_digest}:{prompt_hash}"


def instructions_of(config: OllamaConfig) -> tuple[str, str]:
    """What a model is told before each report, and the hash of all that shapes its answers."""
    instructions = config.own_instructions() or INSTRUCTIONS
    schema = Answer.model_json_schema()
    shape = [instructions, QUESTION, REPAIR, schema, config.seed, config.temperature, ANSWER_TOKENS]
    return instructions, content_id(shape, digits=32)


def parse_answer(content: str, done_reason: str | None) -> Answer:
    """Validate an answer; text around its last JSON object (thinking, a code fence) is skipped."""
    if done_reason not in ("stop", None):  # older servers give none
        raise Fault(f"it was cut off (done_reason {done_reason!r})")
    content = content.rpartition("</think>")[2]
    found, start = None, content.find("{")
    while start >= 0:
        try:
            found, end = json.JSONDecoder().raw_decode(content, start)
        except (ValueError, RecursionError):
            end = start + 1
        start = content.find("{", end)
    if found is None:
        raise Fault("it holds no JSON object")
    try:
        return Answer.model_validate(found)
    except ValidationError as problem:
        errors = problem.errors(include_input=False, include_url=False)
        fault = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in errors)
    raise Fault(fault)


def answered(answer: Answer, report: Report, model: Model, target: Target) -> Answered:
    """What an answer comes to; a Fault where that cannot be."""
    try:
        reading = read_answer(answer, understand(report.text), model.name)
    except ValueError as problem:
        raise Fault(str(problem)) from None
    ends = [end for end in (reading.low, reading.high) if end is not None]
    if any(not target.low <= end <= target.high for end in ends):
        raise Fault(f"values must lie in {target.low:g} to {target.high:g}")
    return Answered(report_hash=report.report_hash, answer=answer, reading=reading)
