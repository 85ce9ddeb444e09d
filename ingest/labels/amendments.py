"""What an addendum adds: a figure that replaces the old one, another's reading, another sample."""

from __future__ import annotations

import re
from typing import Literal

from ingest.labels.languages import words_of
from ingest.labels.tokens import Sentence

_THEIRS = re.compile(
    r"\b(?:consult|second opinion|outside|external|expert|refer(?:ence|ral) |central (?:path|lab"
    r"|rev|read)|zweitmeinung|konsil|referenz|expertise|relecture|avis\b)"
)
# "a second biopsy was taken", "the repeat trephine", but not "additional levels"
NEW_SAMPLE = re.compile(
    r"\b(?:second|third|repeat(?:ed)?|subsequent|new|follow-?up|later|another|additional|further|neuen?"
    r"|zweite|weitere|nouvelle|autre|deuxième)[ -](?:\w+ ){0,2}(?:biops|cores?\b|treph|specimen"
    r"|sample|procedure|stanz|carotte|ponction)|\bre-?biops"
)
_REVISES = re.compile(
    r"\b(?:revis|correct|amend|wrong|error|instead|should|chang|supersed|replac|we agree|adjust)"
)
_READ = words_of("read be lauten heißen lire")


def may_be_anothers(heading: str, said: str) -> Literal["", "theirs", "unclear"]:
    """Whether an addendum with a heading tells another's reading, or may; none where it revises.

    `said` is its paragraph as far as the figure's sentence.
    """
    if _REVISES.search(said):
        return ""
    if _THEIRS.search(heading):
        return "theirs"
    return "unclear" if _THEIRS.search(said) or NEW_SAMPLE.search(f"{heading} {said}") else ""


def unsigned_as_signed(sentence: Sentence, known: set[tuple[float, ...]]) -> str:
    """A correction's classes, its figures without a sign as figures: "for 70 read 7"."""
    s = sentence.classes
    if "F" in s:
        return s
    old = any(figure.parts in known for figure in sentence.figures.values())
    told = old or "E" in s or "c" in s
    read = any(sentence.words[at - 1] in _READ for at in sentence.figures if s[at] == "N")
    return s.replace("N", "F") if told and read else s
