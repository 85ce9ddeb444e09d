"""The grammar that ties a figure to the cellularity: an allowlist of short named patterns.

A sentence becomes a string of one letter a word (`languages.CLASSES`; F is a figure with its sign,
N one without, C cellularity, A cellular, H hypercellular, x a word that is not known), and each tie
is a short pattern over it in which no x stands. An unknown word owns the figures beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from ingest.labels.figures import Figure
from ingest.labels.languages import CORRECTIONS, GENERAL, WORDS

# a ticked box, an empty one, an arrow, a date or an accession number, a word, anything else
_TOKEN = re.compile(
    r"(?P<F>\ue000)|(?P<N>\ue001)|(?P<X>[\[(] ?[x✓*] ?[\])]|[☒☑✓])"
    r"|(?P<O>\[[ _]*\]|\( \)|[☐□]|(?<!\w)_+(?!\w))"
    r"|(?P<arrow>[-=]+>|→)|(?P<date>(?:19|20)\d\d\b|[a-z]{1,4}+\d\d-\d+|\d\d?[/.]\d\d?[/.]\d{2,4}|\d\d?/20\d\d)"
    r"|(?P<word>[^\W\d_]+(?:'[^\W\d_]+)?(?:-\s?(?=[^\W\d_]))?)|(?P<dots>\.{2,})|(?P<rest>\d+|[^\s\w])"
)
# "cellularity", "celluarity", "cellu-", "Zellularität"
_C = re.compile(r"(?:c|z)el+u?l?[a-z-]*(?:ity|ty|tät|té|tat)$|zellgehalt$|zelldichte$|celularity$")
_A = re.compile(r"(?:cel{1,2}ul{0,2}a?r|celular|cell|zellulär|cellulaire)$")
_H = re.compile(r"(?:hyper|hypo|normo|pauci|iso|a)-?(?:cel|zel)[a-zäéè]*$")
_UNIT = re.compile(
    r" *-? ?(?:mm|cm|m|years?|yrs?|y(?:/?o)?|months?|weeks?|days?|hours?|h|g|mg|ml|x|hpf)\b"
)
# stems of what marks a correction: "Korrektur", "rectificatif", "supplementary", "erratum"
_CORRECTS = re.compile("|".join(CORRECTIONS))
_NOUNS = {word for word, letter in WORDS.items() if letter in "MBRGSoy"}  # begin a compound
_PREFIX = ("hyper", "hypo", "normo", "pauci")
_MARKS = {"(": "(", "[": "(", ")": ")", "]": ")", ",": ",", ";": ";", ":": ":", "=": ":", "/": "/",
          "|": "|", ".": ".", "%": "%", "-": ":", "?": "?", '"': "q", "'": "q", "*": "q", "+": "x",
          "~": "q", "<": "q", ">": "q", "_": "q"}  # fmt: skip

_SITE, _ROLE = "MBRGS", "ebcratokny"
_SMALL = f"dvpqhgz{_SITE}{_ROLE}E"
_TIES: dict[str, re.Pattern[str]] = {
    # "Cellularity of the core is estimated at 40%", "Cellularity: normal (40%)"
    "cellularity is F": re.compile(
        rf"C(?:[{_SMALL}uw,:(%)|/FX]|I(?!F)|j(?=d?[MBGSRoh])|N[/,j])*?(?P<f>F)"
    ),
    # "Cellularity (%): 40", "Cellularity, percent: 40", "Cellularity | 40 | %"
    "cellularity: N": re.compile(
        rf"C(?:[{_SITE}opqy,]|\([{_SITE}dq]+\))*[,(]?(?P<sign>%?)\)?(?P<to>[:v|]*)q?"
        r"(?P<f>N)(?P<after>\|?%?)(?![/:\w])"
    ),
    # "40% cellular", "45% overall marrow cellularity"
    "F cellular": re.compile(r"(?P<f>F):?[qohM]*[MBo]*q*(?:A|C)"),
    # "hypercellular for age (80%)", "hypocellular at 10%"
    "hypercellular (F)": re.compile(
        rf"H(?:[{_SITE}{_ROLE}qdhvE,:(|X]|p|I(?!F))*?(?P<f>F)(?=[.,;:()|jwpku?nehbotR/]|$)"
    ),
    # "The marrow is cellular (60%)", "variably cellular, from 10% to 60%"
    "cellular (F)": re.compile(r"A(?:[MBGpyqhd]*[(,:u]u?|p)(?P<f>F)(?=[.,;:)(|j?n/]|$)"),
    # "at least 90% of the marrow space is cellular / is occupied by hematopoietic cells"
    "F of the space is cellular": re.compile(r"(?P<f>F)p[dqhonM]*[MB][MGB]*[vpzdqhIw]*[AK]"),
    # "hematopoietic tissue occupies 40% of the marrow space"
    "blood-forming cells fill F": re.compile(
        r"(?:K|A(?=L))[MLG]*[vpqdotnz]*[vq][vpqdotnz]*(?P<f>F)(?=[pI]?[dqhnM]*[MB]|[.,;)]|$)"
    ),
    # "the spaces are filled to 20% by hematopoiesis"
    "the space is F of cells": re.compile(r"[MB][MG]*v[vpqd]*(?P<f>F)[pz][dq]*K"),
    # "30% hematopoietic cells and 70% fat"
    "F cells and F fat": re.compile(r"(?P<f>F)[dq]*[KL][MLG]*[,j/;:(v]*[dv]*Fp?[dq]*f"),
    # "70% fat and 30% hematopoietic cells"
    "F fat and F cells": re.compile(r"Fp?[dq]*f[,j/;:(v]*[dv]*(?P<f>F)p?[dq]*[KL]"),
    # "hematopoietic cells 30%, fat 70%"
    "cells F, fat F": re.compile(r"[KL][MLG]*[v:p]*(?P<f>F)[,j/;]*f[v:p]*F"),
    # "fat 70%, hematopoietic cells 30%"
    "fat F, cells F": re.compile(r"f[MLG]*[v:p]*F[,j/;]*[KL][MLG]*[v:p]*(?P<f>F)"),
    # "cell to fat ratio 60:40", "cells : fat = 65 : 35"
    "cells to fat": re.compile(r"[LCAK][LC]?[:/pj,]*fT?[vpIdqMBG:(T]*(?P<f>[NF])[:/p](?P<g>[NF])"),
    # "fat to cell ratio 40:60"
    "fat to cells": re.compile(r"fT?[:/pj,]*[LCAK]T?[vpdq:(T]*(?P<g>[NF])[:/p](?P<f>[NF])"),
}
_SHARE = re.compile(r"F[q]*p[dohqnM]*[CA]")  # "60% of the total cellularity"
_LISTED = re.compile(
    r"[ACH]?(?:[,/j;:(MBRGSdvbnoukyqhgEecat)]|p(?!F)|I(?!F)|pF)*(?:pd?q*)?"
)  # between a figure that is tied and the next
# "hypercellular bone marrow for age", "increased in the core": what an adjective is said of
_OWN_NOUN = [re.compile(rf"^{noun}(?:[pI][dqoy]*[MBRGSqy]*)*") for noun in ("", "[qdyo]*[MBRGS]*")]
_ADJECTIVE = re.compile(r"[Hhg]")
_BEHIND = re.compile(r"F[dqRh]*[MGt]|Fh+q")  # "hypercellular, 70% nodules"
_OWNED = re.compile(r"F[^.,;()|FNACwj]*[xLf]")  # "..., of which 20% is lymphoma"
_LEADING = re.compile(r"(?:[/j,MBRGSdvu:bnoky]|p(?!F)|pF)*p?")
PAIR = re.compile(r"[RBS]/[RBS]")  # "R/L: 40/60%", but not "<30% / 30-70%": choices of a form
_VERB = re.compile(
    r"(?:^|[.;:,])(?:[MBGRdqx]{0,4}x|[nd]*B[MG]*v[^.;:,F]{0,6}w)d[qo]*$"
)  # "we assess the cellularity as 40%"
FROM, _TO = ("from", "von", "de"), ("to", "auf", "zu", "à")
BOXES = re.compile(r"[XO]")
BREAKS = ".;"
KEYS = set("CAHKLf")
ODD = set("xLfiKN")
_SKIP = set("vqpodngheybutwMBRGSrzaIECH:%k")


@dataclass(slots=True)
class Sentence:
    """A segment as a string of classes, with the figure or the word behind each letter."""

    classes: str
    words: list[str]
    figures: dict[int, Figure]  # by index into classes


def encode(text: str, figures: list[Figure]) -> Sentence:
    """A folded sentence as a string of classes."""
    masked = list(text)
    for figure in figures:
        masked[figure.start : figure.end] = " " * (figure.end - figure.start)
        masked[figure.start] = "\ue000" if figure.signed else "\ue001"
    classes: list[str] = []
    words: list[str] = []
    places: dict[int, Figure] = {}
    by_start = {figure.start: figure for figure in figures}
    plain = "".join(masked)
    for token in _TOKEN.finditer(plain):
        kind, word = token.lastgroup or "rest", token[0]
        if kind == "N":
            letter, word = _bare(by_start[token.start()], plain, token.end(), classes)
        else:
            behind = plain[token.end() : token.end() + 4]
            letter = _in_place(_class(kind, word), word, classes, words, behind)
            if letter == "A" and words[-1:] == ["densité"]:
                classes[-1] = "C"
        if word == "#" or (letter == "A" and classes[-1:] == ["C"]):
            continue
        if letter == "A" and words and words[-1].rstrip("-") in _PREFIX:
            classes[-1] = "H"
            continue
        if letter in ("F", "N"):
            places[len(classes)] = by_start[token.start()]
        classes.append(letter)
        words.append(word)
    return Sentence("".join(classes), words, places)


def _bare(figure: Figure, plain: str, end: int, classes: list[str]) -> tuple[str, str]:
    """The class of a figure without a sign: an age, a length or the number of a core is none."""
    if classes[-1:] == ["y"] or _UNIT.match(plain, end):
        return "y", ""
    if classes[-1:] and classes[-1] in "BG" and figure.high < 5:
        return "R", str(int(figure.high))  # "core 2"
    return "N", ""


def _in_place(letter: str, word: str, classes: list[str], words: list[str], behind: str) -> str:
    """The class of a word beside the words before it."""
    previous = words[-1] if words else ""
    if letter == "b" and previous.rstrip("-") in ("post", "after", "following", "nach", "après"):
        return "q"
    if letter == "x" and {"including", "incl"} & set(words[-3:]):
        return "q"
    if letter == "b" and "E" in classes[-2:] and word[:1].isdigit():
        return "q"  # the day of a correction
    if previous in ("this", "these") and (letter in "MBG" or word == "report"):
        classes[-1] = "n"
        return "n" if word == "report" else letter
    if word == "error" and behind.strip()[:1] == ":":
        return "E"
    if word in ("figure", "value", "percentage") and "E" in classes:
        return "C"  # "correction: the figure should read 40%"
    if word == "x" and "O" in classes and behind.strip(" ")[:1] in ("\ue000", "\ue001"):
        return "X"  # "_ <30%  X 40-60%": boxes drawn with letters
    if (
        word == "a"
        and classes[-1:] == ["B"]
        and (behind.strip()[:1] in (":", "(", ",", "\ue000", "\ue001") or behind == " is ")
    ):
        return "R"  # "core A: ..."
    if word == "cell" and classes[-1:] == ["F"]:
        return "A"
    return "b" if word == "may" and classes[-1:] in (["p"], ["I"]) else letter


@lru_cache(maxsize=16_384)
def _class(kind: str, word: str) -> str:
    if kind in ("F", "N", "X", "O"):
        return kind
    if kind == "arrow":
        return "u"
    if kind == "date":
        return "b"
    if kind == "dots":
        return ":"
    if kind == "rest":
        return _MARKS.get(word, "x")
    return class_of(word.rstrip("- \n").removesuffix("'s"))


@lru_cache(maxsize=16_384)
def class_of(word: str) -> str:
    """The class of a word by itself, x where it is not known."""
    met = WORDS.get(word) or (WORDS.get(word[2:]) if word[1:2] == "'" else None)
    if met:
        return met
    if _CORRECTS.match(word):
        return "E"
    form = _form(word)
    if form:
        return form
    if word.endswith("ly") or word in GENERAL:
        return "q"
    if word[:3] in ("cel", "zel"):
        return "C" if _C.match(word) else "A" if _A.match(word) else "x"
    if _H.match(word):
        return "H"
    return "x"


@lru_cache(maxsize=8192)
def _form(word: str) -> str:
    """The class of a form of a known word: "demonstrating", "aktuellen", "Markzellularität"."""
    for ending in ("ing", "ed", "s"):
        stem = word.removesuffix(ending)
        if stem + "s" == word and WORDS.get(stem, "x") in "MBGS":
            return WORDS[stem]
        if stem != word and "v" in (WORDS.get(stem + more) for more in ("", "e", "s")):
            return "v"
    for ending in ("e", "en", "er", "es", "em"):
        adjective = WORDS.get(word.removesuffix(ending), "x") if word.endswith(ending) else "x"
        if adjective in "qnbheo" and len(word) > 5:
            return adjective
    for n in range(3, len(word) - 3):
        head, tail = word[:n].rstrip("s"), word[n:]
        last = WORDS.get(tail) or ("C" if _C.match(tail) else "")
        if last and last in "BGCe" and (head == "vor" or {head, head + "e"} & _NOUNS):
            return "b" if head == "vor" else last
    return ""


def tied(sentence: Sentence, s: str) -> tuple[dict[int, str], set[int], dict[int, int]]:
    """The tie of each figure, those tied by an unknown subject, and the fat's of a ratio."""
    ties: dict[int, str] = {}
    odd: set[int] = set()
    ratio: dict[int, int] = {}
    for name, pattern in _TIES.items():
        for match in pattern.finditer(s):
            begin, at = match.start(), match.start("f")
            if name == "cellularity: N" and not _is_percent(sentence, match):
                continue
            if name == "cellularity is F" and _is_share(s, begin):
                continue
            if "F" in s[begin + 1 : at] and name == "cellularity is F" and _OWNED.match(s, at):
                continue  # "60% cellularity, of which half is lymphoma"
            if _has_owner(sentence, s, begin, at, covered=s[begin] in "FLKf"):
                continue
            if match.groupdict().get("g"):
                ratio[at] = match.start("g")
            if (
                _is_foreign(sentence, s, begin, at, match.end())
                or _is_extent(s, begin, at)
                or _is_doubted(sentence, s, begin, at)
            ):
                odd.add(at)
            else:
                ties.setdefault(at, name)
    _list_on(s, sentence, ties, odd)
    return ties, odd, ratio


