"""What a Report says of itself: that it is void, or that one of its cores cannot be read.

Either is told by a sentence that has no other subject: a result that is void may be of the flow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.labels.languages import VOID, words_of
from ingest.labels.segments import Segment
from ingest.labels.specimens import SIDES
from ingest.labels.tokens import class_of, encode

_DIGIT = re.compile(r"\d")
_VOID = re.compile(rf"\b(?:{VOID})[^\W\d_]*")
_STEMS = words_of(
    """void retract withdr rescind cancel annul delete invalid disregard ignored error used relied
    account ungült zurückge widerruf storn nichtig"""
) | {"not use"}
# why a report is void: "specimen mix-up", "wrong patient"
_WHY = re.compile(
    r"\b(?:mislabel|patient|error|verwechsl|proben|erreur|wrong|falsch|confus|mix|swap|interchang"
    r"|identi|null|should|must|another|belongs|entered|released|please|kindly)[^\W\d_]*"
)
_BOUNDS, _STOPS = re.compile(r"[.;!](?=\s|$)|\n"), re.compile(r"[.!](?=\s|$)|\n")
_LEADS = re.compile(r"[\W_]*$")  # before a mark that leads: "*** VOID *** Core: ..."
_LED = re.compile(r"\w*[ \t]*(?::|[*=#!\]-]{2})")
# that something can be read, of which this is denied
_READ = (
    r"(?:adequa|assess|evalua|interpret|represent|diagnos|reli|read|scor|inform|satisf|meaning"
    r"|suffi[cs]|beurteil|auswert|bewert|verwert|repräsent|exploit|évalu|interprét|représent)"
)
# "uninterpretable", "cannot be assessed", "too short to be meaningful", "only core A is adequate"
_UNREAD = re.compile(
    rf"\b(?:un|in|non-?)(?={_READ})|\b(?:not|cannot|nicht|pas|non|neither|nor|too)"
    rf" (?:[^\W\d_]+ ){{0,3}}?{_READ}|\b(?:excluded|left out|leaving out|unbrauchbar|ininterprét"
    rf"|unzureich|ausgeschl)|\bonly (?:[^\W\d_]+ ){{1,3}}(?:is|are|was|were) {_READ}|\b(?:{VOID})"
)
_CLAUSE = re.compile(r"[,;:(|]|\b(?:and|but|or|und|aber|et|mais)\b")
_FOR = re.compile(
    r"\w* (?:for|für|pour|of) (?!(?:this|its|the|review|the cellularity|cellularity)\b)"
)
_OF_CORES = words_of(
    "latter former letztere zweite seconde deuxième dernier dernière it this neither"
)
_WORD = re.compile(r"[^\W\d_]+")
_NUMBERED = re.compile(r"(?:core|biops\w+|treph\w+|specimen|part|stanze|carotte) ([a-d]|[1-4])\b")
# an addendum that takes the figure back
_OLD_ONE = re.compile(
    r"\b(?:earlier|previous|original|initial|former|old|first) "
    r"(?:figure|value|estimate|cellularity)"
)
# "the cellularity given above is an error"
_FALSE = re.compile(
    r"(?:cellularity|figure|value|estimate|percentage)(?= )[^%;]{0,40}\b(?:above|given|stated|typed"
    r"|reported|entered|printed)\b[^%;]{0,20}\b(?:wrong|incorrect|error|erroneous|mistake|invalid)"
)
_OF_BEFORE = re.compile(
    r"\b(?:previously|earlier|originally|initially) (?:reported|issued|given)\b"
)
_WITHDRAWN = re.compile(
    rf"\b(?:{VOID}|belongs? to another|mix-?up|not (?:be )?(?:valid|assessable|evaluable)"
    r"|cannot be (?:assess|determin|estimat|given))"
)


def taken_back_at(folded: str, segments: Sequence[Segment]) -> int:
    """Where a report or a correction takes back the figures before it, -1 where none does."""
    return max(_void_at(folded), *map(_withdrawn_at, segments), -1)


def _withdrawn_at(segment: Segment) -> int:
    """Where a sentence takes a figure back, -1 where it does not."""
    false = _FALSE.search(segment.text)
    if (
        false
        and "%" not in segment.text
        and not set(encode(false[0], []).classes[:-1]) & set("rSbi")
    ):
        return segment.at + false.start()
    if not (segment.amends or _OF_BEFORE.search(segment.text)):
        return -1
    said = re.search(
        r"[cz]ellulari|zellgehalt|figure|value|wert|estimate|percentage|reading|chiffre",
        segment.text,
    )
    met = _WITHDRAWN.search(segment.text) if said else None
    if met and _OLD_ONE.search(segment.text, 0, met.start()):
        return segment.at - 1  # "it is 70%, and the earlier figure should be disregarded"
    return segment.at + met.start() if met else -1


def _void_at(folded: str) -> int:
    """Where a report says that it is void, or its figure; -1 where it does not."""
    if not any(stem in folded for stem in _STEMS):
        return -1
    return max((met.start() for met in _VOID.finditer(folded) if _is_own(folded, met)), default=-1)


def _is_own(folded: str, met: re.Match[str]) -> bool:
    """Whether the sentence of a void mark has no subject but the report and its figure."""
    begin, end = _sentence(folded, met.start(), _BOUNDS)
    said = folded[begin:end].replace("status", "report")
    if "ellul" in (before := folded[begin : met.start()]) and _DIGIT.search(before):
        return False  # it is of that figure
    if _LEADS.match(folded[begin : met.start()]) and (led := _LED.match(folded, met.end())):
        rest = folded[led.end() : end]
        said = "report" if "ellul" in rest or not rest.strip(" *#=-") else said
    # "... and this figure should not be used"
    clause = _CLAUSE.split(said[: met.start() - begin])[-1]
    if clause.strip().startswith(("this ", "the report", "the figure")):
        said = clause + folded[met.start() : end]
    said = _WHY.sub("", _VOID.sub(" ", said))
    found = encode(" ".join(_WORD.findall(said)), [])
    named = {a for a, word in zip(found.classes, found.words, strict=True) if word}
    if _NUMBERED.search(said) or not named <= set("dvpqnGMBCojwEIy"):
        return False
    return bool(named & set("dqnGBCE")) or _stands_alone(folded, begin)


def _stands_alone(folded: str, begin: int) -> bool:
    """Whether a line is a paragraph of its own: not "Flow:\\nCancelled"."""
    before = folded[:begin].rstrip(" \t")
    return before[-2:] in ("", "\n\n")


def _sentence(folded: str, at: int, bounds: re.Pattern[str]) -> tuple[int, int]:
    """Where the sentence of a place begins and ends, or 200 characters about it."""
    first = max(0, at - 200)
    begins = [met.end() for met in bounds.finditer(folded, first, at)]
    end = bounds.search(folded, at, at + 200)
    return (begins or [first])[-1], end.start() if end else min(len(folded), at + 200)


def unread_cores(folded: str) -> list[frozenset[str]]:
    """Which cores cannot be read, a set of sides or numbers a sentence; empty: not told."""
    found = []
    for met in _UNREAD.finditer(folded):
        begin, end = _sentence(folded, met.start(), _STOPS)
        before = folded[begin : met.start()]
        clause = _CLAUSE.split(before)[-1]
        words = _WORD.findall(folded[begin:end])
        of_a_core = any(class_of(word) in "BR" or word in _OF_CORES for word in words)
        subject = (word for word in _WORD.findall(clause) if word not in _OF_CORES)
        owned = set(map(class_of, subject)) & set("xLfKS")
        last = [letter for word in _WORD.findall(before) if (letter := class_of(word)) in "BSR"]
        if of_a_core and not owned and last[-1:] != ["S"] and not _FOR.match(folded, met.end()):
            named = _named(clause) or _named(folded[begin:end])
            found.append(frozenset() if met[0].startswith("only") else named)
    return found


def _named(said: str) -> frozenset[str]:
    """The cores that words name: right and left, or numbers."""
    words = {SIDES[word] for word in _WORD.findall(said) if word in SIDES and len(word) > 1}
    return frozenset(words | {SIDES[it] for it in _NUMBERED.findall(said)})
