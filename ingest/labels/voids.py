"""What a Report says of itself: that it is void, or that one of its cores cannot be read.

Either is told by a sentence that has no other subject: a result that is void may be of the flow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ingest.labels.languages import GENERAL, VOID, words_of
from ingest.labels.segments import Segment
from ingest.labels.specimens import SIDES
from ingest.labels.tokens import class_of, encode
from ingest.labels.withdrawals import undone_at

_DIGIT = re.compile(r"\d")
_STEMS = words_of(
    """void retract withdr rescind cancel annul delete invalid disregard ignored error used relied
    account ungült pertain apply refer patient zurückge widerruf storn nichtig"""
) | {"not use"}
# that it is another's: "accessioned in error", "do not pertain to this patient", "wrong patient"
_MISTAKEN = (
    r"(?:[^\W\d_]+ed )?(?:in error\b|(?:(?:to|on|of|from|for|with) )?(?:the |an? )?(?:wrong|another"
    r"|different|incorrect|other) (?:patient|person|case))"
    r"|(?:do|does)(?: not|n't) (?:pertain|belong|apply|refer) to this"
)
_VOID = re.compile(rf"\b(?:{_MISTAKEN}|{VOID})[^\W\d_]*")
_WHY = re.compile(r"(?:mix$|up$|error|erron|wrong|falsch|status|please|kindly|belongs?$|null$)")
# what is void only then: "void without a signature", "not to be used for publication"
_LIMITS = re.compile(r"[ ,]*(?:unless|until|without|if|when|alone|as|ohne|sans|(?<=used )for)\b")
_OBJECT = re.compile(r"[ ,]*(?:this|these|all|above|the (?:above|report|result|figure|value))\b")
_SELF = GENERAL | words_of(
    """specimen sample slide slides figure value values percentage estimate estimates case this
    these it above dieser dieses ce cette"""
)
# "(cellularity 10%); this part was not used", behind a figure
_LEFT_OUT = re.compile(
    r"[\s).;,:]{1,4}(?:but |and )?(?:this|these|that|which|it)"
    r"(?: (?:part|area|region|zone|portion|piece|field|space|end|edge|strip|third|half)s?)?"
    r"\s+(?:is|was|were|are|has been|have been)(?:\s+therefore|\s+thus)?"
    rf"\s+(?:not\s+used|excluded|left out|{VOID})"
    r"|(?: cellular)?[\s).;,:]{1,4}(?:and |but )?not (?:used|counted|included|considered|scored)\b"
    r"|[^.;%]{1,60}\b(?:should|must|can|may)\s+not\s+be\s+(?:used|counted|taken)"
)
_BOUNDS, _STOPS = re.compile(r"[.;!](?=\s|$)|\n"), re.compile(r"[.!](?=\s|$)|\n")
_LED = re.compile(r"\w*[ \t]*(?::|[*=#!\]-]{2})")
# that something can be read, of which this is denied
_READ = (
    r"(?:adequa|suitab|assess|evalua|interpret|represent|diagnos|reli|read|scor|inform|satisf|meaning"
    r"|suffi[cs]|beurteil|auswert|bewert|verwert|repräsent|exploit|évalu|interprét|représent)"
)
# "uninterpretable", "cannot be assessed", "too short to be meaningful", "only core A is adequate"
_UNREAD = re.compile(
    rf"\b(?:un|in|non-?)(?={_READ})|\b(?:not|cannot|nicht|pas|non|neither|nor|too)"
    rf" (?:(?!and |und |et |but )[^\W\d_]+ ){{0,3}}?{_READ}"
    r"|\b(?:excluded|discarded|left out|leaving out|unbrauchbar|ininterprét|unzureich|ausgeschl)"
    rf"|\bonly (?:[^\W\d_]+ ){{1,3}}(?:is|are|was|were) {_READ}|\b(?:{VOID})"
)
_CLAUSE = re.compile(r"[,;:(|]|\b(?:and|but|or|und|aber|et|mais)\b")
_FOR = re.compile(
    r"\w* (?:for|für|pour|of) (?!(?:this|its|the|review|the cellularity|cellularity)\b)"
)
_END_OF = re.compile(r"^\w*")  # of a word
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
    r"|cannot be (?:assess|determin|estimat|given)|no [cz]ellularity"
    r"|(?:inadequate|insufficient|unsatisfactory) for|(?:non|pas) évaluable"
    r"|nicht (?:[^\W\d_]+ )?(?:beurteil|auswert|bewert)bar"
    r"|(?:refer|belong|pertain|appl|relat)[^\W\d_]* to (?:the )?(?:clot|aspirate|smear|touch))"
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
    if segment.amends and (undone := undone_at(segment.text)) >= 0:
        return segment.at + undone
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
    if not any(map(folded.__contains__, _STEMS)):
        return -1
    return max((met.start() for met in _VOID.finditer(folded) if _is_own(folded, met)), default=-1)


def _is_own(folded: str, met: re.Match[str]) -> bool:
    """Whether the nearest noun before a void mark is the report or its figure, and not a part."""
    begin, end = _sentence(folded, met.start(), _BOUNDS)
    before, after = _VOID.sub(" ", folded[begin : met.start()]), folded[met.end() : end]
    of_a_figure = "ellul" in before and _DIGIT.search(before) is not None
    if of_a_figure or _LIMITS.match(folded, met.end(), end) or _NUMBERED.search(before):
        return False
    words = [word for word in _WORD.findall(before) if len(word) > 1 and not _WHY.match(word)]
    if not words:  # "*** VOID *** Core: ...", "Please disregard this report"
        leads = _LED.match(folded, met.end()) and "ellul" in after
        said = _WORD.findall(_VOID.sub("", after))
        bare = all(word in _SELF or _WHY.match(word) for word in said)
        alone = bare and (bool(said) or _WORD.search(before) or _is_apart(folded, begin))
        return bool(leads or alone or _OBJECT.match(after))
    named = False
    for word in reversed(words):
        letter = class_of(word)
        if named and letter in "dpv":
            return True
        named = named or word in _SELF or letter in "BC"
        if not named and letter not in "dvpqncwI":
            return False
        if named and letter not in "dvpqncwIBCMGEz":
            return False
    return named


def _is_apart(folded: str, begin: int) -> bool:
    """Whether a line is a paragraph of its own: not "Flow:\\nCancelled"."""
    before = folded[:begin].rstrip(" \t")
    return before[-2:] in ("", "\n\n")


def _sentence(folded: str, at: int, bounds: re.Pattern[str]) -> tuple[int, int]:
    """Where the sentence of a place begins and ends, or 200 characters about it."""
    first = max(0, at - 200)
    begins = [met.end() for met in bounds.finditer(folded, first, at)]
    end = bounds.search(folded, at, at + 200)
    return (begins or [first])[-1], end.start() if end else min(len(folded), at + 200)


def is_left_out(folded: str, end: int) -> bool:
    """Whether the part of a figure that ends there is said not to be used."""
    return _LEFT_OUT.match(folded, end) is not None


def unread_cores(folded: str) -> list[frozenset[str]]:
    """Which cores cannot be read, a set of sides or numbers a sentence; empty: not told."""
    found = []
    for met in _UNREAD.finditer(folded):
        begin, end = _sentence(folded, met.start(), _STOPS)
        before = folded[begin : met.start()]
        clause = _CLAUSE.split(before)[-1]
        words = _WORD.findall(folded[begin:end])
        of_a_core = any(class_of(it) in "BR" or it in _OF_CORES for it in words if len(it) > 1)
        subject = (word for word in _WORD.findall(clause) if word not in _OF_CORES)
        owned = set(map(class_of, subject)) & set("xLfKSat")
        last = [letter for word in _WORD.findall(before) if (letter := class_of(word)) in "BSR"]
        if not before.strip():  # "Insufficient monotypic B cells"
            behind = "".join(map(class_of, _WORD.findall(_END_OF.sub("", folded[met.end() : end]))))
            owned = owned or set(behind.lstrip("dqh")[:1]) & set("xLfKS")
        if of_a_core and not owned and last[-1:] != ["S"] and not _FOR.match(folded, met.end()):
            named = _named(clause) or _named(folded[begin:end])
            found.append(frozenset() if met[0].startswith("only") else named)
    return found


def _named(said: str) -> frozenset[str]:
    """The cores that words name: right and left, or numbers."""
    words = {SIDES[word] for word in _WORD.findall(said) if word in SIDES and len(word) > 1}
    return frozenset(words | {SIDES[it] for it in _NUMBERED.findall(said)})
