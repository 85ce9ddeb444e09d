"""A report, an answer about it, and what the client makes of a scripted server."""

from __future__ import annotations

from typing import Any

from builders.ollama_server import claim, serve

from featurestore.types import Report, Target
from ingest.labels.answers import Outcome
from ingest.labels.config import OllamaConfig
from ingest.labels.ollama import ask, connect

TEXT = "CORE BIOPSY\nThe marrow is 50% to 60% cellular, SECRET-NAME of Ward 7.\nBlasts 3%."
REPORT = Report(case_id="C-1", text=TEXT)
GOOD = {"claims": [claim(1)]}


def config(url: str, **options: Any) -> OllamaConfig:
    return OllamaConfig(host=url, **{"backoff_s": 0.01, "timeout_s": 10, **options})


def asked(script: Any, reports: list[Report] | None = None, **options: Any) -> list[Outcome]:
    with serve(script) as server:
        how = config(server.url, **options)
        return ask(reports or [REPORT], connect(how), how, target=Target())
