"""Choose which of a Case's texts make its Report, and join them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import chain, groupby

from featurestore.types import Report
from ingest.labels.languages import VOID
from ingest.labels.tokens import class_of
from ingest.table import cleaned, headed

ADDS = "addend|supplement|additional|nachtrag|nachbericht|compl[ée]ment|ergänz"
CORRECTS = "correct|amend|revis|korrig|korrektur|berichtig|rectif|corrig"
# how a text that belongs to an earlier one begins, and how the name of its file ends
ADDENDUM = re.compile(
    rf"\W*(?:(?!(?:with|and|mit|und|avec|et)\b)\w+\W+){{0,3}}?(?:{ADDS})", re.IGNORECASE
)  # but not "Final report with addendum"
BEGINNING = 400  # characters of a text that say whether it is one
OF_ANOTHER = re.compile(rf"(?:[\W_]+(?:{ADDS}|{CORRECTS})[^\W\d_]*[\W\d_]*)+$", re.IGNORECASE)


# of a row that does not hold, in words and HL7's letters: deleted, wrong, cancelled
_VOID = re.compile(rf".*\b(?:{VOID}|supersed|replaced|obsolete|wrong|error)|[dwx]$")
_ID = re.compile(r"[^\s,]*\d[^\s,]*")  # "S20-123 A" names no part of a marrow


@dataclass(frozen=True, kw_only=True)
class Piece(Report):
    """A text of a Case, and what a table says of it."""

    heading: str = ""  # what it is about: its section or specimen
    status: str = ""  # of the result, as HL7 and FHIR have one

    def whole(self) -> str:
        """The text below its heading, where that has a word."""
        named = re.search(r"[^\W\d_]{2}", _ID.sub("", self.heading))
        return headed(" ".join(self.heading.split()), self.text) if named else self.text


def is_void(status: str) -> bool:
    """Whether the status of a row says that it does not hold."""
    return _VOID.match(re.sub(r"[\W_]+", " ", status).strip().lower()) is not None


def that_hold(several: Sequence[Piece]) -> list[Piece]:
    """Of a Case's texts those that make its Report: dated, undated, and addenda behind both."""
    several = sorted(several, key=is_addendum)  # the rows of one day may have any order
    dated = sorted((one for one in several if one.reported_on), key=_day)
    holding: list[list[Piece]] = []  # by day
    for _, day in groupby(dated, key=_day):
        texts = list(day)
        if holding and not _adds(texts, holding):
            holding = []
        holding.append(texts)
    undated = [one for one in several if one.reported_on is None]
    return sorted([*chain.from_iterable(holding), *undated], key=is_addendum)


def _day(one: Report) -> date:
    return one.reported_on or date.max


def is_addendum(one: Piece) -> bool:
    """Whether a text begins, or is named, as one that belongs to an earlier one."""
    said = filter(None, (one.heading, one.text[:BEGINNING]))
    return any(ADDENDUM.match(cleaned(some)) for some in said)


def _adds(later: Sequence[Piece], earlier: Sequence[Sequence[Piece]]) -> bool:
    """Whether the texts of a later day belong beside earlier ones, and do not replace them."""
    if all(map(is_addendum, later)):
        return True
    if 2 * _n_words(later) < max(map(_n_words, earlier)):
        return True
    before = any(map(on_cellularity, chain.from_iterable(earlier)))
    return before and not any(map(on_cellularity, later))


def _n_words(day: Sequence[Piece]) -> int:
    return sum(len(one.text.split()) for one in day)


def on_cellularity(one: Report) -> bool:
    """Whether a text has a word on the cellularity."""
    text = cleaned(one.text).lower()
    words = re.findall(r"[^\W\d_]{5,}", text)  # "cell" alone is of any report
    return any(class_of(word) in ("C", "A", "H") for word in words)


def joined(parts: Sequence[Piece]) -> Report:
    """The Report that a Case's texts make, each below its heading."""
    return Report(
        case_id=parts[0].case_id,
        text="\n\n".join(dict.fromkeys(one.whole() for one in parts)),
        reported_on=max((one.reported_on for one in parts if one.reported_on), default=None),
    )
