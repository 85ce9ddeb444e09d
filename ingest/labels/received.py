"""Whether a core was received and holds marrow, as far as the sentences about it tell.

A sentence tells of a core that is missing if it names the core, denies, and has no other noun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from ingest.labels.amendments import NEW_SAMPLE
from ingest.labels.asides import ticked
from ingest.labels.at_hand import BOX, core_ticked, others_alone
from ingest.labels.claims import Claim
from ingest.labels.headings import AMENDS, classes_in
from ingest.labels.languages import by_word
from ingest.labels.segments import Segment
from ingest.labels.tokens import encode

# Y what becomes of a core, W what can be read, Z denied; what is left where it holds no marrow: e,
# and Q what no marrow is in
_OWN = by_word("""
Y received survive processing submitted obtained taken performed done available sent attempted
 included provided collected recovered present eingegangen entnommen eingesandt durchgeführt
 vorhanden erfolgt réalisée réalisé reçue reçu faite fait prélevée parvenue success enthalten
D dry
W assessable evaluable interpretable assessed evaluated interpreted assessment evaluation
 diagnostic beurteilbar verwertbar interprétable analysable
Z none nil qns failed unsuccessful lost declined refused missing absent absence insufficient
 entfällt nondiagnostic inadequate unsatisfactory aborted abandoned uninterpretable unevaluable
Q cartilage muscle soft fibrous
e bone cortical cortex crush crushed artifact artefact hemorrhage
 blood patient yielded consists contains composed clinically attempt attempts number tap small
 skeletal tiny scant
J only solely nur
""")
_LONGEST = 200  # characters of a sentence that tells of no core
_ENDS = ("\n", "(", ")", ". ", "; ")
# found as text: a pattern is slower
_STEM = ["core", "treph", "biops", "stanz", "bom ", "bx", "no marrow", "pas de moelle", "kein mark"]
_DENIES = re.compile(
    r"\b(?:no|not|non|none|nil|kein\w*|nicht|ohne|pas|sans|without|cannot|false|qns|n/a|failed"
    r"|unsuccessful|lost|declined|refused|missing|absen(?:t|ce)|insufficient|entfällt|0"
    r"|inadequate|unsatisfactory|un\w+able|aborted|abandoned|precludes?|prevents|muscle|cartilage|soft|fibrous|only|nur|too|dry"
    r")\b|: +--+$|\| *-+ *(?:\||$)"
)
_MISSING = re.compile(
    r"i[dqvnIpMGxY]{0,9}(?:[BYW]|M[ML]*(?:[.,pvYW]|$))|[:?][dqX]*i[dqv]*$|(?<!R:)Z|::{2,3}$|\|:{1,3}\|?$"
    r"|B[^MLW]*(?:Q|e[^MLW]*J|J[^MLW]*e)[^MLW]*$|e[^MYL]*p[dq]*W"
    r"|De?[pId]*(?<!De)B|Be*[vdq:]*D$"
)
_RULE = re.compile(r"[|: +-]*-{3}[|: +-]*\|[|: +-]*")  # under the names of columns
_NONE = re.compile(r"(?<=[sd]: )0(?= *\|?$)|\b(?:n/a|false)\b")
# what a line on one of several parts begins with
_PART = re.compile(
    r"[ \t]*(?:(?:part|specimen|core|biopsy|site|jar|container) [a-h\d]|left|right|[lr]t?)\b ?[.:)]"
)
# "Rt: cellularity 80%."
_SIDE_READ = re.compile(
    r"(?:^|[.;] )[ \t]*(?:left|right|[lr]t?) ?[.:)](?=[^\n%]{0,99}\d ?%)[^\n]{0,99}ellul", re.M
)
_WISHES = re.compile(
    r"\b(?:request|plan(?:s|ned)|schedul|pending|await|defer|recommend|advis|suggest(?:ed|s)?\b"
    r"|(?:to )follow(?:s)?\b|warrant|if|please|consider|should|would|needed|desirable|separate)"
)
_READ = re.compile(r"ellul|%|\d ?[cm]m\b")  # in words on a core that is there
_CORE = re.compile(
    r"\bcores?\b|treph|biops|\bbx\b|\bbiop\b|\bbmb|\bbom\b|histolog|punch|[cz]ylinder|stanz|trepan"
    r"|trabecul|osteoid|carotte|retic(?:ulin|\b)|retikulin|réticuline|trav[ée]es? oss|spongiosa"
    r"|d[eé]calcif|entkalk|logettes|\bcort(?:ex|ical)"
    r"|(?<!clot )(?<!particle )(?<!block )\bsections?\b"
    r"|\bbone\b(?! marrow)"
)
OTHER = re.compile(r"aspirat|\bclots?\b|smear|imprint|particle|spicule|ausstrich|frottis")


@lru_cache(maxsize=4)
def _sentences(folded: str) -> tuple[str, ...]:
    """The sentences that name a core, or say that there is no marrow."""
    found: dict[str, None] = {}
    for stem in _STEM:
        at = folded.find(stem)
        while at >= 0:
            found[_sentence(folded, at)] = None
            at = folded.find(stem, at + len(stem))
    return tuple(found)


def _sentence(folded: str, at: int) -> str:
    """The sentence that a place stands in, or more than what is read of one."""
    first, last = max(0, at - _LONGEST), min(len(folded), at + _LONGEST)
    begin = max(folded.rfind(mark, first, at) for mark in _ENDS)
    ends = [folded.find(mark, at, last) for mark in _ENDS]
    end = min((end for end in ends if end >= 0), default=last)
    if folded[end - 3 : end] == " no":  # "Trephine biopsy No. 24"
        end = folded.find("\n", end, last)
    said = folded[max(begin, first) : end if end >= 0 else last].strip(" .;()\n")
    below = folded[end : end + _LONGEST].lstrip().partition("\n")[0]
    told = len(said) < 40 and _DENIES.match(below) and not _RULE.fullmatch(below)
    return f"{said}: {below}" if told else said


def _said(sentence: str) -> str:
    """A sentence as classes, those of the words of a core's own among them."""
    found = encode(_NONE.sub("no", sentence), [])
    places = zip(found.words, found.classes, ticked(found.classes), strict=True)
    s = "".join(_OWN.get(word.rstrip("- "), a) if a == b else b for word, a, b in places)
    return re.sub(r"x(?=y)|(?<=y)x", "y", s)


