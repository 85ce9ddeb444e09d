"""A sentence as a string of classes: what each word does in it, one letter a word.

The letters are those of `languages.CLASSES`; F is a figure with its sign, N one without, C
cellularity, A cellular, H hypercellular, X and O a ticked and an empty box, x a word that is not
known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from ingest.labels.asides import simplified
from ingest.labels.figures import Figure, find_figures
from ingest.labels.languages import (
    ACCENTS,
    CORRECTIONS,
    GENERAL,
    MONTHS,
    NO_NOUN,
    VERB_FORM,
    WORDS,
    words_of,
)
from ingest.labels.marks import EMPTY, TICKED
from ingest.labels.unsigned import OF_ONE, bare, is_mean, of_hundred

# a ticked box, an empty one, an arrow, a date or an accession number, a word, anything else
_TOKEN = re.compile(
    r"(?P<word>h&e\b|n/a\b|w/o?(?=\s)|[^\W\d_]++(?![\d'-]))|(?P<F>\ue000)|(?P<N>\ue001)"
    rf"|(?P<X>{TICKED})|(?P<O>{EMPTY}|(?<!\w)_+(?!\w))"
    r"|(?P<arrow>[-=]+>|→)|(?P<date>(?:19|20)\d\d(?:-\d\d?-\d\d?)?\b|[a-z]{1,4}+-?\d\d(?:\d\d)?[-./:]\d{3,}|[a-z]{1,4}+-?\d\d-\d+|[a-z]{3,4}-(?:19|20)\d\d\b|\d\d?[/.]\d\d?[/.]\d{2,4}|\d\d?/20\d\d)"
    r"|(?P<x>[a-h]\d(?:[-/+&][a-h]?\d)*\b)"
    r"|(?P<joined>[^\W\d_]+(?:'[^\W\d_]+)?(?:-\s?(?=[^\W\d_]))?)|(?P<dots>\.+:|\.{2,})|(?P<rest>\d+|[^\s\w])"
)
_PARTS = re.compile(re.sub(r"\?P<\w+>", "?:", _TOKEN.pattern))  # without names: for speed
# "cellularity", "celluarity", "cellu-", "Zellularität"
_C = re.compile(
    r"(?:c|z)el+u?l?[a-z'-]*(?:ity|ities|ty|'y|(?:tät|taet|tat)(?:s(?:grad|wert|index|prozent))?|té|ité|ite)$|zell(?:gehalt|dichte|anteil|reichtum|besatz|füllung)(?:e?s)?$|zelligkeit|celularity$|cellul$"
)
_A = re.compile(
    r"(?:cel{1,2}ul{0,2}a?r|celular|cell|(?:zell(?:ulär|haltig|ig)|(?:hämatopoese|blutbildungs)haltig)(?:e[mnrs]?)?|cellulaires?)$"
)
_H = re.compile(r"(?:hyper|hypo|normo|pauci|iso|a)-?(?:cel|zel)[a-zäéè]*$")
# "haemopoiesis to fat is 35 to 65": a ratio, and no range
_TO_FAT = re.compile(r"(?:[LCAK][LC]?[:/pj]*fT?|fG?[:/pj]*[LCAK][LG]?T?)[vpdqT:]*$")
_PERCENTS = words_of("percent percentage pct %")
# stems of what marks a correction: "Korrektur", "rectificatif", "supplementary", "erratum"
_CORRECTS = re.compile("|".join(CORRECTIONS))
# what begins a compound: "Stanzzylinder", "Knochenstanze", "Verlaufsbiopsie", "Restblutbildung"
_NOUNS = {word for word, letter in WORDS.items() if letter in "MBRGSoy"} | words_of(
    "knochen kontroll verlauf bohr nadel hohlnadel jamshidi crista stanz trepan rest zell"
)
# "est. 40%"
_SHORTENED = re.compile(r"cell(?:ul)?$|^(?:est|exp|resp|bzw|rd|li|re|dr|prof|mrs?|ms|zyl)$")
_POST = {"post", "after", "following", "nach", "après"}
_SHORT = re.compile(r"'(?:s|re|ve|d|ll|m)$")  # "it's", "we're"
_SPECIAL = words_of(
    "a c d e f first o been estimated reported report figure value percentage cell content density"
    " . cent g rapport als am est que that out local representative time diagnostic were had full"
    " filled packed form words contrast contre if wenn si falls estimate most much bulk mark marrow"
    " rouge active myéloïde jaune grasse graisseuse adipeuse count nearest summary"
)
_SMALL, _HOW_MUCH = words_of("als que am d g"), words_of("little much low high few many")
_JUDGED = words_of(
    "estimated considered called regarded put taken judged deemed reckoned assessed thought rated"
    " call reckon guess place"
)
_MISSPELT: dict[str, list[str]] = {}  # each long word with one of its letters left out
for _word in filter(lambda word: len(word) > 6, WORDS):
    for _n in range(1, len(_word) - 1):
        _MISSPELT.setdefault(_word[:_n] + _word[_n + 1 :], []).append(_word)
_ASKED = words_of(
    "query queries question questions request enquiry inquiry letter referral call phone email note"
    " patient lady gentleman message kind good need asked ask sent wanted took referred requested"
)
# "...; call it 40%", "Reported as 40%": the writer's own, whatever the figures before
_VERDICT = re.compile(
    r"(?:^|[,;:.(] )(?:(?:and|so|but|or|let us|i|we|i'd|would|will|have|am|should|therefore) )*"
    r"(?P<by>(?:call|make|put|place|leave) (?:it|that|this)(?: at| as)?|take|say|use|settle"
    r" (?:for|on|at)|(?:report|record|enter|return|sign)(?:ed)?(?: (?:it|this|out))*(?: as| at)?"
    r"(?: to (?:the )?nearest  :)?(?: an?)?)$"
)
# "Cellularity: 50%       40-60%", "... 50%      expected: 40%": the norm in another column
_GAP = re.compile(
    r"(?<![\d-])(\d{1,3} ?%?)( {4})(?= *(?:(?:exp|norm|ref|age)\w*\b[^%\n]*:|\d\d? ?- ?\d))"
)
_NOTHING = [("words", "other"), ("summary", "in"), ("contrast", "by"), ("nearest", "tick")]
_ARTICLES = words_of("the an my our this one")
_THEIRS, JUDGEMENT = words_of("their his her"), ("guess", "estimate", "impression", "schätzung")
MODALS = words_of("would could may might must should")
_CELLULAR = words_of("component components compartment fraction portion elements anteil anteile")
_SPECIAL |= _JUDGED | _ASKED | _CELLULAR | {"ende", "as", "x", "from", "all"}
# two words that mean another thing than each: "given that", "left out", "par rapport", "plus que"
_PHRASES = {
    ("that", "given"): ("j", "d"),
    ("out", "left"): ("a", "q"),
    ("from", "up"): ("g", "u"),
    ("time", "this"): ("n", "q"),
    ("contre", "par"): ("q", "q"),
    **dict.fromkeys(_NOTHING, ("q", "q")),
    ("diagnostic", "au"): ("p", "b"),
    ("rapport", "par"): ("p", "k"),
    ("que", "plus"): ("q", "q"),
    **{
        ("cellulaire", of): ("q", "C") for of in ("densité", "teneur", "contenu", "charge", "index")
    },
    **{("mark", red): ("q", "K") for red in ("rotes", "rotem")},
    **{("marrow", red): ("q", "K") for red in ("red", "active")},
    **{(which, "moelle"): ("q", "K") for which in ("rouge", "active", "myéloïde")},
    **{(which, "moelle"): ("q", "f") for which in ("jaune", "grasse", "graisseuse", "adipeuse")},
    **{(of, which): ("q", "K") for which in ("cellular", "zellhaltige") for of in _CELLULAR},
    **{("count", point): ("q", "z") for point in ("point", "point-")},
    **{(what, "outside"): ("p", letter) for what, letter in (("the", "d"), ("bone", "M"))},
    ("est", "y"): ("q", "v"),
    **{(behind, "einen"): ("R", letter) for behind, letter in (("ende", "t"), (",", ","))},
    ("myéloïde", "tissu"): ("q", "K"),
    ("mark", "gelbes"): ("q", "f"),
    ("form", "request"): ("q", "r"),
}
_MOVING = set("AMBGCbcx")  # classes that the words before them may change
_LEADS = (":", ".", "%", "\ue000", "\ue001")
_KINDS = {"arrow": "u", "date": "b", "dots": ":"}
_MARKS = {"(": "(", "[": "(", ")": ")", "]": ")", ",": ",", ";": ";", ":": ":", "=": ":", "/": "/",
          "|": "|", ".": ".", "%": "%", "-": ":", "?": "?", '"': "q", "'": "q", "*": "q", "+": "x",
          "#": "", "{": "", "}": "", "~": "q", "<": "q", ">": "q", "_": "q",
          "&": "j", "@": "q", "•": ";"}  # fmt: skip


@dataclass(slots=True)
class Sentence:
    """A segment as a string of classes, with the figure or the word behind each letter."""

    classes: str
    words: list[str]
    figures: dict[int, Figure]  # by index into classes


def encode(text: str, figures: list[Figure]) -> Sentence:
    """A folded sentence as a string of classes."""
    pieces: list[str] = []
    at = 0
    figures = [one for one in figures if one.signed or not _is_of_a_name(text[: one.start])]
    for figure in figures:
        pieces += text[at : figure.start], "\ue000" if figure.signed else "\ue001"
        at = figure.end
    tokens: list[str] = _PARTS.findall("".join([*pieces, text[at:]]))
    classes: list[str] = []
    words: list[str] = []
    places: dict[int, Figure] = {}
    left = iter(figures)
    for n, word in enumerate(tokens):
        letter = _class(word)
        if words and words[-1][1:][-1:] == "-" and (one := WORDS.get(words[-1][:-1] + word)):
            classes[-1] = one  # "sub-cortical", "inter-trabecular"
            words[-1] = ""
            continue
        if _may_move(letter, word, words):
            behind = tokens[n + 1 : n + 2]
            said = _in_phrase(word, classes, words, behind)
            letter = said or _in_place(letter, word, classes, words, behind)
        elif word in ("\ue000", "\ue001"):  # a figure with and without a sign
            figure, word = next(left), ""
            if sum(figure.parts) == 100 and _TO_FAT.search("".join(classes)):
                a, b = (replace(figure, low=part, high=part) for part in figure.parts)
                places |= {len(classes): a, len(classes) + 2: b}
                classes += "N:N"
                words += ["", "to", ""]
                continue
            if letter == "N" and is_mean("".join(classes), tokens[n + 1 : n + 2]):
                letter = "F"  # "A 35%, B 55%, consensus 50."
            if letter == "N":
                letter, word = bare(figure, tokens[n + 1 : n + 3], classes)
            if letter == "N" and tokens[n + 1 : n + 2] != ["/"] and OF_ONE.search("".join(classes)):
                figure, letter = of_hundred(figure)
            if letter in "FN":
                _mark_verdict(classes, words, first=not places)
                places[len(classes)] = figure
        if letter:
            classes.append(letter)
            words.append(word)
    s, places = simplified("".join(classes), words, places)
    return Sentence(s, words, places)


def _may_move(letter: str, word: str, words: list[str]) -> bool:
    """Whether the words beside a word may change its class: of most they do not."""
    if letter == "x" and not (word in _SPECIAL or word[1:2].isdigit()):
        return "including" in words[-3:] or "incl" in words[-3:]
    return letter in _MOVING or word in _SPECIAL or (word == "," and words[-1:] == ["einen"])


def _mark_verdict(classes: list[str], words: list[str], *, first: bool) -> None:
    """Take the words of a verdict before a figure as those of a mean: "...; call it 40%"."""
    if said := _VERDICT.search(" ".join(words[-7:])):
        n = said["by"].count(" ") + 1
        named = {"C", "H", "A"} & set(classes)
        if named or not (first and (said.start() or words[:-7])):
            classes[-n:] = ["q" if named and first else "o"] + ["q"] * (n - 1)


def _is_of_a_name(before: str) -> bool:
    """Whether a number is joined to a word that is not known: "Ki-67"."""
    word = before[:-1].rpartition(" ")[2].strip("(")
    return before[-1:] == "-" and word.isalpha() and class_of(word) == "x"


@lru_cache(maxsize=2048)  # the lines of an archive repeat
def sentence_of(text: str) -> Sentence:
    """A folded sentence with its figures; a wide gap behind a figure parts it as a semicolon."""
    text = _GAP.sub(r"\1;   ", text) if "    " in text else text
    figures = find_figures(text)
    return encode(text, figures) if figures else Sentence("", [], {})


def _in_phrase(word: str, classes: list[str], words: list[str], behind: list[str]) -> str:
    """The class of a word that means another thing beside the word before or behind it, or none."""
    if word == "." and behind and _class(behind[0]) in ("X", "O"):
        return ":"  # "Cellularity (core) . [ ] <5"
    if word in _SMALL and (said := _of_tongue(word, classes, words, behind)):
        return said
    if word in _ASKED and words[-1:] in (["you"], ["your"]):
        classes[-1] = "d"  # "in reply to your query", "you asked"
        return "q"
    if word == "as" and words[-2:-1] == ["as"] and _HOW_MUCH.intersection(words[-1:]):
        classes[-2:] = "qq"
        return "q"  # "from as little as 10%"
    if word == "all" and words[-2:] == ["all", "in"]:
        classes[-2:] = "qq"
        return "o"  # "all in all 80%"
    if word == "local" and "C" in classes[-2:]:
        return "r"  # "Cellularity, local: 40%"
    if word == "representative" and "i" in classes[-3:]:
        return "a"  # "fatty (10% cellular) and not considered representative"
    if word in ("were", "had") and not words:
        return "c"  # "were it 40% cellular, it would be normal"
    if words[-2:] == ["at", "this"]:
        return ""  # "at this time" a rule may hold
    if word[1:2].isdigit() and re.match(r"[a-h]\d(?!\d)", word):  # "block A1", but not "cyclin D1"
        return "x" if set("xLfK").intersection(classes[-1:]) else "R"
    phrase = _PHRASES.get((word, "".join(words[-1:])))
    if phrase:
        classes[-1] = phrase[0]
    return phrase[1] if phrase else ""


def _of_tongue(word: str, classes: list[str], words: list[str], behind: list[str]) -> str:
    """The class of a small word of German and French by what stands beside it, or none."""
    if word in ("d", "g"):  # "(D : 45 %, G : 60 %)", right and left in French
        return "R" if behind == [":"] and "C" in classes else ""
    next_ = _class("".join(behind))
    if word == "als" and (next_ in tuple("AHh") or behind in (["zu"], ["mit"])):
        return "q"  # "mit 70 % als hyperzellulär", "als zu 70 % zellulär"
    if word == "am" and words[-1:] != ["i"]:
        return "p"  # "Zellularität am Zylinder"
    if word != "que" or words[-1:] == ["plus"]:
        return ""
    if any(said[:2] in ("ne", "n'") for said in words[-3:]):
        return "q"  # "n'est que de 40 %"
    return "d" if next_ == "d" else ""  # "une cellularité que nous estimons à 40 %"


def _in_place(
    letter: str, word: str, classes: list[str], words: list[str], behind: list[str]
) -> str:
    """The class of a word by what stands beside it; none where it is part of the word before."""
    previous, before = (words[-1], classes[-1]) if words else ("", "")
    if letter == "A" and previous in _PERCENTS and classes[-2:-1] != ["F"]:
        return "C"  # "Percent cellular: 70"
    if letter == "A" and before == "C":
        return ""
    if letter == "." and (behind in ([")"], ["]"]) or _SHORTENED.search(previous)):
        return ""  # "(Jan.)", "est. 40%"
    if word == "cent" and previous == "per":
        classes[-1] = "%"
        return ""
    if previous in ("this", "these") and (letter in "MBG" or word == "report"):
        classes[-1] = "n"
        return "n" if word == "report" else letter
    if letter == "C" and previous == "reported":
        classes[-1] = "o"
    elif word == "been" and previous == "had":
        return "b"  # "the core of day 14 had been 5% cellular"
    elif letter == "b" and (
        behind[:1] in (["me"], ["us"]) or (before == "n" and word[:1].isdigit())
    ):
        return "q"  # "the core now before me", "current 2022-01-03"
    elif letter == "b":  # not "after remission", nor the day of a correction, nor one of a month
        day = before == "N" and word in MONTHS
        dated = word[:1].isdigit() and "E" in classes[-2:]
        return "y" if day else "q" if dated or previous.rstrip("-") in _POST else "b"
    elif letter == "c" and (previous in ("i", "we") or behind == ["read"]):
        return "E" if behind == ["read"] else "q"  # "should read 40%", "I would estimate"
    elif word in ("content", "density") and previous in ("cell", "cellular"):
        classes[-1] = "C"
        return ""
    return _as_said(letter, word, classes, words, behind)


def _as_judged(letter: str, word: str, previous: list[str], behind: list[str]) -> str:
    """The class of a word of judgement, of its condition or of its share of the marrow, or none."""
    if word == "first" and previous and class_of(previous[0]) == class_of("".join(behind)) == "v":
        return "b"  # "was first read as 30%"
    if word in ("if", "wenn", "si", "falls") and NO_NOUN.search("".join(behind)):
        return "q"  # "if assessable"
    if word == "estimate" and _ARTICLES.intersection(previous):
        return "M"  # "and the estimate is 40%"
    if letter == "M" and _THEIRS.intersection(previous) and word.startswith(JUDGEMENT):
        return "r"  # "their guesses went from"
    # "most of the biopsy is 30% cellular"
    return "t" if word in ("most", "much", "bulk") and behind == ["of"] else ""


def _as_said(
    letter: str, word: str, classes: list[str], words: list[str], behind: list[str]
) -> str:
    """The class of a word by what stands beside it, where no other word's changes."""
    if letter == "A" and classes[-1:] == ["e"] and words[-1].endswith("ly"):
        classes[-1] = "h"  # "normally cellular"
    if word == "bone":  # "bone 40% of the area" is none of the marrow
        return letter if behind in ([], ["marrow"]) or class_of(behind[0]) == "B" else "x"
    if word in ("a", "c", "d", "e", "f"):  # "core A 50%", "(A) 60%", "cellularity\nA: 75%"
        last = "".join(classes[-1:])
        listed = (last == "(" and behind == [")"]) or (last in ("C", ";") and behind == [":"])
        listed |= _is_a_letter(word, last, words, "".join(behind))
        return "R" if listed or last in ("B", "G") else letter
    if judged := _as_judged(letter, word, words[-1:], behind):
        return judged
    if word == "severe" and _H.match("".join(behind)):
        return "h"  # "severe hypocellularity", but not "severe: under 25%"
    modal = "c" in classes[-2:] and MODALS.intersection(words[-2:]) and behind != ["for"]
    if word in _JUDGED and modal and "F" not in classes:
        classes[classes.index("c", -2)] = "q"  # "could be estimated at 40%" is no criterion
    if word == "reported":
        key = classes[-1:] == ["C"] and behind == [":"]
        return "o" if key or behind == ["value"] else letter
    if word in ("cell", "full", "filled", "packed") and classes[-1:] == ["F"]:
        return letter if {"of", "with", "by"} & set(behind) else "A"  # "50% cell.", "50% full"
    if word == "cell" and words[-1:] == ["%"]:
        return "C"  # "%CELL 85"
    if word == "cell" and "".join(classes[-1:]) in ("", *".,|yBS/:") and "".join(behind) in _LEADS:
        return "C"  # "CELL: 60%"
    if word == "x" and "O" in classes:
        return "X"  # "_ <30%  X 40-60%": boxes drawn with letters
    added = letter == "x" and behind != ["of"] and {"including", "incl"} & set(words[-3:])
    return "q" if added else letter


