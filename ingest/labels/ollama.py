"""Ask a language model behind an Ollama server for the reading of each Report."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import httpx  # what the client raises on a time-out
import ollama

from featurestore.errors import OllamaError
from featurestore.types import Report, Target
from ingest.labels.answers import (
    ANSWER_TOKENS,
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
from ingest.labels.prompt import QUESTION, REPAIR, marked, schema_of
from ingest.labels.rules import understand

CHARACTERS_A_TOKEN = 3  # of a report: fewer than English prose has
CONTEXTS = (4096, 8192, 16384, 32768, 65536, 131072)  # few sizes: each change reloads the model
STUB_BYTES = 1_000_000  # a listed model smaller than this is a pointer to one in the cloud
_STRANGE = (
    httpx.HTTPError,
    ValueError,
    TypeError,
    RecursionError,
)  # a reset, or a body not its own
T = TypeVar("T")


class _Gone(Exception):
    """The server or the model is not there: no other report need be sent."""


def connect(config: OllamaConfig) -> Model:
    """Find the model, before any work is done.

    Raises:
        OllamaError: no server, no such model, or no answer in time; says what to do.
    """
    try:
        return asyncio.run(_connect(config))
    except (Fault, _Gone) as fault:
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

    The same text twice is asked twice. `on_outcome` is called in this thread as each arrives.

    Raises:
        OllamaError: the server or the model went away; the rest is not sent.
    """
    return asyncio.run(_ask_all(reports, model, config, target, on_outcome))


def _client(config: OllamaConfig) -> ollama.AsyncClient:
    # No redirects, and no proxy to reach this machine: either would carry reports elsewhere.
    url, loopback = config.server()
    return ollama.AsyncClient(
        url, timeout=config.timeout_s, follow_redirects=False, trust_env=not loopback
    )


async def _connect(config: OllamaConfig) -> Model:
    instructions, prompt_hash = instructions_of(config)
    async with _client(config) as client:
        listed = await _patiently(config, client.list)
        tagged = ":" in config.model.rpartition("/")[2]  # a registry may have a port
        name = config.model if tagged else f"{config.model}:latest"
        same = (one for one in listed.models if (one.model or "").lower() == name.lower())
        found = next(same, None)
        if found is None or not found.digest:
            raise _Gone(_no_model(config))
        if (found.size or 0) < STUB_BYTES and not config.allow_remote:
            raise OllamaError(
                f"model {name!r} has no weights here: it runs on another machine, and reports are "
                "health data. Pass --allow-remote if they may leave this one"
            )
        shown = await _patiently(config, lambda: client.show(config.model))
    said = {name.rpartition(".")[2]: value for name, value in (shown.modelinfo or {}).items()}
    context = said.get("context_length")
    if not isinstance(context, int | float) or not 1 <= context < math.inf:
        context = CONTEXTS[-1]  # it is not known
    return Model(
        name=config.model,
        digest=found.digest,
        context_tokens=int(context),
        instructions=instructions,
        prompt_hash=prompt_hash,
    )


def _no_model(config: OllamaConfig) -> str:
    url, _ = config.server()
    return f"{url} has no model {config.model!r}. Get it with `ollama pull {config.model}`"


async def _patiently(config: OllamaConfig, call: Callable[[], Awaitable[T]]) -> T:
    """Call the server, and again while it is busy. Its messages are dropped: they may quote us."""
    url, _ = config.server()
    status = 0
    for attempt in range(config.busy_retries + 1):
        if attempt:
            await asyncio.sleep(config.backoff_s * 2 ** (attempt - 1))
        try:
            async with asyncio.timeout(config.timeout_s):  # the client's own is for each read
                return await call()
        except ollama.ResponseError as problem:
            status = problem.status_code
            if status == 404:
                raise _Gone(_no_model(config)) from None
            if status not in (429, 503):
                raise Fault(f"{url} answered with status {status}: see the server's log") from None
        except (httpx.TimeoutException, TimeoutError):
            raise Fault(f"{url} gave no answer in {config.timeout_s:g} s (--timeout)") from None
        except ConnectionError:
            raise _Gone(
                f"no Ollama server answers at {url}. Start it with `ollama serve`, name another "
                "with --host"
            ) from None
        except _STRANGE as problem:
            said = f"{url} did not answer as Ollama does ({type(problem).__name__})"
            raise Fault(f"{said}: name its server with --host") from None
    raise Fault(f"{url} is busy ({status}) after {config.busy_retries + 1} tries: try again later")


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
            except Fault as fault:
                outcome = Unanswered.of(report, fault)
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
    text, figures = marked(understand(report.text))
    question = QUESTION.format(tag=report.report_hash[:12], text=text)
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
                format=schema_of(len(figures)),
                think=False,
                options=options,
            ),
        )
        _check_length(response, messages, options["num_ctx"])
        content = response.message.content or response.message.thinking or ""
        try:
            answer = parse_answer(content, response.done_reason)
            return answered(answer, report, model, target)
        except Fault as problem:
            fault = str(problem)
            repair = {"role": "user", "content": REPAIR.format(fault=fault)}
            messages.extend(
                [{"role": "assistant", "content": content[:1000] or "(nothing)"}, repair]
            )
    raise Fault(f"{model.name} gave two answers that cannot be used: {fault}")


def _num_ctx(report: Report, model: Model, config: OllamaConfig) -> int:
    """Context for the instructions, the report with its marks, an answer, and a second try."""
    n_bytes = len((model.instructions + QUESTION + report.text).encode())
    tokens = int(1.2 * n_bytes / CHARACTERS_A_TOKEN) + 2 * ANSWER_TOKENS
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
        raise Fault(f"the report was cut: {read} tokens were read, of {num_ctx} (--num-ctx)")
