"""Shares of cells and fat, "30% cells, 70% fat"; figures without a sign or a noun of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from ingest.labels.languages import HIGH_ENDS, LOW_ENDS, is_left_over
from ingest.labels.tokens import Sentence

# f is the figure of the cells, g that of the fat
_SHARES: dict[str, re.Pattern[str]] = {
    # "cell to fat ratio 60:40"
    "cells to fat": re.compile(
        r"(?:[CAK]|(?<!x)L|L(?!j))[LCG]?(?:\([^()FN]*\))?[:/pj,k]*fG?L?T?[vpIdqnzMBG:()T,]*(?P<f>[NF])[:/p](?P<g>[NF])"
    ),
    # "fat and hematopoietic tissue stand in a proportion of 60:40"
    "fat and cells G:F": re.compile(
        r"fG?j[dq]*K[LGM]*[vx]?[Ipdq]*T?[pq]*(?P<g>[NF])[:/](?P<f>[NF])"
    ),
    # "haemopoiesis 50 : fat 50"
    "cells F, fat G": re.compile(r"[KLA][LMG]*[q:v]*(?P<f>N)[:/][dq]*f[GLM]*[q:v]*(?P<g>N)"),
    "fat G, cells F": re.compile(r"f[GLM]*[q:v]*(?P<g>N)[:/][dq]*[KLA][LMG]*[q:v]*(?P<f>N)"),
    # "a 3:1 ratio of cells to fat"
    "F:G cells to fat": re.compile(
        r"(?P<f>[NF])[:/p](?P<g>[NF])(?:T?[dqp]*|,)[LAK][LMG]*[:/pj]d?f"
    ),
    # "40% hematopoiesis, the rest fat"
    "cells, the rest fat": re.compile(
        r"(?P<f>F)q*G?[KL][MG]*(?:[pI]d*[MB]+)?[,j(;][dqpj]*t[qpdv]*f"
    ),
    # "fat to cell ratio 40:60"
    "fat to cells": re.compile(r"fT?[:/pj,]*[LCAK][LG]?T?[vpdq:(TM]*(?P<g>[NF])[:/p](?P<f>[NF])"),
}
# "30% hematopoietic cells", "70% of the space filled by fat"; "fat is 70%", "tissue at about 30%"
_RIGHT = re.compile(r"F(?:p[doh]*M+v?)?z?[dqhM]*G?([fKL])")
_LEFT = re.compile(r"([fK]|(?<!x)L)[MLG]*[vqd:pR]*(?:pd*M+)?$")
# "cellular areas 40% and fat 60%", "marrow and plasma cells together the remaining 40%"
_CELLULAR = re.compile("(?:A[MGt]*|K[GLM]*j(?!f)x?L)[vqdo:p]*$")
# "marrow space occupied by hematopoiesis, estimate: 85%"
_FILLED = re.compile(r"M[MB]*v[zp][dq]*[KL][,vqdp]*:q*(?P<f>F)")

_OF_THEM = re.compile(";p[dq]*[KL]")  # "80% cellular, 20% fat; of the cells 60% are erythroid"
SHARE = re.compile(r"F[q]*p[dohqnM]*(?:C|(?<!M)A)")  # "60% of the total cellularity"
OWNED = re.compile(r"F[^.,;()|FNACwjz]*[xLf]")  # "..., of which 20% is lymphoma"
# "40% blasts", not "40 % de la surface osseuse", "sind 40 % der Fläche blutbildend"
NOUN = re.compile(r"(?!qdxM|dM+K[.;,)j])[hRqtMd]*[xLfK]+")
# "Cellularity (%): 40", "Cellularity, percent: 40", "Cellularity | 40 | %"
_N = re.compile(
    r"C(?P<key>v?[MBRGSopqydnebrI,%()/]*(?::q[gh]?\([q%]+\)|:[vn],?%?(?=:))?)(?P<to>[:v|u]*)q*(?P<f>N)(?P<after>\|?%?)(?!/(?![ef][NF])|[:A-Za-pr-z])"
)
# "Percent hematopoietic: 25", "Hematopoietic tissue (% of marrow area)....80"
_OF_CELLS = re.compile(
    r"^[dqB]*(?:%[dq]*K[GLM]*|K[GLM]*[,(]?%(?:p[dqhM]+)?\)?):(?P<f>N)(?=[.;,]?$)"
)
# "Cellularity (%): aspirate 80, clot 70, core 50", "percent cellularity -- clot 60; core 50"
_LISTED = re.compile(r"C[MBGRSopqyde,(I%]*\)?(?:(?<=%)|::?)(?=q*[SBR])")
_OF_EACH = re.compile(r"[SBRo][SBMGRpd(]*[:)]*(?=N(?:[.,;j)(SB]|$))")
_OTHER_SIDE = re.compile("[,j][dG]*R[pwv]*")  # "rechts mit 40, links mit 60 %"
_LEADING = re.compile(
    r"(?!M+:)(?:qRq|R\))?(?:;(?=[dMG]*[BR])|[/j,MBRGSdvu:bnoky]|p(?!F)|pF)*p?"
)  # not "60% marrow: 85%"
# "Left: 30%", "It is 40% on the left.": before and behind a figure without a noun of its own
# "and allowing for depth, overall about 35%"
_ALONE = re.compile(
    r"[^xLfiKNTXCAHt]*v[qpdohnvg:(]*|[^xLfiKNTXCAHtv]*[^xLfiKNTXCAHtvGI]|[^FLfKNTXCAHt]*,d?o[qdv:]*|"
)
_LEFT_ALONE = re.compile(
    r"[q)]*(?:[pI]d*[RB][MBG]*)?[)]?(?:[.;]|,?[wi]|[,(j][^xLfiKTM.;]*(?:[.;]|$)|$)"
)
# "the area (25%) is cellular marrow"
_IS_CELLULAR = re.compile(r"[MB]\((?P<f>F)\)v[qdh]*[AK](?![xfL])")
# "spaces are packed with cells (85% of the area)", "cells pack the spaces (85% of the area)"
_FULL = re.compile(
    r"(?:[MB][MGB]*v+q*[wp][dq]*L|(?:^|[.,;:])d?Lv[dq]*[MB][MGB]*)\(q*(?P<f>F)[pI][dqh]*[MBG]+[).,]"
)
_IS_GIVEN = re.compile(r"v[vqhpI]*[.;]")  # "An average of 65% is given."
PAIR = re.compile(r"[RBS]/[RBS]")  # "R/L: 40/60%", but not "<30% / 30-70%": choices of a form


def _beside_fat(s: str, sentence: Sentence) -> Iterator[int]:
    """The place of each figure of cells next to a figure of fat: "70% fat, leaving 30% cells"."""
    places = [at for at, letter in enumerate(s) if letter == "F"]
    for pair in pairwise(places):
        owners = [_owner(s, at) for at in pair]
        whole = sum(sentence.figures[at].value for at in pair) == 100
        if "f" not in owners or "." in s[slice(*pair)] or _OF_THEM.search(s, *pair):
            continue
        if not whole and any(is_left_over(word) for word in sentence.words):
            continue  # "lymphoma 70%, residual hematopoiesis 20%, fat 10%"
        other = pair[1 - owners.index("f")]
        if {*owners} & set("KL") or (whole and _CELLULAR.search(s, 0, other)):
            yield other


def _owner(s: str, at: int) -> str:
    """Fat (f) or cells (K, L), where a figure is of them."""
    right = _RIGHT.match(s, at)
    left = _LEFT.search(s, 0, at)
    return right[1] if right else left[1] if left else ""


def shares_in(s: str, sentence: Sentence) -> Iterator[tuple[int, str, int]]:
    """The place of each figure of cells, what ties it, and that of the fat's of a ratio, or -1."""
    for at in _beside_fat(s, sentence) if s.count("F") > 1 and "f" in s else ():
        yield at, "cells beside fat", -1
    for name, pattern in _SHARES.items() if "f" in s else ():
        for match in pattern.finditer(s):
            yield match.start("f"), name, match.start("g") if match.groupdict().get("g") else -1
    for match in _FILLED.finditer(s) if "K" in s else ():
        yield match.start("f"), "space filled by cells", -1
    for match in _IS_CELLULAR.finditer(s) if "(F)v" in s else ():
        yield match.start("f"), "F of the space is cellular", -1
    for match in _FULL.finditer(s) if "L" in s and "(" in s else ():
        yield match.start("f"), "space filled by cells", -1


