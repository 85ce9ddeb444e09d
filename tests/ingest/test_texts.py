"""Bytes and spoilt texts: what was written comes back, and what is no text is refused in words."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from featurestore.errors import ReportError
from ingest.texts import BEGINNINGS, cleaned, decode, guessed, is_damaged

TYPED = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff")
PROSE = """core biopsy cellularity of the marrow is normal for this age Zellularität Größe über
Knochen für Fettmark moelle estimée à cellularité prélèvement élevée décalcifié ÉVALUÉE GRÖSSE
CELLULARITÉ richesse œdème façon âgé où naïf forêt Stanze zirka 40 55 14 mm"""
WORDS = PROSE.split()
BETWEEN = """ |, |\u00a0: |\u00a0%| – |–|: | „|“ | «\u00a0|\u00a0» |
| ≥| ±|’|½ |⅔ |☒ |■ | │ | ▸ | → |° | • |µm|…
"""
SIGNS = BETWEEN.split("|")
TEXTS = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SIGNS)), min_size=1).map(
    lambda pairs: "".join(word + sign for word, sign in pairs)
)
UNSEEN = st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u200e\u202a\u2066\u00ad")


def as_windows(data: bytes) -> str:
    """Bytes as programs of Windows take them for letters: the five of none stay what they are."""
    return "".join(bytes([one]).decode("cp1252", "ignore") or chr(one) for one in data)


def refused(data: bytes) -> str:
    with pytest.raises(ReportError) as raised:
        decode(data, "A.txt", ReportError)
    said = str(raised.value)
    assert re.fullmatch(r"A\.txt (?:is|has) [^\n]+, expected plain text in [^\n]+\. Save .+", said)
    return said


@given(text=st.text(TYPED, min_size=1))
def test_utf8_text_is_never_taken_for_something_else(text: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
        assert decode(text.encode(encoding), "x", ReportError) == (text, None)


@given(text=TEXTS, encoding=st.sampled_from(["utf-16-le", "utf-16-be"]))
def test_utf16_needs_no_mark_and_a_half_of_a_letter_is_told(text: str, encoding: str) -> None:
    data = f"Report:\n{text}".encode(encoding)
    assert decode(data, "x", ReportError) == (f"Report:\n{text}", None)
    refused(f"\ufeff{text}".encode(encoding)[:-1])


@given(beginning=st.sampled_from([*BEGINNINGS]), rest=st.binary())
def test_what_begins_as_another_kind_of_file_is_named(beginning: bytes, rest: bytes) -> None:
    assert BEGINNINGS[beginning] in refused(beginning + rest)


PLAIN = st.lists(st.sampled_from([word for word in WORDS if word.isascii()])).map(" ".join)


@given(text=PLAIN, page=st.sampled_from(["cp037", "cp273", "cp500", "cp1140"]))
def test_the_letters_of_a_mainframe_are_no_text(text: str, page: str) -> None:
    refused(f"CORE BIOPSY {text}".encode(page, "ignore"))


@given(seed=st.integers(0, 2**32 - 1))
def test_bytes_by_chance_are_no_text(seed: int) -> None:
    refused(b"\0\xff" + random.Random(seed).randbytes(2_000))


@given(
    rows=st.lists(st.tuples(st.sampled_from(WORDS), st.booleans()), min_size=3, max_size=30),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_line_of_another_encoding_than_most_is_read_by_itself_and_counted(
    rows: list[tuple[str, bool]], end: str
) -> None:
    lines = [f"A{n},Größe: {word}" for n, (word, _) in enumerate(rows)]
    n = sum(odd for _, odd in rows)
    assume(2 * n < len(rows))
    coded = zip(lines, rows, strict=True)
    data = end.encode().join(line.encode("cp1252" if odd else "utf-8") for line, (_, odd) in coded)
    text, guess = decode(data, "x", ReportError)
    assert text.split("\n") == lines
    assert guess == (("Windows-1252", n) if n else None)
    told = guessed([guess, guess])
    assert [f": {2 * n} lines" in one for one in told] == [True] * (n > 0)


@pytest.mark.parametrize("as_text", [as_windows, lambda data: data.decode("latin-1")])
@given(text=TEXTS, times=st.integers(1, 3))
def test_a_text_coded_several_times_comes_back(
    as_text: Callable[[bytes], str], text: str, times: int
) -> None:
    spoilt = text
    for _ in range(times):
        spoilt = as_text(spoilt.encode())
    assert cleaned(spoilt) == text
    half = len(text) // 2
    if text[half:].isascii() or not text[:half].endswith("\n"):
        return
    assert cleaned(text[:half] + as_text(text[half:].encode())) == text


@given(text=TEXTS)
def test_what_is_as_it_was_written_stays_so(text: str) -> None:
    for one in (text, text.upper()):
        assert cleaned(one) == one
        assert not is_damaged(one)
    assert cleaned(unicodedata.normalize("NFD", text)) == text


@given(text=TEXTS, places=st.lists(st.tuples(st.integers(0, 999), UNSEEN), max_size=9))
def test_what_nobody_sees_inside_of_words_is_away(text: str, places: list[tuple[int, str]]) -> None:
    spoilt = text
    for at, char in places:
        at %= len(spoilt)
        if spoilt[at - 1 : at].isalpha() and spoilt[at].isalpha():
            spoilt = spoilt[:at] + char + spoilt[at:]
    assert cleaned(spoilt) == text


@given(text=st.text() | st.binary().map(as_windows))
def test_a_cleaned_text_is_clean(text: str) -> None:
    once = cleaned(text)
    assert cleaned(once) == once
    assert is_damaged(once) == ("\ufffd" in once)
