"""Read the cellularity of the present core biopsy from a Report by rules.

`figures` finds every figure, `segments` cuts the Report into sentences, `claims` says whose each
figure is, and `decide` makes one Reading of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice

from featurestore.types import Reading
from ingest.labels.claims import Claim, read_claims
from ingest.labels.decide import decide, none_read
from ingest.labels.figures import fold
from ingest.labels.languages import READ, language
from ingest.labels.segments import Segment, segments
from ingest.labels.specimens import declared
from ingest.labels.structure import as_text
from ingest.table import cleaned, is_damaged

MOST_CLAIMS = 200  # no report of one biopsy states more
_IMPOSSIBLE = re.compile(
    r"(?<![\d.,])(?!100\D)[1-9](\d\d)(?= ?(?:%|per ?cent|prozent))"
    r"|(?<![\d.,])[1-9][.,]000(?= ?%)"
)  # "140%", "1,000%"

# a file that is written out in letters: "JVBERi0xLjQKJ..."
_CODED = re.compile(r"\b(?=\S{0,60}?[A-Z])(?=\S{0,60}?[a-z])[A-Za-z\d+/]{60}")


@dataclass(frozen=True, kw_only=True)
class Understood:
    """A Report taken apart: its plain text, its sentences, and a claim for each figure in them."""

    given: str  # as it was handed over
    text: str
    folded: str
    segments: list[Segment]
    claims: list[Claim]

    def told(self, reading: Reading) -> Reading:
        """A Reading; of a Report that is not all text none that says that it states none."""
        if reading.outcome != "states none":
            return reading
        if not is_damaged(self.given) and not _CODED.search(self.text):
            return reading
        return none_read("some of it is no text: export its words anew, as UTF-8", read=False)


@lru_cache(maxsize=4)  # a Label is read, then its evidence is checked
def understand(text: str) -> Understood:
    """Take a Report apart, whatever its layout."""
    given, text = text, cleaned(as_text(cleaned(text)))  # "cellu&shy;larity"
    folded = fold(text)
    cut = segments(text, folded)
    labels = declared(folded)  # "A: 40%, B: 60%", where B is said to be a clot
    claims = [
        replace(one, material=labels[one.side]) if one.counts and one.side in labels else one
        for one in islice(read_claims(folded, cut), MOST_CLAIMS)
    ]
    return Understood(given=given, text=text, folded=folded, segments=cut, claims=claims)


def parse(text: str) -> Reading:
    """Read a Report: `stated` with a value, `states none`, or `not read` with the reason."""
    reading = _read(text)
    if reading.outcome == "states none" and _IMPOSSIBLE.search(plain := cleaned(text)):
        as_possible = _read(_IMPOSSIBLE.sub(r"0\1", plain))  # whose would it be, were it one?
        if as_possible.outcome != "states none":
            return none_read("a cellularity of over 100% is stated", read=False)
    return reading


def _read(text: str) -> Reading:
    it = understand(text)
    if language(it.folded) not in READ:
        return none_read("the report is in a language that is not read", read=False)
    if not it.segments:
        return it.told(none_read("no words on cellularity"))
    return it.told(decide(it.text, it.folded, it.claims, it.segments))
