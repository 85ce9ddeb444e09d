"""What the words of a heading name: a material, a side, or what is measured."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from ingest.labels.languages import (
    CORRECTIONS,
    GENERAL,
    HISTORY,
    KINDS,
    MONTHS,
    ORGANS,
    REMARKS,
    WORDS,
    words_of,
)
from ingest.labels.tokens import class_of

Material = Literal["core", "clot", "aspirate", "touch", "other", "general", "unknown"]
SET_ASIDE = ("clot", "aspirate", "touch", "other")
_WORD = re.compile(r"[^\W\d_]+")
KEY = re.compile(
    r"((?>[^\W\d_](?:[^:?=|\n%.;]{0,59}[^:?=|\n%.; \t])?))[ \t.]*"
    r"(?:(?::\**|\?)(?=\s|$)|=(?=[\s\d<>~]|$))"
)
# "Blasts (0-100%):", "cellularity, % ="
_UNIT = re.compile(r"(?:[(\[][^()\[\]]{0,30}%[^()\[\]]{0,9}[)\]]|,? ?%)(?=[ .]*[:=])")
_BOXED = re.compile(r"\([^()\n]{0,60}\)(?=[ .]*[:=])")  # "Addendum (2 days later; Dr. B.):"
# "Core A (9 mm)", "Biopsy, day 14 post induction": what a heading's words are read without
ASIDE = re.compile(
    r"\(\d[^()]*\)|\d[\d.,]* ?[cm]m\b|\b(?:post|after|following|nach|après)\b[ -]*(?:\w+[ -]?)?"
    r"|\b(?:with|and|in) compar\w+ (?:to|with)\b.*"
)
AMENDS = re.compile(rf"\b(?:{'|'.join(CORRECTIONS)})")
_SCALED = re.compile(
    r"((?:ity|tät|té)\b[^\d(\[|\t]{0,12})"
    r"[(\[][^\d()\[\]|]{0,20}\d{1,3} ?%? ?(?:-|to|bis|à) ?\d{1,3} ?%?[)\]]"
)
_OF_CORE = re.compile(r"(?:touch|imprints?|squash|roll)\w*(?: \w+)? (?:of|from)")
# names of the core that no other organ's biopsy has: what else its heading says matters little
_SURE = re.compile(
    r"treph|trepan|\bcores?\b|crest|marrow|bmbx|\bbom\b|stanz|knochenmark|becken|ostéo"
)
_BOX = re.compile(r"(?:\[[ x✓_]\]|\( ?[x*]?\)|[☐☒☑✓□]) ?[<>~]? ?\d")  # a line of a form is no table
_MEASURED = re.compile("ell|fat|adip|fett|graiss|richesse")
# "Core cell%", but not "B cell %"
_TO = re.compile(r" ?[:/] ?|\bto\b")
_CELLS = re.compile(
    r"(?P<of>(?:\w+ )*)cell(?:\.? ?(?:\(?%\)?|pct)|\.|s,? \(?% of (?:the )?marrow\)?)"
)
_REMARK = re.compile(
    r"^[(\[]?\d{1,2}[.)\]] | ?\((?=[^()\d]*[a-z])[^()%]*\)$"
)  # "3. ...", "(nearest 5)"
_BRACKETED = re.compile(r"\([^\W\d_][^()]*\)")
_COLON = re.compile(r":(?!\S)")  # of a key, not of "M:E" or 10:30
_GAP = re.compile(r"\t+| {2,}")
_SENTENCE = re.compile(r"\w+ \w+ \S+[^.\s]\.$")
_ABOUT = words_of(
    "least most than approx approximately about around circa ca roughly nearly etwa environ"
)
_DATE = re.compile(r"\d{4}|\d[./]\d")
_PARTED = re.compile(r"[;,/]| - ")
_PERSONS = words_of("physician physicians doctor clinician copy surgeon arzt médecin")
_LABEL = re.compile(r"\b[a-h]\d\b|(?<=[a-z] )i{1,3}$")  # "block C3", "Zylinder II"
_DRAFTS = words_of("draft preliminary provisional")
_SENT_IN = words_of("slide slides material block blocks consultation consult")
_TOLD = words_of("report diagnosis reading findings impression result results")
_CELL_KEYS = ("cell", "cells", "cell'ty", "cell'y", "cell density", "cell content")
_VERBS = words_of("is are was were has have had shows ist sind hat est sont")
_FRAMED = re.compile(
    r"\s*([-=*#_~])\1+ *[^\W_][^%]*[^\W_]\W* *\1\1+\s*$"
)  # "--- DRAFT (day 1) ---"
_RULES_OF = words_of("criteri kriteri protoco definit")
_RULES = {mark * 2 for mark in "-=*#_~"}
_OPEN_END = re.compile(r"[.,;]$|\w-$")  # of a line that is no heading
_NO_NAME = re.compile(r"\. |%|[cz]ellular|richesse")  # what no heading holds
ORNAMENT = " *_=-.[]<>#+:"
_SEVERAL = re.compile(r"[,;/&+]|\b(?:and|und|et|with)\b")


@lru_cache(maxsize=4096)
def material_of(words: str) -> Material:
    """The material a heading names; unknown as soon as one of its words is not known.

    Beside "Bone marrow; ..." what is not known is a disease: no other sample is named.
    """
    whole = _material_of(words)
    if whole != "unknown" or "marrow" not in words:
        return whole
    parts = {_material_of(part) for part in _PARTED.split(words)}
    samples = {KINDS.get(word, "other") for word in _WORD.findall(words)} == {"other"}
    return "general" if samples and parts == {"general", "unknown"} else "unknown"


def _material_of(words: str) -> Material:
    if words == "m/e":
        return "general"  # microscopic examination
    bare = _LABEL.sub("", ASIDE.sub("", words)).replace("'s", "")
    found = [_seen(word) for word in _WORD.findall(bare)]
    if "(" in words:
        lead, who = (_WORD.findall(part) for part in words.split("(", 1))
        if lead and GENERAL.issuperset(lead) and not {*map(class_of, who)} & set("SBrb"):
            found = lead  # "Final (attending)"
    sent = "slide" in words or "consult" in words  # "Slides and block received"
    found = [word for word in found if not (sent and word == "block")]
    classes = {class_of(word) for word in found if word not in GENERAL}
    if "B" not in classes and not ORGANS.isdisjoint(found):
        return "unknown" if "M" in classes else "other"
    kinds = [KINDS[word] for word in found if word in KINDS]
    kinds = [kind for kind in kinds if kind != "bones" or "B" not in classes]  # a core of a rib
    sure = "B" in classes and _SURE.search(words) is not None
    if not found or classes - set("MBSGRdpIohqnwjzuvyL" if kinds else "MBGRdpIohqnwjzuvy"):
        return "core" if sure and not kinds else "unknown"
    if "B" in classes and kinds and _SEVERAL.search(words) and not _OF_CORE.search(words):
        return "general"
    if {"blood", "other", "bones"} & set(kinds):
        return "other"
    if kinds:
        return "clot" if "clot" in kinds else "touch" if kinds[-1] == "touch" else "aspirate"
    if "B" in classes:
        return "core"
    return "general" if classes & {"M", "G", "o"} or GENERAL & set(found) else "unknown"


@lru_cache(maxsize=4096)
def may_be_of_the_core(words: str) -> bool:
    """Whether a heading that is not understood names a biopsy or nothing at all, and no other."""
    said = [word for word in _WORD.findall(words) if word not in GENERAL]
    met = set(map(class_of, said))
    return (
        bool(said)
        and not met & set("Sbrkec")
        and ORGANS.isdisjoint(said)
        and ("B" in met or "x" not in met)
    )


@lru_cache(maxsize=4096)
def classes_in(words: str) -> frozenset[str]:
    """The classes of the words of a heading."""
    return frozenset(map(class_of, _WORD.findall(words)))


# "micro" is short for "microscopic", and "mikroskopischer" begins as "mikroskopie" does
_BEGINS = {long[:n]: long for long in sorted(GENERAL) for n in range(4, min(len(long), 8) + 1)}


def _seen(word: str) -> str:
    """A word of a heading as meant: "BlOPSY" is scanned, others are forms of one that is known."""
    if word in WORDS or word in GENERAL:
        return word
    meant = word.replace("l", "i")  # an l was scanned for an i
    return meant if meant in WORDS or meant in GENERAL else _BEGINS.get(word[:8], word)


@lru_cache(maxsize=4096)
def is_anothers(heading: str) -> bool:
    """Whether a heading tells of another's reading: "Draft", "For comparison"."""
    words = _WORD.findall(ASIDE.sub("", heading))
    sent = not _SENT_IN.isdisjoint(words) and _TOLD.isdisjoint(words)
    if sent or not _PERSONS.isdisjoint(words):
        return False  # "Outside slide review"; "Referring physician / clinic copy" is an address
    first = next((word for word in words if WORDS.get(word) != "d"), "")
    return (
        WORDS.get(first) == "r"
        or not _DRAFTS.isdisjoint(words[1:2])  # "Interim draft"
        or words[:1] == ["their"]
        or "elsewhere" in words
        or any(WORDS.get(word) == "k" for word in words)
    )


