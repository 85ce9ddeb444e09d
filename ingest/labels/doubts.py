"""Whether a figure is in doubt: untied but perhaps meant, tied but a norm, a share or a spread."""

from __future__ import annotations

import re
from collections.abc import Container

from ingest.labels.figures import Figure
from ingest.labels.languages import words_of
from ingest.labels.shares import OWNED, SHARE

# "cellularity 50%, with aggregates of mast cells, in all 10% of the marrow"
_WITH_NOUN = re.compile(r"F[.,]?w[^FN.;C]*[xLf][^FN.;C]*$")
_SHARE_KEY = re.compile(r"(?<=[^.;:|])%[dohqnM]*p[dohqnM]*C")  # "Plasma cells, % of cellularity"
_EXACTLY = words_of("exactly precisely accurately exact precise genauer genau précisément")
OF = words_of("of von der des de du")
_COMPARES = OF | words_of(
    """above below over under beyond more less higher lower über unter mehr weniger plus moins
    dessus dessous"""
)
_BOXED = re.compile(r"F[AC]?M*\([qvpdu]*$")
_DIFFERS = re.compile(r"\b(?:differ|disagree|deviat)")
CHANGES = words_of("less more lower higher fewer weniger mehr moins plus")
_CHANGED = re.compile("dimin|augment|baiss|rédui|accru")  # "diminuée de 30 %"
_PLACES = words_of("in im on over an auf sur dans")


def may_be(s: str, words: list[str], at: int) -> bool:
    """Whether a figure that nothing ties may still be meant as the cellularity of its clause."""
    if "C" not in s:
        return False
    clause = re.split(r"[;.|]", s[:at])[-1] + s[at:]
    clause = re.split(r"[;.|]", clause)[0]
    if "C" not in _SHARE_KEY.sub("", clause) or SHARE.match(s, at) or OWNED.match(s, at):
        return False
    if _WITH_NOUN.search(re.sub(r"\([^()]*\)", "", s[:at])):
        return False
    if words[at - 1] == "by" and _DIFFERS.search(" ".join(words[max(0, at - 5) : at])):
        return False  # "two readers differ by 10% in cellularity"
    before = s[:at].rstrip("(:vpqdIt")
    nouns = ("x", "L", "f", "K")
    return s[at + 1 : at + 2] not in nouns and before[-1:] not in nouns


def is_free(s: str, at: int, figure: Figure) -> bool:
    """Whether no noun owns a figure, and no word on another time or a norm stands by it."""
    clause = re.split(r"[;.|]", s[:at])[-1]
    if OWNED.match(s, at) or re.search(r"[xLfKebcr][:vpIwdqhtMBRG(,]*$", clause):
        return False
    return s[at] == "F" or (figure.low >= 5 and re.search(r"C[^xLfKF]*$", clause) is not None)


def is_doubted(words: list[str], figure: Figure, s: str, head: int, at: int) -> bool:
    """Whether a bound is a legend or in doubt: ">70% is increased", "above 80%, not assessable"."""
    wide = figure.high - figure.low >= 20  # as a norm is: "normal for age (30-50%)"
    aged = s[at - 2 : at] == "y(" and not words[at - 2]  # "normal for age 45 (45-65%)"
    ranged = s[at - 1 : at] == "(" and figure.low < figure.high
    if ranged and (wide or aged) and _is_normal(words, s, head, at):
        return True
    if figure.qualifier not in ("<", ">"):
        return False
    ends = (i for i in range(at, len(s)) if s[i] in ".;w" or words[i] in ("and", "und", "et"))
    clause = s[at : next(ends, len(s))]
    before = s[max(s.rfind(mark, 0, at) for mark in ".;,") + 1 : at]
    exact = _EXACTLY.isdisjoint(words[at:])  # "at least 30%, but cannot be judged more exactly"
    return bool(re.match(r"F[v:][q:v]*[hHg]", clause)) or (exact and "i" in before + clause)


def _is_normal(words: list[str], s: str, head: int, at: int) -> bool:
    """Whether the cellularity is said to be as it is at this age."""
    begin = max(0, head - 2)
    normal = any(word.startswith(("normo", "normal", "appropriate")) for word in words[begin:at])
    return "y" in s[begin:head] or (normal and "y" in s[head:at])


def is_difference(s: str, words: list[str], head: str, at: int) -> bool:
    """Whether a figure says by how much something changed, or in how much of it something is."""
    before = words[max(0, at - 2) : at]
    changed = {s[at - 2 : at - 1], s[at + 1 : at + 2]} & {"g", "h"}  # "um 40 % vermindert"
    by = before[-1:] == ["by"] or (before[-1:] == ["um"] and bool(changed))
    by = by or (s[at - 1 : at] == "g" and s[at + 1 : at + 2] in tuple("uk"))
    by = by or (s[at - 1] == "I" and head in ("H", "A"))  # "acellular in 60%"
    return by or (before[-1:] == ["de"] and _CHANGED.match(before[0]) is not None)


def is_relative(s: str, words: list[str], figures: dict[int, Figure], at: int) -> bool:
    """Whether a figure is a difference or a share of another: "20% above normal"."""
    behind = s[at + 1 :]
    place = words[len(s[:at].rstrip("q")) - 1] if at else ""
    place = "" if place == "an" and words[at - 1] != "an" else place  # "an estimated 40%"
    if place in _PLACES and OF & set(words[at + 1 : at + 2]):
        return True  # "cellularity is assessed on 40% of the section"
    alone = figures[at].low == figures[at].high
    if re.match(r"q?hq?k|k[eh]", behind) or (place == "within" and alone):
        return True  # "agreement on the cellularity within 10%"
    if behind[:2] == ",F" and figures[at].parts == figures[at + 2].parts:
        return is_relative(s, words, figures, at + 2)  # "reduced to half, 50% of normal"
    if words[at + 1 : at + 2] and words[at + 1] in CHANGES:
        return True  # "the right one measures 10% less"
    standard = re.match(r"([qhp])[dn]*(?:[hebk]|q[dn]*[hebk])", behind.replace("px", "p", 1))
    return standard is not None and bool(_COMPARES & set(words[at + 1 : at + 3]))


def is_spread(s: str, ties: Container[int], figures: dict[int, Figure], at: int) -> bool:
    """Whether a range in brackets stands behind a tied figure: "40% (20-60%)", "(range 5-95%)"."""
    boxed = _BOXED.search(s, 0, at)
    if not boxed or boxed.start() not in ties or s[at + 1 : at + 2] != ")":
        return False
    return figures[at].low < figures[at].high and figures[at].qualifier is None