def ticked(s: str) -> str:
    """Leave only figures behind a ticked box: "[ ] <10% [x] 10-30%"."""
    first = BOXES.search(s)
    if first is None:
        return s
    kept = list(s[: first.start()])
    on = False
    for letter in s[first.start() :]:
        if letter in "XO":
            on = letter == "X"
        kept.append(("q" if letter in "XO" else letter) if on else "q")
    return "".join(kept)


def _is_percent(sentence: Sentence, match: re.Match[str]) -> bool:
    """Whether a figure without a sign is one in percent: the key or the next cell has the sign."""
    figure = sentence.figures[match.start("f")]
    between = sentence.words[match.start() : match.start("f")]
    if match["sign"] or "%" in match["after"] or {"percent", "percentage"} & set(between):
        return True
    ends = re.match(r"N(?:[.,;)j]|$)", match.string[match.start("f") :])
    return bool(match["to"] or ends) and figure.low >= 5 and figure.parts[0] == int(figure.parts[0])


def _is_share(s: str, at: int) -> bool:
    """Whether the word on cellularity at `at` is what another figure is a share of."""
    if re.search(r"(?:^|[.,;:(])p[do]*$", s[max(0, at - 4) : at]):  # "Of the cellularity 40% are"
        return at < 4 or s[at - 1] != ":"
    return any(m.end() - 1 == at for m in _SHARE.finditer(s, max(0, at - 12), at + 1))