def governs(heading: str) -> bool:
    """Whether a heading is of a section that is another's, and no list of material sent in."""
    return is_anothers(heading) and not classes_in(heading) & set("GSB")


@lru_cache(maxsize=4096)
def is_historic(heading: str) -> bool:
    """Whether a heading tells of an earlier time or of another's reading."""
    bare = ASIDE.sub("", heading).replace("background marrow", "marrow")
    bare = bare.replace("in remission", "")  # a state, and no time
    words = [w for w in _WORD.findall(bare) if not w.startswith("replac")]
    dated = set() if classes_in(bare) & set("MBGSrvp") else MONTHS  # "12 March 2018", of a letter
    old = any(
        w in HISTORY or (WORDS.get(w) == "b" and w not in GENERAL and w not in dated) for w in words
    )
    old = old or "at diagnosis" in heading or "at presentation" in heading
    return is_anothers(heading) or (old and not AMENDS.search(heading))


def is_of_before(heading: str) -> bool:
    """Whether a heading names a sample of an earlier time."""
    met = classes_in(heading)
    return "b" in met and bool(met & set("MBGS")) and is_historic(heading)


@lru_cache(maxsize=4096)
def names_norm(heading: str) -> bool:
    """Whether a heading names a norm: "Normal range", "Expected for age"."""
    words = _WORD.findall(heading)
    classes = "".join(class_of(word) for word in words)
    lead = classes.partition("e")[0]  # no "Data standard, form 2", no "Children's hospital"
    norm = (
        "e" in classes
        and "r" not in classes
        and (classes[-1] == "e" or "x" not in lead)
        and words[1:2] != ["s"]
    )
    rule = "B" not in classes and _RULES_OF.intersection(word[:7] for word in words)
    return words[:1] == ["normal"] or bool(rule) or norm


