"""Ask a language model behind an Ollama server for the reading of each Report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import httpx  # what the client raises on a time-out
import ollama
from pydantic import ValidationError

from featurestore.errors import OllamaError
from featurestore.types import Reading, Report, Target, content_id
from ingest.labels.config import OllamaConfig, server_url
from ingest.labels.prompt import INSTRUCTIONS, QUESTION, REPAIR, Answer, marked, read_answer
from ingest.labels.rules import Understood, understand

ANSWER_TOKENS = 768  # twelve claims of seven short fields
CHARACTERS_A_TOKEN = 3  # of a report: fewer than English prose has
CONTEXTS = (4096, 8192, 16384, 32768, 65536, 131072)  # few sizes: each change reloads the model
STUB_BYTES = 1_000_000  # a listed model smaller than this is a pointer to one in the cloud
T = TypeVar("T")


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

    key: str
    report_hash: str
    model: str
    model_digest: str
    prompt_hash: str
    reading: Reading


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A Report that could not be read, and why; never with its text."""

    case_id: str
    report_hash: str
    reason: str


Outcome = Answered | Failure


class _Fault(Exception):
    """An answer that cannot be used. The message quotes none of it: it may quote the report."""


class _Gone(_Fault):
    """The server or the model is not there: no other report need be sent."""


def answer_key(report_hash: str, model_digest: str, prompt_hash: str) -> str:
    """The name of an answer: the same report, model and prompt are never asked twice."""
    return f"{report_hash}:{model_digest}:{prompt_hash}"


def connect(config: OllamaConfig) -> Model:
    """Find the model, before any work is done.

    Raises:
        OllamaError: no server, no such model, or no answer in time; says what to do.
    """
    try:
        return asyncio.run(_connect(config, config.own_instructions() or INSTRUCTIONS))
    except _Fault as fault:
        raise OllamaError(f"{fault}, or pass --parser rules") from None