def _is_a_letter(word: str, last: str, words: list[str], next_: str) -> bool:
    """Whether a letter is the name of a core: "B = 5% / C = 20%", "5% in B and 20% in C"."""
    if not last or last in "/,;(j.|":
        return next_ in (":", "=", ")") or (next_ == "\ue000" and "b" in words)
    return last == "I" and next_ in (*".,;)", "and", "und", "et")


@lru_cache(maxsize=16_384)
def _class(token: str) -> str:
    met = _TOKEN.match(token)  # not fullmatch: a hyphen looks at the word behind it
    kind = (met and met.lastgroup) or "rest"
    if kind in ("word", "joined"):
        return class_of(_SHORT.sub("", token.rstrip("- \n")))
    return _MARKS.get(token, "x") if kind == "rest" else _KINDS.get(kind, kind)


@lru_cache(maxsize=16_384)
def class_of(word: str) -> str:
    """The class of a word by itself, x where it is not known."""
    if "'" in word[1:3]:  # "l'hématopoïèse", "qu'on"
        lead, _, word = word.partition("'")
        if lead == "qu" or word == "on":
            return "d"
    met = WORDS.get(word)
    if met or _CORRECTS.match(word):
        return met or "E"
    if form := _form(word):
        return form
    if word.endswith("n't"):
        return "i"
    if word in GENERAL or NO_NOUN.search(word):  # "evaluable"
        return "q"
    if VERB_FORM.match(word):
        return "v"
    if word.startswith("fett"):  # "Fettmarkanteil"
        return "f"
    if word[:3] in ("cel", "zel"):
        return "C" if _C.match(word) else "A" if _A.match(word) else "x"
    if _H.match(word):  # "hypercellularity of 70%" is a noun
        return "C" if word.endswith(("ity", "tät", "té", "taet")) else "H"
    # "wlth", "rnarrow": an l was scanned for an i, an m for rn; "overal": a letter is lost
    meant = WORDS.get(word.replace("l", "i")) or WORDS.get(word.replace("rn", "m"))
    umlaut = word.replace("ae", "ä").replace("oe", "ö").replace("ue", "ü")
    if umlaut != word and (spelt := class_of(umlaut)) != "x":  # "Zellularitaet"
        return spelt
    plain = WORDS.get(word.translate(ACCENTS)) if not word.isascii() else None
    return meant or plain or WORDS.get(_misspelt(word), "x")


