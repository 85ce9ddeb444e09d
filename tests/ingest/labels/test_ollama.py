"""The real Ollama client, over HTTP, against a scripted server: every way an answer can fail."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest
from builders.ollama_asked import GOOD, REPORT, TEXT, asked, config
from builders.ollama_server import DIGEST, Reply, claim, serve, shown, text_of

from featurestore.errors import OllamaError
from featurestore.types import Report, Target
from ingest.labels.answers import Answered, Outcome, Unanswered
from ingest.labels.ollama import ask, connect
from ingest.labels.prompt import is_supported, schema_of
from ingest.labels.rules import understand


def failure(script: Any, **options: Any) -> str:
    """The reason for which the report failed beside a good one, which must not suffer."""
    other = Report(case_id="C-2", text="good " + TEXT)

    def both(chat: dict[str, Any]) -> Any:
        return GOOD if text_of(chat).startswith("good") else script(chat)

    first, second = asked(both, [REPORT, other], **options)
    assert isinstance(first, Unanswered)
    assert isinstance(second, Answered)
    assert (first.case_id, first.report_hash) == ("C-1", REPORT.report_hash)
    assert "SECRET" not in first.reason
    return first.reason


def test_a_report_is_read_and_the_value_is_computed_here() -> None:
    (outcome,) = asked(lambda chat: GOOD)
    assert isinstance(outcome, Answered)
    reading = outcome.reading
    assert (reading.value, reading.low, reading.high) == (55, 50, 60)
    assert reading.evidence == "The marrow is 50% to 60% cellular, SECRET-NAME of Ward 7."
    assert reading.rule == "llama3.1:70b"
    assert outcome.report_hash == REPORT.report_hash


def test_the_request_is_deterministic_constrained_and_fences_the_report() -> None:
    with serve(lambda chat: GOOD) as server:
        how = config(server.url, seed=3)
        ask([REPORT], connect(how), how, target=Target())
    (chat,) = server.chats
    assert chat["options"] == {"temperature": 0, "seed": 3, "num_ctx": 4096, "num_predict": 640}
    assert chat["format"] == schema_of(3)
    claims = chat["format"]["properties"]["claims"]
    figure = chat["format"]["$defs"]["FigureClaim"]["properties"]["figure"]
    assert (claims["maxItems"], figure["minimum"], figure["maximum"]) == (3, 1, 3)
    assert schema_of(40)["properties"]["claims"]["maxItems"] == 12
    assert chat["think"] is False
    assert chat["stream"] is False
    system, user = chat["messages"]
    tag = REPORT.report_hash[:12]
    assert f"<report {tag}>\n{shown(chat)}\n</report {tag}>" in user["content"]
    assert shown(chat) == TEXT.replace("50%", "[1] 50%").replace("7.", "[2] 7.").replace(
        "3%", "[3] 3%"
    )
    assert "data" in system["content"]
    assert "SECRET" not in system["content"]


CLAIMED = """CORE BIOPSY. The right core is 20-30% cellular, the left <5%; overall 15%.
Previously 90%. Clot: 70% cellular. Particles 80% cellular. Expected cellularity 40-60%."""


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ([claim(1)], (25, 20, 30)),
        ([claim(2)], (2.5, 0, 5)),  # a bound keeps its interval
        ([claim(1, side="right"), claim(2, side="left")], (13.75, 0, 30)),
        ([claim(1, scope="part"), claim(2, scope="part"), claim(3, scope="overall")], (15,) * 3),
        ([claim(3), claim(4, time="earlier"), claim(7, role="norm")], (15, 15, 15)),
        ([claim(3), claim(5, specimen="clot"), claim(6, specimen="aspirate")], (15, 15, 15)),
        ([claim(4, time="earlier")], (None, None, None)),
        ([claim(5, specimen="clot")], (None, None, None)),
        ([claim(7, role="norm")], (None, None, None)),
        ([claim(1, scope="set aside")], (None, None, None)),
        ([claim(3), claim(4)], (None, None, None)),  # they disagree
        ([claim(3), claim(1, corrects=True)], (25, 20, 30)),
        ([], (None, None, None)),
    ],
)
def test_claims_become_a_reading(
    claims: list[dict[str, Any]], expected: tuple[float | None, ...]
) -> None:
    (outcome,) = asked(lambda chat: {"claims": claims}, [Report(case_id="C-1", text=CLAIMED)])
    assert isinstance(outcome, Answered)
    assert (outcome.reading.value, outcome.reading.low, outcome.reading.high) == expected


@pytest.mark.parametrize(
    ("claims", "supported"),
    [
        ([claim(1, side="right"), claim(2, side="left")], True),
        ([claim(3, scope="overall")], True),
        ([claim(4)], False),  # the earlier biopsy
        ([claim(5)], False),  # the clot
        ([claim(6)], False),  # the aspirate
        ([claim(7)], False),  # the norm
    ],
)
def test_a_figure_without_a_claim_of_the_core_in_its_clause_is_unsupported(
    claims: list[dict[str, Any]], supported: bool
) -> None:
    (outcome,) = asked(lambda chat: {"claims": claims}, [Report(case_id="C-1", text=CLAIMED)])
    assert isinstance(outcome, Answered)
    assert outcome.reading.found
    assert len(outcome.reading.evidence or "") <= 200
    assert is_supported(understand(CLAIMED), outcome.reading) is supported


def test_a_long_report_gets_a_larger_context() -> None:
    long = Report(case_id="C-9", text=TEXT + " filler" * 4_000)
    with serve(lambda chat: GOOD) as server:
        how = config(server.url)
        outcomes = ask([long, REPORT], connect(how), how, target=Target())
    assert [outcome.report_hash for outcome in outcomes] == [long.report_hash, REPORT.report_hash]
    assert sorted(chat["options"]["num_ctx"] for chat in server.chats) == [4096, 16384]


@pytest.mark.parametrize(
    "wrapping",
    ["<think>\nIs it {{60}}? No.\n</think>\n{}", "Here is the answer:\n```json\n{}\n```", "  {}"],
)
def test_text_around_the_json_is_skipped(wrapping: str) -> None:
    answer = wrapping.replace("{}", json.dumps(GOOD)).replace("{{60}}", '{"value": 60}')
    with serve(lambda chat: answer) as server:
        how = config(server.url)
        (outcome,) = ask([REPORT], connect(how), how, target=Target())
    assert isinstance(outcome, Answered)
    assert outcome.reading.value == 55
    assert len(server.chats) == 1


BAD_ANSWERS = {
    "cut": Reply('{"claims": [{"SECRET-NAME', done_reason="length"),
    "no json": "The cellularity of SECRET-NAME is 50%.",
    "empty": "",
    "text for a number": {"claims": [claim(1) | {"figure": "SECRET-NAME"}]},
    "unknown specimen": {"claims": [claim(1, specimen="SECRET-NAME")]},
    "missing field": {"claims": [{"figure": 1, "SECRET-NAME": 1}]},
    "a list": [1, 2],
    "a figure that is not there": {"claims": [claim(4)]},
    "too many": {"claims": [claim(1)] * 13},
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_repaired_once(bad: Any) -> None:
    with serve(lambda chat: bad if len(chat["messages"]) == 2 else GOOD) as server:
        how = config(server.url)
        (outcome,) = ask([REPORT], connect(how), how, target=Target())
    assert isinstance(outcome, Answered)
    assert outcome.reading.value == 55
    first, second = server.chats
    assert [message["role"] for message in second["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    assert second["messages"][:2] == first["messages"]
    assert "cannot be used" in second["messages"][3]["content"]


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_two_bad_answers_are_a_failure_of_that_report(bad: Any) -> None:
    assert "two answers that cannot be used" in failure(lambda chat: bad)


def test_a_cut_prompt_is_a_failure() -> None:
    assert "was cut" in failure(lambda chat: Reply(GOOD, tokens=4096))  # filled its context
    tall = Report(case_id="C-1", text="word " * 9_000)
    with serve(lambda chat: Reply(GOOD, tokens=2048)) as server:  # read a part
        (outcome,) = ask([tall], connect(config(server.url)), config(server.url), target=Target())
    assert isinstance(outcome, Unanswered)
    with serve(lambda chat: Reply(GOOD, tokens=8192), context_length=8192) as server:
        how = config(server.url)
        (outcome,) = ask([tall], connect(how), how, target=Target())
    assert server.chats[0]["options"]["num_ctx"] == 8192  # never more than the model can read
    assert isinstance(outcome, Unanswered)
    assert "--num-ctx" in outcome.reason


@pytest.mark.parametrize("tokens", [-1, 12, 0])
def test_no_count_or_one_of_a_cached_prompt_is_no_cut(tokens: int) -> None:
    (outcome,) = asked(lambda chat: Reply(GOOD, tokens=tokens))
    assert isinstance(outcome, Answered)
    assert outcome.reading.value == 55


def test_an_answer_in_the_thinking_is_read_where_the_content_is_empty() -> None:
    (outcome,) = asked(lambda chat: Reply("", thinking=f"Figure 1. {json.dumps(GOOD)}"))
    assert isinstance(outcome, Answered)
    assert outcome.reading.value == 55
    assert "no JSON object" in failure(lambda chat: Reply("", thinking="It is 60%."))


def test_a_busy_server_is_tried_again() -> None:
    left = iter([Reply(status=503), Reply(status=503)])
    (outcome,) = asked(lambda chat: next(left, GOOD))
    assert isinstance(outcome, Answered)


def test_a_server_that_stays_busy_is_a_failure_of_that_report() -> None:
    for status in (429, 503):
        reason = failure(lambda chat, status=status: Reply(status=status), busy_retries=2)
        assert f"busy ({status}) after 3 tries" in reason


def test_a_busy_list_is_tried_again_then_an_error() -> None:
    with serve(lambda chat: GOOD, busy_tags=2) as server:
        assert connect(config(server.url)).digest == DIGEST
        server.busy_tags = 99
        with pytest.raises(OllamaError, match=r"busy .*or pass --parser rules$"):
            connect(config(server.url, busy_retries=1))


def test_other_failures_stay_with_their_report() -> None:
    assert "status 500" in failure(lambda chat: Reply(status=500))
    assert "in 2 s (--timeout)" in failure(lambda chat: Reply(GOOD, after_s=4), timeout_s=2)
    assert "did not answer as Ollama" in failure(lambda chat: Reply(body=b"<html>SECRET"))
    assert "did not answer as Ollama" in failure(lambda chat: Reply(body=b'{"message": "SECRET"}'))
    assert "did not answer as Ollama" in failure(lambda chat: Reply(hang_up=True))


NOT_OLLAMAS = [b"[]", b"3", b'"SECRET"', b"null", b"[" * 100_000, b"\xff\xfe\x00", b"{}"]


@pytest.mark.parametrize("body", NOT_OLLAMAS, ids=repr)
def test_json_of_another_shape_is_a_failure_and_no_crash(body: bytes) -> None:
    assert "did not answer as Ollama" in failure(lambda chat: Reply(body=body))
    for path in ("/api/tags", "/api/show"):
        with (
            serve(lambda chat: GOOD, bodies={path: body}) as server,
            pytest.raises(OllamaError, match="did not answer as Ollama"),
        ):
            connect(config(server.url))


@pytest.mark.parametrize("length", ["many", None, [1], 0, -1, math.nan, math.inf])
def test_a_context_that_the_server_does_not_know_is_the_largest(length: Any) -> None:
    with serve(lambda chat: GOOD, context_length=length) as server:
        assert connect(config(server.url)).context_tokens == 131_072


def test_a_model_that_goes_away_stops_the_rest_without_sending_them() -> None:
    reports = [Report(case_id=f"C-{n}", text=f"{n}: {TEXT}") for n in range(6)]
    with serve(lambda chat: Reply(status=404)) as server:
        how = config(server.url, concurrency=1)
        with pytest.raises(OllamaError, match="ollama pull"):
            ask(reports, connect(how), how, target=Target())
    assert len(server.chats) == 1
    answers = iter([GOOD, GOOD])
    seen: list[Outcome] = []
    with serve(lambda chat: next(answers, Reply(status=404))) as server:
        how = config(server.url, concurrency=1)
        with pytest.raises(OllamaError, match="ollama pull"):
            ask(reports, connect(how), how, target=Target(), on_outcome=seen.append)
    assert [isinstance(outcome, Answered) for outcome in seen] == [True, True]
    assert len(server.chats) == 3


def test_the_server_never_sees_more_requests_at_once_than_asked_for() -> None:
    reports = [Report(case_id=f"C-{n}", text=f"{n}: {TEXT}") for n in range(24)]
    seen: list[Outcome] = []
    with serve(lambda chat: Reply(GOOD, after_s=0.03)) as server:
        how = config(server.url, concurrency=3)
        outcomes = ask(reports, connect(how), how, target=Target(), on_outcome=seen.append)
    assert server.most_at_once == 3
    assert len(seen) == len(outcomes) == 24
    assert [outcome.report_hash for outcome in outcomes] == [r.report_hash for r in reports]


def test_what_was_answered_is_handed_over_before_the_batch_ends() -> None:
    reports = [Report(case_id=f"C-{n}", text=f"{n}: {TEXT}") for n in range(5)]

    def stop(outcome: Outcome) -> None:
        raise KeyError("the disk is full")

    with serve(lambda chat: GOOD) as server:
        how = config(server.url, concurrency=1)
        with pytest.raises(KeyError, match="disk"):
            ask(reports, connect(how), how, target=Target(), on_outcome=stop)
    assert len(server.chats) <= 2


def test_report_text_is_never_logged_or_raised(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripts: list[Any] = [*BAD_ANSWERS.values(), GOOD, Reply(status=500), Reply(body=TEXT.encode())]
    for script in scripts:
        for outcome in asked(lambda chat, script=script: script):
            assert "SECRET" not in getattr(outcome, "reason", "")
    with pytest.raises(OllamaError) as problem:
        asked(lambda chat: Reply(status=404))
    raised: BaseException | None = problem.value
    while raised is not None:
        assert "SECRET" not in repr(raised)
        raised = raised.__cause__ or (None if raised.__suppress_context__ else raised.__context__)
    assert caplog.records  # the client's libraries do log
    assert "SECRET" not in caplog.text
