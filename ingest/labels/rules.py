"""Read the cellularity of the present core biopsy from a Report by rules.

`figures` finds every figure, `segments` cuts the Report into sentences, `claims` says whose each
figure is, and `decide` makes one Reading of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from featurestore.types import Reading
from ingest.labels.claims import Claim, read_claims
from ingest.labels.decide import decide, none_read
from ingest.labels.figures import fold
from ingest.labels.languages import READ, language
from ingest.labels.segments import Segment, segments
from ingest.labels.structure import as_text

MOST_CLAIMS = 200  # no report of one biopsy states more
_IMPOSSIBLE = re.compile(r"(?<![\d.,])(?!100\D)[1-9](\d\d)(?= ?(?:%|per ?cent|prozent))")  # "140%"


@dataclass(frozen=True, kw_only=True)
class Understood:
    """A Report taken apart: its plain text, its sentences, and a claim for each figure in them."""

    text: str
    folded: str
    segments: list[Segment]
    claims: list[Claim]


@lru_cache(maxsize=4)  # a Label is read, then its evidence is checked
def understand(text: str) -> Understood:
    """Take a Report apart, whatever its layout."""
    text = as_text(text)
    folded = fold(text)
    cut = list(segments(text, folded))
    claims = list(islice(read_claims(folded, cut), MOST_CLAIMS))
    return Understood(text=text, folded=folded, segments=cut, claims=claims)


def parse(text: str) -> Reading:
    """Read a Report: `stated` with a value, `states none`, or `not read` with the reason."""
    reading = _read(text)
    if reading.outcome == "states none" and _IMPOSSIBLE.search(text):
        as_possible = _read(_IMPOSSIBLE.sub(r"0\1", text))  # whose would it be, were it one?
        if as_possible.outcome != "states none":
            return none_read("a cellularity of over 100% is stated", read=False)
    return reading


def _read(text: str) -> Reading:
    it = understand(text)
    if language(it.folded) not in READ:
        return none_read("the report is in a language that is not read", read=False)
    if not it.segments:
        return none_read("no words on cellularity")
    return decide(it.text, it.folded, it.claims, it.segments)
