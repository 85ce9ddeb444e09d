"""Any text at all, and whole development reports: nothing raises, in time, and few are wrong."""

from __future__ import annotations

import gc
import itertools
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


@given(cut=st.integers(0, 99), article=st.sampled_from(["a", "an", "as", "the", "eine", "une"]))
def test_a_text_may_end_anywhere(cut: int, article: str) -> None:
    text = f"Core biopsy: the marrow is 40% cellular, {article} blastoid in 20% of {article} foci."
    parse(text[:cut])
    parse(f"{text[: min(cut, 41)]} {article} foo")


# what is read by more than one line: headings side by side, a key alone, other days
BLOCKS = [
    "CORE BIOPSY      ASPIRATE SMEAR\n",
    "CORE BIOPSY      CLOT\nLength  1 cm     Iron   2+\nCells  30%      Blasts  2%\n\n",
    "Cellularity:  \n \n",
    "Day 28 core biopsy. Day 0: 80% cellular. ",
    "[x] clot [ ] core\n",
    "> cellularity 40%\n",
]
LEADS = ["", "<report>", "<html><p>", "{\\rtf1 ", "MSH|^~\\&|", '{"core": "', "rt: "]


def _seconds(text: str) -> float:
    gc.disable()  # it looks at all that the tests before left
    start = time.process_time()
    parse(text)
    took = time.process_time() - start
    gc.enable()
    return took


@pytest.mark.parametrize(
    ("piece", "lead"), [*itertools.product(PIECES, LEADS), *((block, "") for block in BLOCKS)]
)
def test_anything_is_read_in_linear_time(piece: str, lead: str) -> None:
    """Four times the text takes some four times as long on any machine; 16 would be quadratic.

    The least of a few rounds counts: others may work beside this one.
    """
    short, long = (lead + (piece * n)[:n] for n in (15_000, 60_000))
    took = [(_seconds(short + "\n" * n), _seconds(long + "\n" * n)) for n in range(3)]
    while len(took) < 12 and not _is_linear(took):
        took.append((_seconds(short + "\n" * len(took)), _seconds(long + "\n" * len(took))))
    assert _is_linear(took), took


def _is_linear(took: list[tuple[float, float]]) -> bool:
    short, long = (min(times) for times in zip(*took, strict=True))
    return long < 9 * short


JUNK = st.lists(st.sampled_from([*PIECES, "core ", "a. ", "{", "<p>"])).map("".join)


@given(text=st.text(max_size=200) | JUNK)
@settings(max_examples=200, deadline=None)
def test_no_text_makes_it_raise(text: str) -> None:
    reading = parse(text)
    assert reading.value is None or 0 <= (reading.low or 0) <= reading.value <= 100
