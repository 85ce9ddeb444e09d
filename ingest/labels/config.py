"""How reports are read: by whom, and where the language model answers."""

from __future__ import annotations

import ipaddress
import os
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from featurestore.errors import ConfigError
from featurestore.fields import check, setting
from featurestore.types import TargetKind
from ingest.config import TableConfig

Parser = Literal["ollama", "rules", "both"]
LEAST_CONTEXT = 2_048  # tokens: instructions and answer alone take most of it


@dataclass(frozen=True, kw_only=True)
class ParserConfig:
    """Who reads the reports."""

    parser: Parser = setting("ollama", "A language model reads the reports, our rules, or both.")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class LabelConfig(ParserConfig):
    """What is labelled, who reads the reports, and what is kept of them."""

    target: str = setting("cellularity", "What is labelled.")
    kind: TargetKind | None = setting(None, "Of a new target's values.", shown="fraction")
    low: float | None = setting(None, "Least of a new target.", shown="0, but of a continuous one")
    high: float | None = setting(None, "Largest of a new target.", shown="100, of a binary one 1")
    keep_evidence: bool = setting(True, "Keep the quoted piece of the report.", option="evidence")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.target.strip():
            raise ConfigError("target must be what is labelled, got a blank")


@dataclass(frozen=True, kw_only=True)
class ValueConfig(TableConfig):
    """How a table of values that people gave is read."""

    scale: float | None = setting(None, "Factor of the values: 100 for shares of 1.", over=0)


@dataclass(frozen=True, kw_only=True)
class OllamaConfig:
    """Which model reads, where, and how patiently."""

    model: str = setting("llama3.1:70b", "Ollama model.")
    host: str | None = setting(None, "Ollama server; also OLLAMA_HOST.", shown="127.0.0.1:11434")
    allow_remote: bool = setting(False, "Let reports leave this machine.")  # they are health data
    prompt_file: Path | None = setting(None, "File with own instructions.", option="prompt")
    timeout_s: float = setting(600.0, "Seconds for one answer.", option="timeout", over=0)
    concurrency: int = setting(4, "Reports asked at once.", at_least=1)
    num_ctx: int | None = setting(
        None, "Context in tokens.", shown="by report", at_least=LEAST_CONTEXT
    )
    record: Path | None = setting(None, "New file for answers; it holds no report text.")
    replay: Path | None = setting(None, "File of such answers: no server is asked.")
    seed: int = setting(0, hidden=True)
    temperature: float = setting(0.0, hidden=True)
    busy_retries: int = setting(6, hidden=True)
    backoff_s: float = setting(1.0, hidden=True)  # before the first retry; doubles each time

    def __post_init__(self) -> None:
        check(self)
        if not self.model.strip():
            raise ConfigError("model must be a model's name, got a blank")
        if self.record and self.replay:
            raise ConfigError("--record writes answers, --replay reads them: pass one of the two")

    def server(self) -> tuple[str, bool]:
        """URL of the server that is asked, and whether it is this machine.

        Raises:
            ConfigError: the host is none, or reports would leave this machine without leave.
        """
        url, loopback = server_url(self.host)
        cloud = self.model.endswith(("-cloud", ":cloud"))  # a local server passes these on
        if (cloud or not loopback) and not self.allow_remote:
            what = f"model {self.model!r} runs on" if cloud else f"{url} is"
            raise ConfigError(
                f"{what} another machine, and reports are health data. Use a server and a model "
                "on this machine, or pass --allow-remote if the reports may leave it"
            )
        return url, loopback

    def own_instructions(self) -> str | None:
        """The text of the prompt file; None without one."""
        if self.prompt_file is None:
            return None
        from ingest.table import read_text

        text, _ = read_text(self.prompt_file, ConfigError, "Expected a file with a prompt.")
        if not text.strip():
            raise ConfigError(f"prompt {self.prompt_file} is empty. Write what to read, and how")
        return text


def server_url(host: str | None) -> tuple[str, bool]:
    """Complete a host as the Ollama client does; returns its URL and whether it is this machine.

    Raises:
        ConfigError: the host is not NAME, NAME:PORT or an http(s) URL of these.
    """
    given = host or os.environ.get("OLLAMA_HOST") or "127.0.0.1"
    scheme, _, rest = given.rpartition("://")
    try:
        split = urllib.parse.urlsplit(f"{scheme or 'http'}://{rest}")
        name = split.hostname or "127.0.0.1"
        port = split.port or {"http": 80, "https": 443}.get(scheme, 11434)
    except ValueError:
        name = ""
    if not name or scheme not in ("", "http", "https") or set(rest) & set("@?#\\ "):
        raise ConfigError(f"host {given!r} is not NAME, NAME:PORT or http://NAME:PORT")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        loopback = name == "localhost"
    else:
        loopback = address.is_loopback or address.is_unspecified
        name = f"[{name}]" if address.version == 6 else name
    return f"{split.scheme}://{name}:{port}{split.path.rstrip('/')}", loopback
