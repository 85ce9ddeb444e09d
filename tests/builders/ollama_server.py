"""A scripted HTTP server that speaks Ollama's protocol, for the tests.

The script is a function from a chat request to what the server does: a string or a dictionary is
the message's content, `Reply` says more. Every request is kept.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "llama3.1:70b"
DIGEST = "sha256:" + "ab" * 32
NOW = "2026-11-24T12:00:00.000000Z"


@dataclass
class Reply:
    """One answer: its content, or an error's status, after a while."""

    content: str | dict[str, Any] = ""
    status: int = 200
    done_reason: str = "stop"
    after_s: float = 0.0
    tokens: int | None = None  # prompt_eval_count; default 1.4 a word, -1 leaves it out
    thinking: str | None = None
    body: bytes | None = None  # sent as it is, instead of an answer
    hang_up: bool = False


Script = Callable[[dict[str, Any]], str | dict[str, Any] | Reply]


@dataclass
class OllamaServer:
    """The server's state; `script` may be changed between requests."""

    script: Script
    models: dict[str, str] = field(default_factory=lambda: {MODEL: DIGEST})
    model_bytes: int = 40_000_000_000
    context_length: Any = 131_072
    bodies: dict[str, bytes] = field(default_factory=dict)  # by path: sent instead of an answer
    url: str = ""
    chats: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    busy_tags: int = 0  # answer so many requests of the list with 503
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def shown(chat: dict[str, Any]) -> str:
    """The report inside a chat request's question, without the fence, its figures marked."""
    question = chat["messages"][1]["content"]
    return str(question.split(">\n", 1)[1].rsplit("\n</report", 1)[0])


def text_of(chat: dict[str, Any]) -> str:
    """The report inside a chat request's question."""
    return re.sub(r"\[\d+\] ", "", shown(chat))


def claim(figure: int, **attributes: Any) -> dict[str, Any]:
    """A claim of a marked figure: the whole of the present core, unless said otherwise."""
    plain = {"specimen": "core", "time": "present", "role": "finding", "scope": "whole"}
    return {"figure": figure, **plain, "side": "", "corrects": False, **attributes}


def said(chat: dict[str, Any], *figures: str, **attributes: Any) -> dict[str, Any]:
    """An answer that claims these figures of the report: "40%" where "[3] 40%" stands."""
    found = re.findall(r"\[(\d+)\] (\S+)", shown(chat))
    marks = {words: int(number) for number, words in found}
    return {"claims": [claim(marks[figure], **attributes) for figure in figures]}


class _Http(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    state: OllamaServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""

    def send(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_json(self, value: Any, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), status)

    def do_GET(self) -> None:
        state = self.server.state
        state.paths.append(self.path)
        if self.path in state.bodies:
            self.send(state.bodies[self.path])
        elif self.path != "/api/tags":
            self.send_json({"error": "not found"}, 404)
        elif state.busy_tags:
            state.busy_tags -= 1
            self.send_json({"error": "server busy"}, 503)
        else:
            models = [
                {
                    "name": name,
                    "model": name,
                    "modified_at": NOW,
                    "size": state.model_bytes,
                    "digest": digest,
                    "details": {"family": "llama", "parameter_size": "70.6B"},
                }
                for name, digest in state.models.items()
            ]
            self.send_json({"models": models})

    def do_POST(self) -> None:
        state = self.server.state
        state.paths.append(self.path)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path in state.bodies:
            self.send(state.bodies[self.path])
            return
        if self.path == "/api/show":
            info = {"llama.context_length": state.context_length}
            self.send_json({"details": {}, "model_info": info, "capabilities": ["completion"]})
            return
        with state.lock:
            state.chats.append(request)
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        try:
            reply = state.script(request)
            reply = reply if isinstance(reply, Reply) else Reply(reply)
            time.sleep(reply.after_s)
        finally:
            with state.lock:
                state.at_once -= 1
        if reply.hang_up:
            self.close_connection = True
        elif reply.body is not None:
            self.send(reply.body, reply.status)
        elif reply.status != 200:  # a real server may quote the request in its error
            self.send_json({"error": f"no: {request['messages'][-1]['content']}"}, reply.status)
        else:
            self.send_json(self.answer(request, reply))

    def answer(self, request: dict[str, Any], reply: Reply) -> dict[str, Any]:
        content = reply.content
        words = sum(len(message["content"].split()) for message in request["messages"])
        tokens = int(1.4 * words) if reply.tokens is None else reply.tokens
        message = {
            "role": "assistant",
            "content": content if isinstance(content, str) else json.dumps(content),
        }
        return {
            "model": request["model"],
            "created_at": NOW,
            "message": message | ({"thinking": reply.thinking} if reply.thinking else {}),
            "done": True,
            "done_reason": reply.done_reason,
            "total_duration": 1_000_000,
            "load_duration": 1_000,
            **({} if tokens < 0 else {"prompt_eval_count": tokens}),
            "prompt_eval_duration": 1_000,
            "eval_count": 40,
            "eval_duration": 1_000,
        }


@contextmanager
def serve(script: Script, **state: Any) -> Iterator[OllamaServer]:
    """Serve on a free port of this machine until the block ends."""
    http = _Http(("127.0.0.1", 0), _Handler)
    http.state = OllamaServer(script=script, **state)
    http.state.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield http.state
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
