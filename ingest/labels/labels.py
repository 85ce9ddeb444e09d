"""Turn Reports into Labels: run the parsers, check the evidence, compare the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from featurestore.errors import ConfigError
from featurestore.types import Label, Method, Progress, Reading, Report, Status, Target, silent
from ingest.labels import ollama as label_ollama
from ingest.labels import replay
from ingest.labels import rules as label_rules
from ingest.labels.answers import Model, Outcome, Unanswered
from ingest.labels.config import OllamaConfig, Parser
from ingest.labels.prompt import is_supported

Known = tuple[Reading, bool]  # an answer, and whether its quote, now dropped, stood in the report
AGREE_POINTS = 5.0  # two parsers this near to each other agree
PART = 1_024  # reports that need no answer, recorded together


@dataclass(frozen=True, kw_only=True)
class LabelBatch:
    """What came of a number of Reports."""

    labels: list[Label]  # one a parser and Report, those without a value too
    failures: list[Unanswered]  # reports a parser could not read; tried again next time
    unchanged: int = 0  # Labels that said what the store had

    def without_value(self) -> dict[str, list[str]]:
        """Cases without any value: `states none` if a parser says so, `not read` if none could."""
        outcomes: dict[str, set[str | None]] = {}
        for label in self.labels:
            said = label.outcome if label.value is None else ""
            outcomes.setdefault(label.case_id, set()).add(said)
        found: dict[str, list[str]] = {"states none": [], "not read": []}
        for case_id, several in outcomes.items():
            if "" not in several:
                found["not read" if several == {"not read"} else "states none"].append(case_id)
        return found


def make_labels(
    reports: Sequence[Report],
    *,
    target: Target,
    parser: Parser = "rules",
    ollama_config: OllamaConfig | None = None,
    known: Mapping[str, Known] | None = None,
    on_part: Callable[[LabelBatch], None] = lambda part: None,
    progress: Progress = silent,
) -> LabelBatch:
    """Read a value of the Target from each Report.

    Args:
        reports: at most one a Case.
        target: what the Labels are about; the rules and our prompt know cellularity only.
        parser: 'both' compares the two: within 5 points is agreed, otherwise disputed.
        ollama_config: where and how to ask; the defaults if null.
        known: answers, null ones too, by `answers.answer_key`; those are never asked again.
        on_part: called with what comes of each answer as it arrives, and of the Reports that need
            none in parts: what it saves outlives a crash.
        progress: as `featurestore.types.Progress`; counts Reports.

    Raises:
        ConfigError: the parser does not know the Target.
        OllamaError: there is no server or no such model, or it went away.
    """
    config = ollama_config or OllamaConfig()
    _check(target, parser, config)
    known = known or {}
    model = _connect(config) if parser != "rules" else None
    parts, done = list[LabelBatch](), list[Report]()

    def take(some: Sequence[Report], outcome: Outcome | None = None) -> None:
        parts.append(_label(some, target, parser, model, known, outcome))
        on_part(parts[-1])
        done.extend(some)
        progress(len(done), len(reports), "")

    ready: list[Report] = []
    to_ask: dict[str, list[Report]] = {}  # by report hash: each text is asked about once
    for report in reports:
        if model and model.key(report) not in known:
            to_ask.setdefault(report.report_hash, []).append(report)
        else:
            ready.append(report)
    for start in range(0, len(ready), PART):
        take(ready[start : start + PART])
    if model and to_ask:
        _ask(model, config, target, to_ask, take)
    return _whole(parts, reports)


def _ask(
    model: Model,
    config: OllamaConfig,
    target: Target,
    to_ask: Mapping[str, Sequence[Report]],
    take: Callable[[Sequence[Report], Outcome], None],
) -> None:
    """Ask about the first Report of each text, and take the answer for all of the same."""

    def arrived(outcome: Outcome) -> None:
        same = to_ask[outcome.report_hash]
        if config.record:
            replay.write(config.record, same[0], model, outcome)
        take(same, outcome)

    firsts = [same[0] for same in to_ask.values()]
    if isinstance(model, replay.RecordedModel):
        for report in firsts:
            arrived(replay.outcome_of(report, model, config, target))
    else:
        label_ollama.ask(firsts, model, config, target=target, on_outcome=arrived)


def _check(target: Target, parser: str, config: OllamaConfig) -> None:
    if parser not in ("rules", "ollama", "both"):
        raise ConfigError(f"parser must be rules, ollama or both, got {parser!r}")
    if target.name != "cellularity" and (parser != "ollama" or config.prompt_file is None):
        raise ConfigError(
            f"parser {parser!r} reads cellularity, not {target.name!r}. Pass --parser ollama with "
            "a --prompt of your own, or --table."
        )
    if parser == "rules" and (config.record or config.replay):
        raise ConfigError("the rules ask no model: --record and --replay need --parser ollama")


def _connect(config: OllamaConfig) -> Model:
    model = replay.connect(config) if config.replay else label_ollama.connect(config)
    if config.record:
        replay.start(config.record)
    return model


def _whole(parts: Sequence[LabelBatch], reports: Sequence[Report]) -> LabelBatch:
    """All parts in one, in the order of the Reports."""
    place = {report.case_id: index for index, report in enumerate(reports)}
    return LabelBatch(
        labels=sorted((one for it in parts for one in it.labels), key=lambda it: place[it.case_id]),
        failures=sorted(
            (one for it in parts for one in it.failures), key=lambda it: place[it.case_id]
        ),
    )


def _label(
    reports: Sequence[Report],
    target: Target,
    parser: Parser,
    model: Model | None,
    known: Mapping[str, Known],
    outcome: Outcome | None,
) -> LabelBatch:
    """Label Reports of one text, with its outcome, or Reports whose answers are known."""
    batch = LabelBatch(labels=[], failures=[])
    for report in reports:
        readings: dict[Method, Known] = {}
        if isinstance(outcome, Unanswered):
            batch.failures.append(Unanswered.of(report, outcome.reason))
        elif outcome:
            readings["ollama"] = outcome.reading, False
        elif model:
            readings["ollama"] = known[model.key(report)]
        if parser != "ollama":
            try:
                readings["rules"] = label_rules.parse(report.text), False
            except Exception as problem:  # one bad report never stops a batch
                batch.failures.append(Unanswered.of(report, f"rules: {type(problem).__name__}"))
        batch.labels.extend(_labels_of(report, target, readings, model))
    return batch


def _labels_of(
    report: Report, target: Target, readings: Mapping[Method, Known], model: Model | None
) -> list[Label]:
    """The Labels of one Report, one for each parser that read it."""
    supported = {
        method: _is_supported(report, target, *known) for method, known in readings.items()
    }
    compared = _compare([reading for reading, _ in readings.values()])
    if compared == "agreed" and not all(supported.values()):
        compared = "single"  # what has no evidence confirms nothing
    return [
        Label(
            case_id=report.case_id,
            target=target.name,
            method=method,
            status=_status(reading, compared, supported[method]),
            report_hash=report.report_hash,
            model_digest=model.digest if model and method == "ollama" else None,
            prompt_hash=model.prompt_hash if model and method == "ollama" else None,
            **vars(reading) | {"reason": reading.reason or None},
        )
        for method, (reading, _) in readings.items()
    ]


def _status(reading: Reading, compared: Status, supported: bool) -> Status:
    if not supported:
        return "unsupported"
    return compared if reading.found else "single"  # a dispute is about the value


def _is_supported(report: Report, target: Target, reading: Reading, was_supported: bool) -> bool:
    """Whether a Reading's figures are in clauses on the Target; of another one, in the Report."""
    if not reading.found or (reading.evidence is None and was_supported):
        return True
    it = label_rules.understand(report.text)
    if target.name != "cellularity":
        return bool(reading.evidence and reading.evidence in it.text)
    return is_supported(it, reading)


def _compare(readings: Sequence[Reading]) -> Status:
    """Two values agree within 5 points, and 10 of their ends; one beside none stated is disputed.

    Where one parser could not read the Report for certain, the other stands alone.
    """
    if len(readings) < 2 or any(reading.outcome == "not read" for reading in readings):
        return "single"
    if any(reading.value is None for reading in readings):
        return "disputed"
    apart = [max(ends) - min(ends) for ends in zip(*map(_numbers, readings), strict=True)]
    agreed = apart[0] <= AGREE_POINTS and max(apart) <= 2 * AGREE_POINTS
    return "agreed" if agreed else "disputed"


def _numbers(reading: Reading) -> tuple[float, ...]:
    value = 0.0 if reading.value is None else reading.value
    ends = (value if end is None else end for end in (reading.low, reading.high))
    return value, *ends