def _has_owner(sentence: Sentence, s: str, begin: int, at: int, covered: bool = False) -> bool:
    """Whether the words behind a figure own it: "22% of cases", "by 30%", "40% of the core"."""
    if sentence.words[at - 1 : at] == ["by"]:
        return True
    if re.match(r"[hq]{1,2}k", s[at + 1 :]):  # "20% lower than before"
        return True
    if s[begin] == "H" and re.match(r"[pI][dqn]*[MBG]", s[at + 1 :]):
        return True
    if sentence.words[at + 1 : at + 2] in (["of"], ["der"], ["des"], ["de"]) and s[at + 1] == "p":
        owner = re.match(r"[dqhno]*(.?)", s[at + 2 :])
        return bool(owner and owner[1] not in ("M", "B", "G", "R", "S"))
    behind = re.match(r"[hRqtMd]*[xLfK]+", s[at + 1 :])
    if covered or behind is None:
        return False
    key = at + 1 + behind.end()
    return sentence.words[key : key + 1] != [":"]  # "60% Blasts: 20%" begins anew


def _is_foreign(sentence: Sentence, s: str, begin: int, at: int, end: int) -> bool:
    """Whether an unknown word is the subject of a tie: "the infiltrate is 80% cellular"."""
    back = begin - 1
    while back >= 0 and (s[back] in _SKIP or s[back] == ")" or _describes(sentence, s, back)):
        back = s.rfind("(", 0, back) - 1 if s[back] == ")" else back - 1
    of_it = s[max(at, end - 1)] == "A" and s[end : end + 1] in ("M", "B")
    if of_it and re.search(r"[pI]d[qo]*$", s[:begin]):
        return False  # "20% plasma cells in a 60% cellular marrow"
    if back >= 0 and s[back] in ODD and not _VERB.search(s, 0, begin):
        return True
    last = max(at, end - 1)
    behind = re.match(r"[dhRtq]*M*[xLfK]+", s[last + 1 :])
    if s[last] not in "AC" or behind is None:
        return False
    head = sentence.words[last : last + 2 + behind.end()]  # "40% cellular involved marrow"
    return "marrow" not in head and "core" not in head