def _misspelt(word: str) -> str:
    """The known word that a long one is but for a letter left out, put in, changed or swapped.

    Not its first two letters nor its last: those tell one word, and one form, from another.
    """
    if len(word) < 6:
        return ""
    for n in range(2, len(word) - 1):
        swapped = word[:n] + word[n + 1] + word[n] + word[n + 2 :]
        left = word[:n] + word[n + 1 :]
        if swapped in WORDS:
            return swapped
        for meant in (left, *_MISSPELT.get(left, [])):
            if len(meant) > 6 and (meant[-1], meant[:n]) == (word[-1], word[:n]) and meant in WORDS:
                return meant
    return next(iter(_MISSPELT.get(word, ())), "")


def _form(word: str) -> str:
    """The class of a form of a known word: "demonstrating", "aktuellen", "Markzellularität"."""
    for ending in filter(word.endswith, ("ing", "ed", "s")):
        stem = word.removesuffix(ending)
        stem = stem[:-1] if stem[-1:] == stem[-2:-1] and stem not in WORDS else stem  # "running"
        known = [WORDS.get(stem + more) for more in ("", "e", "s", "ed")]
        if {"v", "g"}.intersection(known):
            return "v" if "v" in known else "g"
        if ending == "ing" and "a" in known:
            return "a"  # "discounting subcortical spaces"
        if ending == "s" and known[0] and known[0] in "cerbkMBG":
            return known[0]  # "protocols"
    for ending in filter(word.endswith, ("e", "en", "er", "es", "em")):
        adjective = WORDS.get(word.removesuffix(ending), "x")
        if adjective in "qnbheoyKBMrH" and len(word) > 5:
            return adjective
        if adjective == "v" and word.startswith("ge"):
            return "q"  # "geschätzte Zellularität"
    lead = next((lead for lead in ("vor", "erst") if word.startswith(lead)), word)
    if WORDS.get(word[len(lead) :], "x") in "BMGS":
        return "b"  # "Vorbiopsie", "Erstbiopsie"
    for n in range(3, len(word) - 3):
        head, tail = word[:n].rstrip("s"), word[n:]
        last = WORDS.get(tail) or WORDS.get(tail.removesuffix("s")) or ("C" * bool(_C.match(tail)))
        if tail == "anteil" and WORDS.get(head) == "K":
            return "K"  # "Blutbildungsanteil"
        if last and last in "BGCMKeS" and {head, head + "e"} & _NOUNS:
            return last
    return ""


def after_any(s: str, marks: str, at: int) -> int:
    """Where the piece begins that a place stands in: behind the last of the marks."""
    return max(s.rfind(mark, 0, at) for mark in marks) + 1
