"""Whether a figure that nothing ties may still be meant as the cellularity."""

from __future__ import annotations

import re

from ingest.labels.figures import Figure
from ingest.labels.shares import OWNED, SHARE

# "cellularity 50%, with aggregates of mast cells, in all 10% of the marrow"
_WITH_NOUN = re.compile(r"F[.,]?w[^FN.;C]*[xLf][^FN.;C]*$")
_SHARE_KEY = re.compile(r"(?<=[^.;:|])%[dohqnM]*p[dohqnM]*C")  # "Plasma cells, % of cellularity"


def may_be(s: str, at: int) -> bool:
    """Whether a figure that nothing ties may still be meant as the cellularity of its clause."""
    clause = re.split(r"[;.|]", s[:at])[-1] + s[at:]
    clause = re.split(r"[;.|]", clause)[0]
    if "C" not in _SHARE_KEY.sub("", clause) or SHARE.match(s, at) or OWNED.match(s, at):
        return False
    if _WITH_NOUN.search(re.sub(r"\([^()]*\)", "", s[:at])):
        return False
    before = s[:at].rstrip("(:vpqdIt")
    nouns = ("x", "L", "f", "K")
    return s[at + 1 : at + 2] not in nouns and before[-1:] not in nouns


def is_free(s: str, at: int, figure: Figure) -> bool:
    """Whether no noun owns a figure, and no word on another time or a norm stands by it."""
    clause = re.split(r"[;.|]", s[:at])[-1]
    if OWNED.match(s, at) or re.search(r"[xLfKebcr][:vpIwdqhtMBRG(,]*$", clause):
        return False
    return s[at] == "F" or (figure.low >= 5 and re.search(r"C[^xLfKF]*$", clause) is not None)


def is_doubted(words: list[str], figure: Figure, s: str, head: int, at: int) -> bool:
    """Whether a bound is a legend or in doubt: ">70% is increased", "above 80%, not assessable"."""
    if words[head].startswith("normo") and figure.low < figure.high and s[at - 2 : at] == "y(":
        # "for age 45 (45-65%)", "for age (30-50%)": as wide as a norm
        return not words[at - 2] or figure.high - figure.low >= 20
    if figure.qualifier not in ("<", ">"):
        return False
    ends = (i for i in range(at, len(s)) if s[i] in ".;w" or words[i] in ("and", "und", "et"))
    clause = s[at : next(ends, len(s))]
    before = s[max(s.rfind(mark, 0, at) for mark in ".;,") + 1 : at]
    return bool(re.match(r"F[v:][q:v]*[hHg]", clause)) or "i" in before + clause
