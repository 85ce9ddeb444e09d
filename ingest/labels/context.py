"""Whose a sentence that names no sample is, by the sentences beside it."""

from __future__ import annotations

import re

from ingest.labels.languages import KINDS, words_of
from ingest.labels.roles import WE
from ingest.labels.segments import Segment
from ingest.labels.tokens import Sentence, encode

# "Cellularity 60%. This refers to the clot.", "... 60%. (Clot section)"
_STOP = re.compile(r"[.;]\s+")
_SAYS_WHOSE = ("(", "*", "this ", "it ", "that ")
_OF_OTHER = re.compile(r"\([dqRM]*[Sbr][SGMB]*\)|(?:q|d[xvqd]*p?)[dqRM]*[Sbr][SGMB]*x?[.]?$")
# "the previous marrow was reviewed", "an outside trephine is at hand", "slides of 2019"
_SAMPLE_OF_BEFORE = re.compile(r"(?<!k)(?<!kp)(?<!kpd)[br][^vCAH]*[MBGS]|[MBGS][pIu(][dqyxR]*b")
_SENT = words_of("submitted submitting referred sending block blocks")
_SET_ASIDE = {"clot", "aspirate", "touch", "other", "bones"}
_MINE = WE | words_of("my our mein unser notre")
_THING = re.compile("(?:[dqR]*v)?[^MBCAHGSv]*x[^MBCAHGS]*")  # "There is a lymphoid nodule."
# "Core biopsy 2018: 95%", above "Core biopsy 2020: hypocellular"
_OF_YEAR = re.compile(
    r"(?:\bbom|biops\w*|\bcores?|treph\w*|stanze|marrow)(?: biopsy)?,? "
    r"(?:de |of |from |vom |von |in )?\(?((?:19|20)\d\d)\b"
)
IT = words_of("it this these here es sie dies elle ceci")


def context_of(sentence: Sentence, segment: Segment, folded: str) -> str:
    """Whose a sentence that names no sample is by those beside it: "The clot is small. It is"."""
    own = set(sentence.classes)
    if segment.at != segment.start:
        return ""  # a cell of a table
    behind = folded[segment.end : segment.said[1]].lstrip()
    if behind.startswith(_SAYS_WHOSE) and _OF_OTHER.match(s := encode(behind, []).classes):
        return "b" if {"b", "r"} & set(s) else "S"
    if own & set("BSRnE") or not _MINE.isdisjoint(sentence.words):
        return ""
    before = folded[segment.said[0] : segment.at].rstrip(" .;\n")
    for n, said in enumerate(reversed(_STOP.split(before)[-3:] if before else ())):
        if "ellul" in said:
            break
        found = encode(said, [])
        s = found.classes
        if n == 0 and sentence.words[0] in IT and ("a" in s or _THING.fullmatch(s)):
            return "a"
        if said.endswith(":") or "i" in s:
            continue
        if _SAMPLE_OF_BEFORE.search(s) and not _SENT.intersection(found.words):
            return "b"
        listed = "B" in encode(before.rpartition(". ")[2], []).classes  # "One core; a clot."
        if (
            not listed
            and "B" not in s
            and _SET_ASIDE & {KINDS.get(word) for word in {*found.words} - _SENT}
        ):
            return "S"
        if {"B", "n"} & set(s):
            break
    return ""


def is_of_an_older(folded: str, said: str) -> bool:
    """Whether words name the core of a year, and the report that of a later one."""
    own: list[str] = _OF_YEAR.findall(said)
    return bool(own) and own[-1] < max(_OF_YEAR.findall(folded), default="")
