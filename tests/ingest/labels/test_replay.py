"""A model's answers in a file: recorded while it is asked, scored without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from builders.ollama_server import MODEL, Reply, claim, said, serve, text_of
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import main
from featurestore.errors import ConfigError, OllamaError
from featurestore.types import Target
from ingest.labels.config import OllamaConfig
from ingest.labels.labels import make_labels
from ingest.labels.scores import Evaluation, evaluate

TEXTS = {
    "good": "good SECRET core biopsy: the marrow is 40% cellular.",
    "wrong": "wrong SECRET core biopsy: the marrow is 40% cellular. Blasts 90% of cells.",
    "null": "null SECRET core biopsy. Blasts 3%.",
    "failed": "failed SECRET core biopsy: the marrow is 40% cellular.",
}
GOLD = [{"id": id, "text": text, "value": 40} for id, text in TEXTS.items()]


def script(chat: dict[str, Any]) -> Any:
    """Quotes the report where it can: in the text around the JSON, and in a field of its own."""
    text = text_of(chat)
    if text.startswith("failed"):
        return Reply(status=500)
    figures = {"good": ["40%"], "wrong": ["90%"], "null": []}[text.split()[0]]
    return f"{text} {json.dumps(said(chat, *figures) | {'quote': text})}"


def score(file: Path, gold: list[dict[str, Any]] = GOLD, **options: Any) -> Evaluation:
    """Without a server: nothing listens at that port."""
    config = OllamaConfig(host="127.0.0.1:9", replay=file, **options)
    return evaluate(gold, "ollama", ollama_config=config)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Evaluation]:
    """A file of four answers, and what the model that gave them scored."""
    file = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    with serve(script) as server:
        config = OllamaConfig(host=server.url, record=file)
        asked = evaluate(GOLD, "ollama", ollama_config=config)
    return file, asked


def test_a_replay_scores_as_the_model_did(recorded: tuple[Path, Evaluation]) -> None:
    file, asked = recorded
    assert (asked.n, asked.accuracy, asked.failed) == (4, 0.25, 1)
    assert score(file) == asked
    assert "SECRET" not in file.read_text()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert {line["model"] for line in lines} == {MODEL}
    assert [claim(1)] in [line.get("answer", {}).get("claims") for line in lines]
    both = OllamaConfig(replay=file)
    assert evaluate(GOLD, "both", ollama_config=both).n == 4


def test_the_command_leaves_with_3_where_a_report_failed(
    recorded: tuple[Path, Evaluation], tmp_path: Path
) -> None:
    gold = tmp_path / "gold.jsonl"
    for ids, code in ((["good", "failed"], 3), (["failed"], 3), (["good", "wrong"], 0)):
        rows = [row for row in GOLD if row["id"] in ids]
        gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
        given = ["evaluate-labels", str(gold), "--parser", "ollama", "--replay", str(recorded[0])]
        done = CliRunner().invoke(main, given)
        assert done.exit_code == code, done.output
        assert ("reports that failed" in done.output) == (code == 3)


def test_answers_are_not_written_over_those_of_another_call(
    recorded: tuple[Path, Evaluation], tmp_path: Path
) -> None:
    before = recorded[0].read_text()
    with serve(script) as server:
        with pytest.raises(OllamaError, match="exists: name a new file"):
            evaluate(
                GOLD, "ollama", ollama_config=OllamaConfig(host=server.url, record=recorded[0])
            )
        nowhere = OllamaConfig(host=server.url, record=recorded[0] / "no" / "file")
        with pytest.raises(OllamaError, match="cannot be written"):
            evaluate(GOLD, "ollama", ollama_config=nowhere)
        assert not server.chats
    assert recorded[0].read_text() == before


def changed(recorded: tuple[Path, Evaluation], file: Path, **values: Any) -> Path:
    """The file, with values of the first answer that has a claim changed, as its first line."""
    lines = recorded[0].read_text().splitlines()  # in the order in which the server gave them
    first, *rest = sorted(lines, key=lambda line: '"figure"' not in line)
    file.write_text("\n".join([json.dumps(json.loads(first) | values), *rest]))
    return file


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"report_hash": "0" * 32}, "has no answer to this report"),
        ({"prompt_hash": "0" * 32}, "has no answer to this report (1 lines are of another prompt)"),
        ({"model": None}, "no answer to this report (1 lines are no answers, the first is line 1)"),
        ({"marks": "0" * 16}, "figures as another version found them"),
        ({"answer": {"claims": [claim(99)]}}, "the report has figures 1 to"),
        ({"answer": {"claims": "all"}}, "claims: "),
        ({"answer": None}, "no JSON object"),
        ({"answer": {"claims": [claim(1, specimen="SECRET")]}}, "claims: "),
    ],
)
def test_an_answer_that_is_missing_or_no_use_is_a_failure_of_its_report(
    values: dict[str, Any], reason: str, recorded: tuple[Path, Evaluation], tmp_path: Path
) -> None:
    found = score(changed(recorded, tmp_path / "answers.jsonl", **values))
    reasons = [error["reason"] for error in found.errors if error["reason"]]
    assert any(reason in one for one in reasons)
    assert not any("SECRET" in one for one in reasons)
    assert f"reports that failed: {found.failed}; the first: " in found.text()


def test_a_file_that_cannot_be_scored_is_refused_in_one_sentence(
    recorded: tuple[Path, Evaluation], tmp_path: Path
) -> None:
    file = tmp_path / "answers.jsonl"
    for strange in ("", "no json\n\x00\ufffd", '{"a": 1}\n[]\n3', '{"model": "\\ud800"}'):
        file.write_text(strange)
        with pytest.raises(OllamaError, match="holds no answer of a model: expected JSON lines"):
            score(file)
    with pytest.raises(OllamaError, match="holds answers of 2 models"):
        score(changed(recorded, file, model="another:8b"))
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Read it well.")
    with pytest.raises(OllamaError, match="were given to the prompt"):
        score(recorded[0], prompt_file=prompt)
    with pytest.raises(ConfigError, match="one of the two"):
        OllamaConfig(record=file, replay=file)
    with pytest.raises(ConfigError, match="the rules ask no model"):
        make_labels([], target=Target(), ollama_config=OllamaConfig(replay=file))


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(0, 2_000), noise=st.binary(max_size=40))
def test_a_damaged_file_never_gives_another_value(
    cut: int, noise: bytes, recorded: tuple[Path, Evaluation]
) -> None:
    whole = recorded[0].read_bytes()
    file = recorded[0].with_name("damaged.jsonl")
    file.write_bytes(whole[:cut] + noise + whole[cut:])
    try:
        found = score(file)
    except OllamaError:
        return
    assert found.wrong == recorded[1].wrong == 0
    assert found.n == 4


def test_the_rules_ask_no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    gold = [{"id": "1", "text": "Core biopsy: the marrow is 40% cellular.", "value": 40}]
    for host in ("gpu.example.org", "a b"):
        monkeypatch.setenv("OLLAMA_HOST", host)
        assert evaluate(gold, "rules", ollama_config=OllamaConfig()).accuracy == 1
        with pytest.raises(ConfigError):
            evaluate(gold, "ollama", ollama_config=OllamaConfig())
