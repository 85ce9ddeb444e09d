"""Where the sentences of a paragraph end."""

from __future__ import annotations

import re

LONGEST = 2_000  # characters of a sentence or a row that are read at once
# "... marrow. The next", not "approx. 40%"
STOP = re.compile(
    r"[.!?](?=[.!?\s])(?!\.+ ?[<>~\d])(?!(?:(?<=cell.)|(?<=cellul.))\s[(~<>\d/])"
    r"(?<!\bapprox.)(?<!\bappr.)(?<!\bapp.)"
    r"(?<!\bca.)(?<!\bvs.)(?<!\best.)(?<!\bmind.)(?<!\bli.)(?<!\bre.)(?<!\bmax.)(?<!\brd.)(?<!\bresp.)(?<!\bbzw.)(?<!\bdr.)(?<!\bno.)(?<!\bnr.)(?<!\bincl.)(?<!\bexp.)(?<!\bobs.)(?<!\bc.)(?<![\s.][.!?])[.!?]*(?=\s+\S)"
)  # begins with the sign itself: looking back at every letter is slow


def stops_of(paragraph: str) -> list[int]:
    """Where the sentences of a paragraph end; none is longer than 2,000 characters."""
    stops, begin = [], 0
    for end in [*(match.end() for match in STOP.finditer(paragraph)), len(paragraph)]:
        stops += [*range(begin + LONGEST, end, LONGEST), end]
        begin = end
    return stops