@lru_cache(maxsize=4096)
def is_note(words: str) -> bool:
    """Whether words name a remark: "Comment", "Note"."""
    return not REMARKS.isdisjoint(_WORD.findall(words))


def is_remark(heading: str, material: Material) -> bool:
    """Whether a section is no description: a note, a comment, what was sent with the case."""
    return material in SET_ASIDE or is_note(heading)


@lru_cache(maxsize=4096)
def is_side(words: str) -> bool:
    """Whether a heading names a side or a time only, "Left iliac": the material stays."""
    met = classes_in(ASIDE.sub("", words.removeprefix("à ")))
    known = (HISTORY | GENERAL) & set(_WORD.findall(words))
    return bool(met & set("Rnb")) and met <= set("RMGdpnb") and not known


def is_of_a_list(key: str) -> bool:
    """Whether a key below "Cellularity" says of which sample, side or day its figure is."""
    met = classes_in(key)
    dated = re.search(r"\d", key) and met & set("by") and not re.search(r"\b(?:age|alter|âge)", key)
    return bool(dated) or "n" in met or is_side(key) or not of_nothing_else(key)


def key_of(line: str) -> re.Match[str] | None:
    """The key that a line begins with; no sign of its scale or in its brackets ends it."""
    if not (":" in line or "?" in line or "=" in line):
        return None
    bare = _UNIT.sub(lambda scale: " " * len(scale[0]), line) if "%" in line else line
    if "(" in line:
        bare = _BOXED.sub(lambda box: re.sub(r"[.;:?=|%]", " ", box[0]), bare)
    return KEY.match(bare)


def has_verb(words: str) -> bool:
    """Whether words are a sentence: a heading has no verb."""
    return not _VERBS.isdisjoint(words.split())


def is_heading(
    raw: str, bare: str, marked: str | None, *, item: bool, above: tuple[bool, bool]
) -> bool:
    """A short line of its own that is no sentence: marked, in capitals, or of known words.

    `item` says that it is set in below a heading, `above` whether a line stands above it and
    whether this one cannot go on from that one.
    """
    if raw.rstrip()[-2:] in _RULES and _FRAMED.match(raw) and len(bare) < 100:
        return True
    if not 2 <= len(bare) <= 60 or _OPEN_END.search(raw.rstrip()[-2:]):
        return False
    if _NO_NAME.search(bare) or has_verb(bare):
        return False
    if (marked and marked[0] in "#q0123456789") or AMENDS.match(bare):
        return True
    material = material_of(bare)
    if item and material == "general" and not raw.isupper():
        return False  # "* length 20 mm", in a list
    known = material != "unknown"
    told = known or is_anothers(bare)
    upper = bool(marked) or raw.lstrip(ORNAMENT)[:1].isupper() or raw.isupper()  # "3 BIOPSY"
    if not upper or (not told and (item or re.search(r"\d", ASIDE.sub("", bare)))):
        return False  # "CORE BIOPSY\n   A. NO LYMPHOMA": one of its findings
    return known or not above[0] or (raw.isupper() and above[1])


@lru_cache(maxsize=4096)
def is_said(words: str) -> bool:
    """Whether the words before a colon are a sentence and no key: "The core is patchy: ..."."""
    inner = words.split()[1:-1]
    told = len(inner) > 3 and any(class_of(word) == "v" for word in inner)
    return (
        told or has_verb(words) or "read" in words.split() or words.count("(") != words.count(")")
    )


