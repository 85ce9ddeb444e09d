"""What has another owner by the cellularity: a share of it, a part of the core, its make-up."""

from __future__ import annotations

import re

from ingest.labels.doubts import OF
from ingest.labels.languages import TAKEN, words_of

# "of the cellularity", "% of marrow cellularity", "tumor (% cellularity)", "share of x in"
_PART_OF = re.compile(
    r"(?:(?:^|[.,;(])p[do]*|F[q]*p[dohqnM]*|%[dohqnM]*p[dohqnM]*|[xLt][qdMtL]*[(,]%[dohqnM]*"
    r"|[q%][dqp]*[xL]+[qdp]*[dpI][dohqnM]*)$"
)
PARTS = words_of("area fraction share proportion anteil extent")
# "proportion of", "per", "in relation to", "Blastenanteil an der", "plasma cells / total"
_SHARE_OF = re.compile(
    r"(?:\b(?:fraction|share|proportion|part|[^\W\d_]*anteil)s?(?: of)?"
    r" (?:of|de|du|der|des|an|am|von|à)|\b(?:per|from)|\b(?:relation|respect|regard|relative) to"
    r"|\b(?:bezogen auf|gemessen an))"
    r"(?: (?:the|die|der|dem|den|la|le|its|total|overall|whole|global|marrow|bone))*$"
)
_SLASH = re.compile("[xL]/[dohqnM]*$")
_OF_IT = re.compile(r"F[pdq][dqhno]*[MBGR]+")
# behind "40% of the marrow space": its end, by what it was measured, or in which core
_ENDS = re.compile(r"[.,;:()|j/o]|z(?![^.,;:()|jF]*[vtb])|[pI][dqhnoM]*[MBGR]|d?(?:[.;,)]|$)")
_OF_EACH = re.compile("F,?j?[dqp]*R[wvpdq]*F[qpd]*[xLf]")  # "one has 20%, the other 40% blasts"
_MADE_OF = re.compile(r"F[),][dqpvhzwG]*[xLfK]")  # "mostly (80%) erythroid"
_MOSTLY = re.compile(
    r"(?:ly|most|wiegend|sächlich|ment|composed|made|dominated|consists?|by|of|durch|aus|par|de)$"
)


def is_share_of(s: str, words: list[str], at: int) -> bool:
    """Whether a word for the cellularity only says of what something else is a share."""
    part = _PART_OF.search(s, max(0, at - 8), at)
    bare = part and s[part.start()] == "%" and not s[: part.start()].strip("dqohM")
    if bare and s[at + 1 : at + 2] == "v":
        return False  # "The percentage of cellularity is 40%"
    if part and (s[part.start()] in "%xLt" or (OF | PARTS) & set(words[part.start() : at])):
        return True
    if _SLASH.search(s, max(0, at - 8), at) and s[at + 1 : at + 2] != "/":
        return True
    return _SHARE_OF.search(" ".join(words[max(0, at - 8) : at])) is not None


def is_a_subject(s: str, words: list[str], at: int) -> bool:
    """Whether a figure is of a part of the core that has a predicate: "40% of it is fibrotic"."""
    if _OF_EACH.match(s, at) or not TAKEN.isdisjoint(words[max(0, at - 2) : max(0, at - 1)]):
        return True
    if not OF.intersection(words[at + 1 : at + 2]):
        return not TAKEN.isdisjoint(words[at + 1 : at + 2])  # "cellularity: 80% involved"
    of = _OF_IT.match(s, at)
    return of is not None and _ENDS.match(s, of.end()) is None


def is_made_of(s: str, words: list[str], at: int) -> bool:
    """Whether a figure says of what most of it is: "predominantly (80%) erythroid"."""
    if s[at - 1 : at] not in ("(", ",") and words[at - 1] not in ("by", "durch", "par"):
        return False
    adverb = words[at - 2] if s[at - 1 : at] in ("(", ",") else words[at - 1]
    return _MOSTLY.search(adverb) is not None and _MADE_OF.match(s, at) is not None