def ask(
    reports: Sequence[Report],
    model: Model,
    config: OllamaConfig,
    *,
    target: Target,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Ask the model about each Report: one outcome each, in the order given.

    Args:
        reports: what to ask about; the same text twice is asked twice.
        model: from `connect` with the same config.
        config: where and how to ask.
        target: values must lie in its range.
        on_outcome: called in this thread as each outcome arrives: save it there.

    Raises:
        OllamaError: the server or the model went away; the rest is not sent.
    """
    return asyncio.run(_ask_all(reports, model, config, target, on_outcome))


def _client(config: OllamaConfig) -> ollama.AsyncClient:
    # No redirects, and no proxy to reach this machine: either would carry reports elsewhere.
    url, loopback = server_url(config.host)
    return ollama.AsyncClient(
        url, timeout=config.timeout_s, follow_redirects=False, trust_env=not loopback
    )


async def _connect(config: OllamaConfig, instructions: str) -> Model:
    async with _client(config) as client:
        listed = await _patiently(config, client.list)
        name = config.model if ":" in config.model else f"{config.model}:latest"
        found = next((model for model in listed.models if model.model == name), None)
        if found is None or not found.digest:
            raise _Gone(_no_model(config))
        if (found.size or 0) < STUB_BYTES and not config.allow_remote:
            raise OllamaError(
                f"model {name!r} has no weights here: it runs on another machine, and reports are "
                "health data. Pass --allow-remote if they may leave this one"
            )
        shown = await _patiently(config, lambda: client.show(config.model))
    info = shown.modelinfo or {}
    context = next((info[name] for name in info if name.endswith(".context_length")), CONTEXTS[-1])
    schema = Answer.model_json_schema()
    shape = [instructions, QUESTION, REPAIR, schema, config.seed, config.temperature, ANSWER_TOKENS]
    return Model(
        name=config.model,
        digest=found.digest,
        context_tokens=int(context),
        instructions=instructions,
        prompt_hash=content_id(shape, digits=32),
    )


def _no_model(config: OllamaConfig) -> str:
    url, _ = server_url(config.host)
    return f"{url} has no model {config.model!r}. Get it with `ollama pull {config.model}`"


async def _patiently(config: OllamaConfig, call: Callable[[], Awaitable[T]]) -> T:
    """Call the server, and again while it is busy. Its messages are dropped: they may quote us."""
    url, _ = server_url(config.host)
    for attempt in range(config.busy_retries + 1):
        if attempt:
            await asyncio.sleep(config.backoff_s * 2 ** (attempt - 1))
        try:
            async with asyncio.timeout(config.timeout_s):  # the client's own is for each read
                return await call()
        except ollama.ResponseError as problem:
            if problem.status_code == 404:
                raise _Gone(_no_model(config)) from None
            if problem.status_code not in (429, 503):
                status = problem.status_code
                raise _Fault(f"{url} answered with status {status}: see the server's log") from None
        except (httpx.TimeoutException, TimeoutError):
            raise _Fault(f"{url} gave no answer in {config.timeout_s:g} s (--timeout)") from None
        except ConnectionError:
            raise _Gone(
                f"no Ollama server answers at {url}. Start it with `ollama serve`, name another "
                "with --host"
            ) from None
        except (httpx.HTTPError, ValueError) as problem:  # a reset, or a body that is not Ollama's
            kind = type(problem).__name__
            raise _Fault(f"{url} did not answer as Ollama does ({kind})") from None
    raise _Fault(f"{url} is busy (503) after {config.busy_retries + 1} tries: try again later")


async def _ask_all(
    reports: Sequence[Report],
    model: Model,
    config: OllamaConfig,
    target: Target,
    on_outcome: Callable[[Outcome], None],
) -> list[Outcome]:
    slots = asyncio.Semaphore(config.concurrency)

    async def one(report: Report) -> Outcome:
        outcome: Outcome
        async with slots:
            try:
                outcome = await _ask_one(client, report, model, config, target)
            except _Gone:
                raise
            except _Fault as fault:
                outcome = Failure(
                    case_id=report.case_id, report_hash=report.report_hash, reason=str(fault)
                )
        on_outcome(outcome)
        return outcome

    # Short reports first, so that the server loads the model once for each context size.
    order = sorted(range(len(reports)), key=lambda i: _num_ctx(reports[i], model, config))
    try:
        async with _client(config) as client, asyncio.TaskGroup() as group:
            tasks = {index: group.create_task(one(reports[index])) for index in order}
    except BaseExceptionGroup as problems:
        problem = problems.exceptions[0]
        if isinstance(problem, _Gone):
            raise OllamaError(f"{problem}, or pass --parser rules") from None
        raise problem from None  # from on_outcome: the caller's own
    return [tasks[index].result() for index in range(len(reports))]


async def _ask_one(
    client: ollama.AsyncClient, report: Report, model: Model, config: OllamaConfig, target: Target
) -> Answered:
    """Ask, and ask once more with the fault named if the answer cannot be used."""
    it = understand(report.text)
    question = QUESTION.format(tag=report.report_hash[:12], text=marked(it)[0])
    messages = [
        {"role": "system", "content": model.instructions},
        {"role": "user", "content": question},
    ]
    options = {
        "temperature": config.temperature,
        "seed": config.seed,
        "num_ctx": _num_ctx(report, model, config),
        "num_predict": ANSWER_TOKENS,
    }
    fault = ""
    for _ in range(2):
        response = await _patiently(
            config,
            lambda: client.chat(
                model=model.name,
                messages=messages,
                format=Answer.model_json_schema(),
                think=False,
                options=options,
            ),
        )
        _check_length(response, messages, options["num_ctx"])
        content = response.message.content or response.message.thinking or ""
        try:
            reading = _reading(_parse(content, response.done_reason), it, target, model.name)
        except _Fault as problem:
            fault = str(problem)
            repair = {"role": "user", "content": REPAIR.format(fault=fault)}
            messages.extend(
                [{"role": "assistant", "content": content[:1000] or "(nothing)"}, repair]
            )
            continue
        return Answered(
            key=model.key(report),
            report_hash=report.report_hash,
            model=model.name,
            model_digest=model.digest,
            prompt_hash=model.prompt_hash,
            reading=reading,
        )
    raise _Fault(f"{model.name} gave two answers that cannot be used: {fault}")


def _num_ctx(report: Report, model: Model, config: OllamaConfig) -> int:
    """Context for the instructions, the report with its marks, and two answers."""
    n_bytes = len((model.instructions + QUESTION + report.text).encode())
    tokens = int(1.2 * n_bytes / CHARACTERS_A_TOKEN) + 3 * ANSWER_TOKENS
    sized = config.num_ctx or next((size for size in CONTEXTS if size >= tokens), tokens)
    return min(sized, model.context_tokens)


def _check_length(
    response: ollama.ChatResponse, messages: Sequence[dict[str, str]], num_ctx: float
) -> None:
    """Refuse an answer to a cut prompt: Ollama cuts what is over num_ctx without a word.

    No count, or one below 1,024, is that of a prompt in the server's cache and tells nothing; then
    the words must fit, at a token each at the least.
    """
    words = sum(len(message["content"].split()) for message in messages)
    count = response.prompt_eval_count
    cut = words + ANSWER_TOKENS > num_ctx
    if count is not None:
        report_words = len(messages[1]["content"].split())
        cut = cut or count + ANSWER_TOKENS > num_ctx or 1024 <= count < report_words
    if cut:
        read = "an unknown number of" if count is None else count
        raise _Fault(f"the report was cut: {read} tokens were read, of {num_ctx} (--num-ctx)")


def _parse(content: str, done_reason: str | None) -> Answer:
    """Validate an answer; text around its last JSON object (thinking, a code fence) is skipped."""
    if done_reason not in ("stop", None):  # older servers give none
        raise _Fault(f"it was cut off (done_reason {done_reason!r})")
    content = content.rpartition("</think>")[2]
    found, start = None, content.find("{")
    while start >= 0:
        try:
            found, end = json.JSONDecoder().raw_decode(content, start)
        except (ValueError, RecursionError):
            end = start + 1
        start = content.find("{", end)
    if found is None:
        raise _Fault("it holds no JSON object")
    try:
        return Answer.model_validate(found)
    except ValidationError as problem:
        errors = problem.errors(include_input=False, include_url=False)
        fault = "; ".join(f"{error['loc'][0]}: {error['msg']}" for error in errors)
    raise _Fault(fault)


def _reading(answer: Answer, it: Understood, target: Target, model: str) -> Reading:
    try:
        reading = read_answer(answer, it, model)
    except ValueError as problem:
        raise _Fault(str(problem)) from None
    ends = [end for end in (reading.low, reading.high) if end is not None]
    if any(not target.low <= end <= target.high for end in ends):
        raise _Fault(f"values must lie in {target.low:g} to {target.high:g}")
    return reading