def _is_extent(s: str, begin: int, at: int) -> bool:
    """Whether a noun comes between an adjective and a figure: "increased, area involved 30%"."""
    if s[begin] not in "CHA":
        return False
    said = _ADJECTIVE.search(s, begin, at)
    if said is None:
        return False
    rest = _OWN_NOUN[said[0] == "H"].sub("", s[said.end() : at], count=1)
    return bool(set(rest) & set("MGt") or _BEHIND.match(s, at))


def _is_doubted(sentence: Sentence, s: str, begin: int, at: int) -> bool:
    """Whether a bound is a legend or in doubt: ">70% is increased", "above 80%, not assessable"."""
    figure = sentence.figures[at]
    if sentence.words[begin].startswith("normo") and figure.low < figure.high:
        return s[at - 2 : at] == "y(" and not sentence.words[at - 2]  # "for age 45 (45-65%)"
    if figure.qualifier not in ("<", ">"):
        return False
    stop = re.search(r"[.;]", s[at:])
    clause = s[at : at + stop.start()] if stop else s[at:]
    before = s[max(s.rfind(mark, 0, at) for mark in ".;") + 1 : at]
    return bool(re.match(r"F[v:][q:v]*[hHg]", clause)) or "i" in before + clause


def _describes(sentence: Sentence, s: str, at: int) -> bool:
    """Whether an unknown word only describes the marrow: "fibrotic marrow"."""
    if s[at] != "x" or s[at + 1] != "M":
        return False
    return sentence.words[at + 1] in ("marrow", "spaces") or s[at - 1 : at] == "v"


