"""Any text at all, and whole development reports: nothing raises, in time, and few are wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.labels.rules import parse
from ingest.labels.scores import evaluate


def _gold(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(("name", "right", "wrong"), [("dev1", 0.97, 1), ("dev2", 0.88, 3)])
def test_development_reports(shared: Path, name: str, right: float, wrong: int) -> None:
    found = evaluate(_gold(shared / "labels" / f"{name}.jsonl"), parse)
    assert found.accuracy is not None
    assert found.accuracy >= right, [error["id"] for error in found.errors]
    assert found.wrong <= wrong, [error for error in found.errors if error["got"] is not None]


PIECES = ["cellular ", "40%", "%", "(", ")", "\n", " ", "|", "\t", "1", "cellularity of ", "- "]


LEADS = ["", "<report>", "<html><p>", "{\\rtf1 ", "MSH|^~\\&|", '{"core": "', "rt: "]


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("piece", PIECES)
def test_a_megabyte_of_anything_is_read_in_linear_time(piece: str, lead: str) -> None:
    """Ten seconds a megabyte; a sixteenth of one is read here, in every layout."""
    start = time.process_time()
    parse(lead + (piece * (62_500 // len(piece) + 1))[:62_500])
    assert time.process_time() - start < 10 / 16


JUNK = st.lists(st.sampled_from([*PIECES, "core ", "a. ", "{", "<p>"])).map("".join)


@given(text=st.text(max_size=200) | JUNK)
@settings(max_examples=200, deadline=None)
def test_no_text_makes_it_raise(text: str) -> None:
    reading = parse(text)
    assert reading.value is None or 0 <= (reading.low or 0) <= reading.value <= 100


def test_reports_are_read_fast(shared: Path) -> None:
    """Over 1,500 a second on a quiet core; a fifth of that is asked here, for busy machines."""
    texts = [str(row["text"]) for row in _gold(shared / "labels" / "dev1.jsonl")]
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            parse(text)
        best = max(best, len(texts) / (time.process_time() - start))
    assert best > 300
