"""An answer of a language model: what is taken of it, and its key."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels.answers import Fault, answer_key, instructions_of, parse_answer
from ingest.labels.config import OllamaConfig

NONE = json.dumps({"claims": []})


@given(before=st.text("ab{ \n", max_size=30), after=st.text("ab \n", max_size=30))
def test_text_around_the_last_object_is_skipped(before: str, after: str) -> None:
    for said in (f"{before}\n{NONE}{after}", f'<think>{{"claims": 3}}</think>{before}{NONE}'):
        assert parse_answer(said, "stop").claims == []


@pytest.mark.parametrize(
    ("content", "reason", "why"),
    [
        (NONE, "length", "cut off"),
        ("there is none", "stop", "no JSON object"),
        ('{"claims": 3}', "stop", "claims: "),
        ("{}", None, "claims: "),
    ],
)
def test_what_is_no_answer_is_a_fault_that_quotes_nothing(
    content: str, reason: str | None, why: str
) -> None:
    with pytest.raises(Fault, match=why) as fault:
        parse_answer(content.replace("3", '"Mrs Smith"'), reason)
    assert "Smith" not in str(fault.value)


def test_what_shapes_an_answer_shapes_its_key() -> None:
    config = OllamaConfig()
    hashes = {
        instructions_of(replace(config, **change))[1]
        for change in ({}, {"seed": 1}, {"temperature": 0.5})
    }
    assert len(hashes) == 3
    assert instructions_of(replace(config, host="other", concurrency=1))[1] in hashes
    assert len({answer_key(*ids) for ids in ("abc", "acb", "bac")}) == 3