def unsigned_in(sentence: Sentence, s: str, keys: set[int]) -> Iterator[int]:
    """The place of each figure without a sign that a key of the cellularity has."""
    for match in _N.finditer(s):
        if (
            match.start() in keys
            and _is_percent(sentence, match)
            and not NOUN.match(s, match.start("f") + 1)
        ):
            yield match.start("f")
    for match in _OF_CELLS.finditer(s) if "K" in s else ():
        yield match.start("f")
    for key in _LISTED.finditer(s):
        end = re.search("[xLfK]|$", s[key.end() :])  # of the list
        last = key.end() + end.start() if end else len(s)
        each = [item.end() for item in _OF_EACH.finditer(s, key.end(), last)]
        if all(sentence.figures[at].low >= 5 for at in each):  # no grades
            yield from each


def _is_percent(sentence: Sentence, match: re.Match[str]) -> bool:
    """Whether a figure without a sign is one in percent: the key or the next cell has the sign."""
    figure = sentence.figures[match.start("f")]
    between = sentence.words[match.start() : match.start("f")]
    boxed = "X" in sentence.classes and not {"%", "F"}.isdisjoint(sentence.classes)
    told = {"percent", "percentage", *LOW_ENDS, *HIGH_ENDS} & set(between)
    if boxed or "%" in match["key"] + match["after"] or told:
        return True
    ends = re.match(r"N(?:[.,;()j/]|$)", match.string[match.start("f") :])
    return bool(match["to"] or ends) and figure.low >= 5 and figure.parts[0] == int(figure.parts[0])


def list_back(s: str, ties: dict[int, str], free: list[int]) -> None:
    """Tie the figures before one that is tied: "two cores, 40% and 60% cellular"."""
    back: set[int] = set()  # "30, 40 and 50% cellular"
    for b, a in pairwise(free[::-1]):
        between = s[a + 1 : b]
        paired = between != "/" or PAIR.search(s, 0, a)
        first = b in back or (s[b] == "F" and ties.get(b, "listed") != "listed")
        sided = s[a] == "N" and _OTHER_SIDE.fullmatch(between) is not None
        joined = paired and first and (sided or _LEADING.fullmatch(between))
        alone = a not in ties and s[a - 1 : a] not in ("x", "f", "L")
        if alone and joined and (s[a] == "F" or sided or between in ("/", ",", "j")):
            ties[a] = "listed"
            back.add(a)


def stands_alone(sentence: Sentence, s: str, at: int) -> bool:
    """Whether a figure of a sentence without a noun is said of what the one before was on."""
    ends = _LEFT_ALONE.match(s, at + 1)
    # "Overall, I would call it 65%, taking the size of the cores into account"
    taken = ends is not None or (
        "o" in s[:at]
        and "F" not in s[at + 1 :]
        and (s[at + 1 : at + 3] == ",v" or _IS_GIVEN.match(s, at + 1) is not None)
    )
    return taken and _ALONE.fullmatch(s, 0, at) is not None
