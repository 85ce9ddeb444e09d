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
_ABOUT = re.compile(r"core|treph|biops|stanz|\bbom\b")
_DENIES = re.compile(
    r"\b(?:no|not|non|none|nil|kein\w*|nicht|ohne|pas|sans|without|cannot|false|qns|n/a|failed"
    r"|unsuccessful|lost|declined|refused|missing|absen(?:t|ce)|insufficient|entfällt|0)\b"
)
_MISSING = re.compile(r"i[dqvnIpMGxY]{0,9}(?:[BYW]|M[ML]*(?:[.,p]|$))|[:?][dqX]*i[dqv]*$|(?<!R:)Z")


def missing(folded: str) -> Iterator[tuple[str, bool]]:
    """Each sentence on a core that is not there, and whether it was received but is empty."""
    for sentence in re.split(r"(?<!\bno)[.;]\s|\n|[()]", folded):
        if len(sentence) < 200 and _ABOUT.search(sentence) and _DENIES.search(sentence):
            s = _said(sentence)
            if "B" in s and set(s) <= set("BMGRdpvqhiInzjYZWLe:,.|?XO/uoC") and _MISSING.search(s):
                yield sentence, re.search("W|i[dq]*M+[^B]", s) is not None


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
