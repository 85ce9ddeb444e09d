"""Whether a core was received and holds marrow, as far as the sentences about it tell.

A sentence tells of a core that is missing if it names the core, denies, and has no other noun.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from ingest.labels.claims import Claim
from ingest.labels.headings import classes_in
from ingest.labels.languages import words_of
from ingest.labels.tokens import encode, ticked

# what becomes of a core, and what is left where it holds no marrow
_RECEIVED = words_of(
    """received survive processing submitted obtained taken performed done available sent attempted
    included provided collected recovered present eingegangen entnommen eingesandt durchgeführt
    vorhanden erfolgt réalisée réalisé reçue reçu faite fait prélevée parvenue false"""
)
_READ = words_of(
    """assessable evaluable interpretable assessed evaluated interpreted assessment evaluation
    diagnostic beurteilbar verwertbar interprétable analysable"""
)
_DENIED = words_of(
    """none nil qns failed unsuccessful lost declined refused missing absent absence insufficient
    entfällt nondiagnostic"""
)
_LEFT = words_of(
    """bone cortical cortex cartilage muscle soft crush crushed artifact artefact hemorrhage blood
    patient yielded consists contains composed clinically attempt attempts please"""
)
_LONGEST = 200  # characters of a sentence that tells of no core
_ENDS = ("\n", "(", ")", ". ", "; ")
_ABOUT = ("core", "treph", "biops", "stanz", "bom ")  # found as text: a pattern is slower
_DENIES = re.compile(
    r"\b(?:no|not|non|none|nil|kein\w*|nicht|ohne|pas|sans|without|cannot|false|qns|n/a|failed"
    r"|unsuccessful|lost|declined|refused|missing|absen(?:t|ce)|insufficient|entfällt|0)\b"
)
_MISSING = re.compile(r"i[dqvnIpMGxY]{0,9}(?:[BYW]|M[ML]*(?:[.,p]|$))|[:?][dqX]*i[dqv]*$|(?<!R:)Z")


def missing(folded: str) -> Iterator[tuple[str, bool]]:
    """Each sentence on a core that is not there, and whether it was received but is empty."""
    sentences: dict[str, None] = {}
    for stem in _ABOUT:
        at = folded.find(stem)
        while at >= 0:
            sentences[_sentence(folded, at)] = None
            at = folded.find(stem, at + len(stem))
    for sentence in sentences:
        if len(sentence) < _LONGEST and _DENIES.search(sentence):
            s = _said(sentence)
            if "B" in s and set(s) <= set("BMGRdpvqhiInzjYZWLe:,.|?XO/uoC") and _MISSING.search(s):
                yield sentence, re.search("W|i[dq]*M+[^B]", s) is not None


def _sentence(folded: str, at: int) -> str:
    """The sentence that a place stands in, or more than what is read of one."""
    first, last = max(0, at - _LONGEST), min(len(folded), at + _LONGEST)
    begin = max(folded.rfind(mark, first, at) for mark in _ENDS)
    ends = [folded.find(mark, at, last) for mark in _ENDS]
    end = min((end for end in ends if end >= 0), default=last)
    if folded[end - 3 : end] == " no":  # "Trephine biopsy No. 24"
        end = folded.find("\n", end, last)
    return folded[max(begin, first) : end if end >= 0 else last].strip(" .;()\n")


def _said(sentence: str) -> str:
    """A sentence as classes; Y what was received, W what can be read, Z denied, e what is left."""
    found = encode(sentence, [])
    own = {**dict.fromkeys(_RECEIVED, "Y"), **dict.fromkeys(_READ, "W")}
    own |= {**dict.fromkeys(_DENIED, "Z"), **dict.fromkeys(_LEFT, "e")}
    places = zip(found.words, found.classes, ticked(found.classes), strict=True)
    return "".join(own.get(word.rstrip("- "), a) if a == b else b for word, a, b in places)


@lru_cache(maxsize=4)
def absent(folded: str) -> tuple[tuple[str, bool], ...]:
    """The sentences on a core that is not there."""
    return tuple(missing(folded))


def is_of_a_core(claim: Claim, folded: str) -> bool:
    """Whether a claim names a core that is there: itself, or by a heading with no such sentence."""
    if claim.material != "core":
        return False
    own, head = claim.segment.text[: claim.figure.end], claim.segment.heading
    told = bool(head) and any(head in sentence for sentence, _ in absent(folded))
    return "B" in classes_in(own) or ("B" in classes_in(head) and not told)