@lru_cache(maxsize=4)
def absent(folded: str) -> tuple[tuple[str, bool], ...]:
    """The sentences on a core that is not there, and whether it was received but is empty."""
    found = {}
    for sentence in _sentences(folded):
        s = _denial(sentence)
        if s:
            found[sentence] = s
    read = any(_READ.search(it) for it in _sentences(folded) if it not in found)
    by_form = core_ticked(folded)
    if by_form:  # "Core biopsy: [x] yes [ ] no   Clot: [ ] yes [x] no"
        found = {said: s for said, s in found.items() if not BOX.search(said)}
    elif by_form is False or (not read and others_alone(folded)):
        found |= {"\0": "Z"}  # said by no sentence of its own
    sided = bool(found) and (read or _SIDE_READ.search(folded) is not None)
    return tuple(
        (said, re.search("W|i[dq]*M+[^B]", s) is not None)
        for said, s in found.items()
        if not (sided and ("R" in s or _is_parted(folded, said)))
    )


def _is_parted(folded: str, said: str) -> bool:
    """Whether a sentence is of one part or side of several: "Part 2. No marrow for evaluation."."""
    at = max(folded.find(said), 0)
    return _PART.match(folded, folded.rfind("\n", 0, at) + 1, at) is not None


def _denial(sentence: str) -> str:
    """The classes of what denies that a core is there, or none: of a sentence or its first part."""
    if AMENDS.match(sentence):  # "Addendum: no core was received"
        sentence = sentence.partition(": ")[2] or sentence
    for said in dict.fromkeys((sentence, sentence.partition(", ")[0])):
        if len(said) < _LONGEST and _DENIES.search(said):
            s = _said(said)
            known = set(s) <= set("BMGRdpvqhiInzjYZWLeQJDby:,.|?XO/uoC")
            if known and _MISSING.search(s) and ("B" in s or re.search("^[^LC]*i[dq]?M", s)):
                return s
    return ""


def denied_at(folded: str, segments: Sequence[Segment]) -> int:
    """Where an addendum says that there was no core, -1 where none does."""
    found = [-1]
    for said, _ in absent(folded) if any(it.amends for it in segments) else ():
        at = folded.find(said)
        told = any(it.amends and it.at <= at + len(said) and at < it.end for it in segments)
        found += [at] if told and not NEW_SAMPLE.search(said) else []
    return max(found)


@lru_cache(maxsize=4)
def names_no_core(folded: str) -> bool:
    """Whether a report names an aspirate and the like, or wishes for a core, and names none."""
    rest = folded
    for said in _sentences(folded):
        if not _WISHES.search(said) or _READ.search(said):
            break
        rest = rest.replace(said, "")
    named = "biops" in rest or _CORE.search(rest)
    return not named and (rest != folded or OTHER.search(folded) is not None)


def is_of_a_core(claim: Claim, folded: str) -> bool:
    """Whether a claim names a core that is there: itself, or by a heading with no such sentence."""
    if claim.material != "core":
        return False
    own, head = claim.segment.text[: claim.figure.end], claim.segment.heading
    head = "" if core_ticked(folded) is False else head  # "Core [ ]", with "Clot [x]" below it
    for said, _ in absent(folded):
        own = own.replace(said, "")
        head = "" if head and (head in said or said in head) else head
    return "B" in classes_in(own) or ("B" in classes_in(head) and not names_no_core(folded))
