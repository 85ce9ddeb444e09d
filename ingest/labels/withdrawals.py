"""What an addendum denies or undoes of the figure that it names, or calls another sample.

It is told by its construction: a figure as the subject of what cannot be, of what is no longer or
not able to be, or of a deed that is not known; a core that is said to be a clot.
"""

from __future__ import annotations

import re

from ingest.labels.figures import find_figures
from ingest.labels.languages import VOID
from ingest.labels.tokens import class_of, encode

# what an addendum denies or undoes: "the cellularity of 45% cannot be upheld"
_FIGURE = (
    r"(?:[cz]ellulari|zellgehalt|richesse|figure|value|estimat|percentage|reading|wert|angabe"
    r"|schätzung|chiffre|valeur)[^\W\d_]*"
)
_NOT = r"(?:not|never|nicht|kein[^\W\d_]*|non|pas|plus)"
_ABLE = r"(?:[^\W\d_]+ ){0,2}?(?!compar|vergleich)[^\W\d_]+(?:able|ible|bar)s?\b"
_UNDONE = re.compile(
    rf"\b{_FIGURE}(?P<of>[^.;:]{{0,60}}?)[ ,)]+(?:(?:cannot|can {_NOT}|could {_NOT}) be"
    r"|(?:ne peut|ne saurait)(?: plus)? être"
    r"|kann(?: [^\W\d_]+){0,2} nicht\b(?=[^.;]* werden)"
    r"|(?<!, )(?:can )?no longer|[^\W\d_]+ nicht mehr|(?:ne|n'est)(?: [^\W\d_]+)? plus"
    rf"|(?:[^\W\d_']+ )?{_NOT} {_ABLE}|n'est pas {_ABLE}"
    r"|(?:does|do|did) not (?:hold|stand|apply)"
    r"|(?:[^\W\d_]+ )?nicht(?: mehr)? (?:zu )?[^\W\d_]+e[nt]\b"
    r"|(?P<is>is|was|has been|is to be|must be|wird|wurde|ist|est|a été)(?: hereby| hiermit)?"
    r" (?P<done>[^\W\d_]+)(?= ?[.,;()]|$))(?=(?P<behind>[^.;]*))"
)
# "ne pas tenir compte de la cellularité de 30 %", "annulation de la cellularité"
_UNDO = re.compile(
    rf"(?:(?:^|[.:;] )\W*(?:please |bitte )?(?:do not|don't|never|ne (?:pas|plus)|{VOID})"
    rf"|\bannulation)(?= )[^.;:%]{{0,50}} {_FIGURE}[^.;,:%]{{0,20}}%"
)
# ... but not "is not changed", "is confirmed"
_KEPT = r"chang|affect|alter|modif|änder|influenc|doubt|disput|question|exceed|repeat"
_HOLDS = re.compile(
    rf"{_KEPT}|confirm|correct|valid|maint|upheld|bestät|korrekt|richtig|justif|exact|reproduc"
)
_KEEPS = re.compile(_KEPT)
# "what was labelled core biopsy proved to be the clot"
_IS = re.compile(
    r"\b(?:is|are|was|were|represents?|belongs?|prove[sd]?|turned|corresponds?|ist|sind|handelt"
    r"|entspr[^\W\d_]+|est|sont|correspond|s'agit)(?= )"
)
_TO = re.compile(r" (?:to|out|zu|um|à|de|sich|be)(?= )| d'")
_AS_OTHER = re.compile(
    r"[vdqMRGohnE]*(?:(?:In|pv)[vdq]*)?[qo]*(?:G+pd*)?x?S[SGM]*(?![BFCA])(?!j[dM]*B)"
)


def undone_at(said: str) -> int:
    """Where an addendum denies the figure that it names, or its core; -1 where it does not."""
    found = [-1]
    for met in _UNDONE.finditer(said):
        of, done = encode(met["of"], find_figures(met["of"])).classes, met["done"]
        behind = met["behind"].partition("(")[0]
        own = not set(of) & set("xLfKSijCt") and "%" not in behind
        gone = not done or (class_of(done) == "x" and not _HOLDS.search(done))
        if own and gone and not _KEEPS.search(said[met.end("of") : met.end()] + behind):
            found.append(met.end())
    for undo in _UNDO.finditer(said):
        found += [] if _KEEPS.search(undo[0]) else [undo.end()]
    found += [met.start() for met in _IS.finditer(said) if _is_relabelled(said, met)]
    return max(found)


def _is_relabelled(said: str, verb: re.Match[str]) -> bool:
    """Whether a verb says that what is named as a core is another sample."""
    before = re.split(r"[.;]\s|\n", said[: verb.start()])[-1]
    subject, rest = (
        encode(words, find_figures(words)).classes
        for words in (before, _TO.sub(" ", said[verb.end() :][:80]))
    )
    return "B" in subject and "S" not in subject and _AS_OTHER.match(rest) is not None