@lru_cache(maxsize=4096)
def is_measured(name: str) -> bool:
    """Whether a cell names the cellularity and no figure."""
    long = len(name) > 49 and not ("(" in name or "[" in name or ":" in name)
    if long or _MEASURED.search(name) is None:
        return False  # for speed: as most lines
    name = _REMARK.sub("", without_scale(name))
    last = name.rpartition(": ")[2]  # "Core: cellularity"
    name = last if "ellul" in last else name
    if len(name) >= 45:
        return False
    named = any(stem in name for stem in ("cellul", "zellul", "richesse"))
    named = named and not ("H" in classes_in(name) and "C" not in classes_in(name))
    cells = _CELLS.fullmatch(name)
    named = named or (cells is not None and classes_in(cells["of"]) <= set("BM"))
    met = classes_in(name)
    of_cells = "f" in met and not met.isdisjoint("KLC") and _TO.search(name)  # "Cells / fat"
    ratio = {"f", "T"} <= met or (of_cells and met <= set("fKLCMTGxv"))  # "Cell:fat ratio"
    told = re.search(r"\d" if ratio else r"\d|:.|;", name)
    return bool(named or ratio) and not told


def tells_it(key: str) -> bool:
    """Whether a key is what is measured."""
    met = classes_in(key)
    return (
        bool(met & set("KCAH"))
        or {"L", "f"} <= met
        or (met >= set("MLv") and "x" not in met)
        or key in _CELL_KEYS
    )


def is_of_another(key: str) -> bool:
    """Whether a key names another noun, and no correction: "Blasts (unchanged)"."""
    return bool(classes_in(key) & set("xLfK")) and not AMENDS.search(key)


@lru_cache(maxsize=4096)
def is_known(name: str) -> bool:
    """Whether the name of a column says a material or a time, and no more."""
    words = [word for word in _WORD.findall(name) if len(word) > 1 or word in "rl"]
    told = any(class_of(word) in "nbrevBSR" for word in words)
    return told or bool(_DATE.search(name)) or material_of(name) == "general"


def is_time(name: str) -> bool:
    """Whether the name of a column says when, without a date: "Previous", "(current)"."""
    return bool(classes_in(name) & set("nb")) and not re.search(r"\d", name)


def without_scale(line: str) -> str:
    """The names of a table without the scale of the cellularity: "Cellularity (0-100%)"."""
    return _SCALED.sub(r"\1", line) if "(" in line or "[" in line else line


@lru_cache(maxsize=4096)
def cut_of(line: str) -> str:
    """What parts the cells of a line, or nothing where it is none of a table."""
    if "|" in line or "\t" in line:
        return "|" if "|" in line else "\t"
    for mark, least in ((";", 2), (",", 3)):
        if mark in line and mark + " " not in line:
            row = line.rstrip().removesuffix(";").split(mark)  # "Cellularity: 60%;", in a list
            if len(row) >= least and all(len(cell) < 40 for cell in row):
                return mark
    if "  " not in line.strip() or _COLON.search(line) or _BOX.search(line):
        return ""
    pieces = _GAP.split(line.strip())
    told = [bool(_BRACKETED.fullmatch(it)) for it in pieces] == [False, True]  # "...  (check one)"
    if told or any(_SENTENCE.search(piece) for piece in pieces):
        return ""  # sentences with two blanks between
    lead = len(pieces) == 2 and material_of(pieces[0]) not in ("unknown", "general")
    return " " if lead or all(len(piece) < 40 for piece in pieces) else ""


def with_units(cells: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The cells with the sign beside its figure: "Cellularity | 30 | pct"."""
    for n in range(len(cells) - 1, 1, -1):
        if cells[n][1].strip() in ("%", "pct", "pct.", "percent", "per cent"):
            cells[n - 1] = (cells[n - 1][0], f"{cells[n - 1][1].rstrip()} %")
            cells = cells[:-1] if n == len(cells) - 1 else cells
    return cells


@lru_cache(maxsize=4096)
def is_open(line: str) -> bool:
    """Whether a short line goes on in the next: it ends in a comma or a small word."""
    last = "".join(line.split()[-1:])
    small = last in _ABOUT or (last.isalpha() and last not in "dg" and class_of(last) in "dvpIzwj")
    empty = last == "-" and line.rstrip(" -\t").endswith(":")  # "A: -"
    return small or (last[-1:] in ("-", ",", "(") and not empty)


def of_nothing_else(words: str) -> bool:
    """Whether what stands behind the letter of a specimen names no material itself."""
    key = KEY.match(words.lstrip())
    return material_of(key[1] if key else words.strip(" .")) in ("unknown", "general")