def may_be(s: str, at: int) -> bool:
    """Whether a figure that nothing ties may still be meant as the cellularity of its clause."""
    clause = re.split(r"[;.|]", s[:at])[-1] + s[at:]
    clause = re.split(r"[;.|]", clause)[0]
    if "C" not in clause or _SHARE.match(s, at) or _OWNED.match(s, at):
        return False
    before = s[:at].rstrip("(:vpqd")
    nouns = ("x", "L", "f", "K")
    return s[at + 1 : at + 2] not in nouns and before[-1:] not in nouns


def is_free(s: str, at: int, figure: Figure) -> bool:
    """Whether no noun owns a figure, and no word on another time or a norm stands by it."""
    clause = re.split(r"[;.|]", s[:at])[-1]
    if _OWNED.match(s, at) or re.search(r"[xLfKebcr][:vpIwdqhtMBRG(,]*$", clause):
        return False
    return s[at] == "F" or (figure.low >= 5 and re.search(r"C[^xLfKF]*$", clause) is not None)


def _list_on(s: str, sentence: Sentence, ties: dict[int, str], odd: set[int]) -> None:
    """Tie the figures that are listed with one that is tied: "two cores, 40% and 60%"."""
    places = sorted(at for at in sentence.figures if s[at] in "FN")
    halves = [at for at in places if s[at - 2 : at] == "N/" and not PAIR.search(s, 0, at)]
    odd.update(at for at in halves if ties.get(at) in ("cellularity is F", "hypercellular (F)"))
    for at in odd & set(ties):
        del ties[at]  # "40/50%" is read neither as the one nor as the other
    for a, b in pairwise(places):
        free = s[b] == "F" and b not in ties and b not in odd
        paired = s[a + 1 : b] != "/" or PAIR.search(s, 0, a)
        said = _LISTED.fullmatch(s[a + 1 : b]) or from_to(sentence, s, b) == a
        joined = a in ties and free and paired and said
        if joined and not _has_owner(sentence, s, a, b) and not _OWNED.match(s, b):
            ties[b] = "listed"
    for b, a in pairwise(places[::-1]):
        free = a not in ties and a not in odd and s[a - 1 : a] not in ("x", "f", "L")
        between = s[a + 1 : b]
        paired = between != "/" or PAIR.search(s, 0, a)
        joined = paired and ties.get(b, "listed") != "listed" and _LEADING.fullmatch(between)
        free = free and not _has_owner(sentence, s, a, a)
        if free and joined and s[b] == "F" and (s[a] == "F" or between in ("/", ",", "j")):
            ties[a] = "listed"


def from_to(sentence: Sentence, s: str, at: int) -> int | None:
    """Where the other end stands of "from 20% in some spaces (up) to 80% in others"."""
    first = s.rfind("F", 0, at)
    if first < 1 or sentence.words[first - 1] not in FROM or ";" in s[first:at]:
        return None
    up = sentence.figures[at].qualifier is None and s[at - 1 : at] == "p"
    return first if up and sentence.words[at - 1] in _TO else None


def share_of(sentence: Sentence, cells: int, fat: int) -> Figure | None:
    """A ratio of cells to fat as the share of the cells."""
    a, b = sentence.figures[cells], sentence.figures[fat]
    total = a.value + b.value
    if not 99 <= total <= 101 and not (total > 0 and max(a.value, b.value) <= 10):
        return None
    share = 100 * a.value / total
    first = a if a.start < b.start else b
    return replace(first, low=share, high=share, qualifier=None, signed=True)
