"""Which specimen a letter or a number stands for: "Trephine (A); clot (B).", "Slide 2: clot."."""

from __future__ import annotations

import re
from functools import lru_cache

from ingest.labels.headings import ASIDE, Material, classes_in, material_of
from ingest.labels.languages import WORDS, by_word
from ingest.labels.tokens import Sentence, after_any, class_of

_NAME = r"(?:(?!  )[^.:;,()\n]){2,60}"
_ID = r"[a-h]\d?|\d{1,2}|i{1,3}|iv"
# "(1) core biopsy", "Slide 2: clot", "Block A1 (core)", "B. clot"
_DECLARED = re.compile(
    r"[\s(\[](?P<id>[a-h\d]\d?|i{1,3}|iv)"
    r"(?:[)\]]?[.:]|[)\]]|(?<=[a-h]),| [=-](?= )| (?=\())[ \t]*\(?"
    rf"(?P<name>[^\W\d_]{_NAME})(?=(?P<more>(?:,{_NAME}){{0,4}}))"
)  # begins with one character: what stands before it is looked at behind each
_BEFORE = re.compile(r"(?:(?:[.;,:\n]|  )[ \t]*|[^\W\d_](?<!\w\w)[^\W\d_]{2,11} )[(\[]?$")
# "A1 core, A2 clot": without a mark the letters of a list, and no article
_LISTED = re.compile(
    r"(?P<id>[a-h\d](?<![^\W_].)\d?) (?=(?P<name>[^\W\d_](?:(?!  | and )[^.:;,()\n]){2,60}))"
)  # begins with one character: what stands before it is looked at behind each
_LEADS_ON = re.compile(r"(?:^|[.:;,(\n]|\band)[ \t]*(?:(?P<unit>[^\W\d_]{3,12}) )?$")
_BEHIND = re.compile(rf"[(\[](?P<id>{_ID})[)\]]")  # "Trephine (A)"
_ENDS = re.compile(r"[.:;,()\n]")  # of a name
# what a sentence begins with: "(A)", "B)", "1.", "Slide 2:"
_LEADS = re.compile(
    rf"\s*(?:(?P<unit>[^\W\d_]{{3,12}}) )?[(\[]?(?P<id>{_ID})(?:[)\]]?[.:]|[)\]]| [-=]"
    r"|(?= (?:is|was|has|had|shows?|contains?|consists?|measures?)\b)"
    r"|(?(unit)(?: [^\W\d_]{3,20}:|[ \t]*$)|(?!)))(?=\s|$)"
)
# "A2 45% cellular", "B Zellularität 65 %", but no "B cells"
_BARE_LEAD = re.compile(
    r"\s*(?P<id>[a-h]\d|[b-h](?=\s)(?![ -]+(?:cell|zell(?:e|ig)|lymph))|a(?=\szellul))(?=\s)"
)
_NEXT = re.compile(r"[;,] (?:and |und |et )?([a-h]\d?)(?= [^\W\d_]+ )")
_NAMED = re.compile(
    rf"(?P<unit>[^\W\d_]{{3,12}} )?(?P<open>[(\[])?\b(?P<id>{_ID})\b(?(open)[)\]])(?! ?(?:[cm]m|%))"
)
SIDES = by_word("""
r right rt r re rechts rechte droite droit d
l left lt l li links linke gauche g
1 first one einen 1 longer larger bigger
2 second 2 other anderen shorter smaller
3 third 3
4 fourth 4
a a
b b
c c
""")
_OF_CORE = re.compile(r"core +[(\[]?(?:[a-z]+ )?([a-z]|\d)[.):\]]*$")
_NUMBERED_CORE = re.compile(
    r"(?:core|biopsy|trephine|cylinder|zylinder|cylindre|carotte|biopsie|stanze|trepanat)"
    r" (\d|i{1,3})\b(?! ?[cm]m)"
)
# a core by its letter or its block: "A: 30% cellular", "block A2 is 50%"
_LETTER = re.compile(r"[a-d]\d?")
_COUNTED = {
    word for word, side in SIDES.items() if side not in ("r", "l")
}  # of cores, not of readers


# "three core biopsies:", above "A. Right crest", "B. ...", "C. ..."
_CORES = re.compile(
    r"\b(?P<n>two|three|four|[234]) (?:[^\W\d_]+ ){0,2}(?:cores|biopsies|trephines|cylinders)\b"
    r"[^.\n%]{0,30}:"
)
_COUNTS = {"two": 2, "three": 3, "four": 4}


@lru_cache(maxsize=4)
def declared(folded: str) -> dict[str, Material]:
    """The material that each letter or number of a specimen is said to be, in the whole report."""
    found: dict[str, Material] = {}
    names = [
        (said["id"], [said["name"], said["name"] + said["more"]])  # "bone marrow, left, core"
        for said in _DECLARED.finditer("\n" + folded)
        if _BEFORE.search(said.string, max(0, said.start("id") - 14), said.start("id"))
    ]
    for said in _BEHIND.finditer(folded):
        last = _ENDS.split(folded[max(0, said.start() - 60) : said.start()])[-1]
        names.append((said["id"], [last]))
    listed = {
        said["id"]: said["name"]
        for said in reversed([*_LISTED.finditer(folded)])
        if _begins(folded, said) and material_of(said["name"]) not in ("unknown", "general")
    }
    names += [(at, [it]) for at, it in listed.items() if len(listed) > 1]
    for label, said_to_be in names:
        old = not classes_in(said_to_be[-1]).isdisjoint("br")  # "C: outside slides, core of 2020"
        materials = (material_of(name.strip()) for name in said_to_be)
        for material in (one for one in materials if one not in ("unknown", "general")):
            found.setdefault(label, "other" if old else material)
    labels = [] if found else [label for label, _ in names if label.isalpha()]
    if labels and (cores := _CORES.search(folded)):
        each = "abcd"[: _COUNTS.get(cores["n"]) or int(cores["n"])]
        found |= dict.fromkeys(each, "core") if {*each} == {*labels} else {}
    return found


def _begins(folded: str, said: re.Match[str]) -> bool:
    """Whether an item of a list begins there: a letter, or a number behind its unit."""
    before = _LEADS_ON.search(folded[max(0, said.start() - 16) : said.start()])
    if not before or (before["unit"] is None) == said["id"][0].isdigit():
        return False
    return class_of(before["unit"] or "slide") in "Gtx"


def lead(words: str, known: dict[str, Material]) -> tuple[Material, int] | None:
    """The material of the letter or number that words begin with, and where it ends.

    It is unknown where others of its kind are declared: "(3)" beside "(1) core, (2) clot".
    """
    met = _LEADS.match(words)
    if not known.keys().isdisjoint(_NEXT.findall(words)):
        return None  # "B2 shows 60%; B1 shows 85%": each side has its own
    if not met and (bare := _BARE_LEAD.match(words)) and bare["id"] in known:
        return known[bare["id"]], bare.end()
    if not met or class_of(met["unit"] or "slide") not in "Gtx" or not _is_used(met["id"], known):
        return None
    return _said_of(met["id"], known), met.end()


def labelled(words: str, known: dict[str, Material]) -> Material | None:
    """The material of the letter or number in a sentence; unknown where it has several."""
    first = lead(words, known)
    if first:
        return first[0]
    found: set[Material] = set()
    for said in _NAMED.finditer(words):
        if said["unit"] and class_of(said["unit"].strip()) in ("S", "B"):
            continue  # "clot (B)": it is named there
        unit = said["open"] or (said["unit"] and class_of(said["unit"].strip()) == "G")
        if unit and _is_used(said["id"], known):
            found.add(_said_of(said["id"], known))
    return None if not found else found.pop() if len(found) == 1 else "unknown"


def _is_used(label: str, known: dict[str, Material]) -> bool:
    """Whether the report counts its specimens by letters, or by numbers, as this label does."""
    alike = sum(one[0].isdigit() == label[0].isdigit() for one in known)
    return label in known or alike > 1 or _said_of(label, known) != "unknown"


def _said_of(label: str, known: dict[str, Material]) -> Material:
    """What a label is said to be, itself or its specimen: "Block A2" is of "A. Core biopsy"."""
    return known.get(label) or known.get(label.rstrip("123456789")) or "unknown"


def is_of_one(s: str, at: int) -> bool:
    """Whether a sentence is on one core up to a figure: "The right core is ...; as a whole 80%"."""
    return re.match("[pd]*R[MBG](?:[^F]|F(?=p))*;(?:[^F]|F(?=p))*F$", s[: at + 1]) is not None


def side_of(sentence: Sentence, s: str, at: int, under: str) -> str:
    """Which core a figure is of: right, left or a number, named in its clause or its heading."""
    words = sentence.words
    after = re.match(r"A?[pIqv(]+[dMB]*(R)(?![MBG]*:?F)", s[at + 1 :])  # no "40% (L 30%, R 50%)"
    if after:  # "40% on the left and 60% on the right"
        name = words[at + 1 + after.start(1)].rstrip("-")
        return SIDES.get(name, name if _LETTER.fullmatch(name) else "")
    listed = len({SIDES[word] for word in _COUNTED.intersection(words)}) > 1 and "r" not in s
    names = [
        words[i].rstrip("-")
        for i in range(after_any(s, ".F;", at), at)
        if s[i] == "R"
        and (words[i] not in _COUNTED or s[i + 1 : i + 2] != "M")
        and (listed or words[i] not in _COUNTED or set(s[max(0, i - 1) : i + 2]) & set("BG"))
    ]
    names = [name for name in names if name != "one"] or names  # "the shorter one"
    sides = [SIDES[name] for name in names if name in SIDES]
    if not sides and is_of_one(s, at):
        sides = [SIDES[word] for word in words[: s.index("R") + 1] if word in SIDES]
    if sides or "both" in names:
        return "" if "both" in names else sides[-1]
    heading = [word for word in re.findall(r"\w+", ASIDE.sub("", under)) if word not in "dg"]
    lead = re.match("d?[BG]?R", s)
    if lead and not set(s[:at]) & set(".o") and "R" not in s[lead.end() : at]:
        heading = words[: lead.end()]  # "Left, 9 mm, 60% marrow: 85% cellular", "Core 2 (9 mm) ..."
    named = any(WORDS.get(word) in ("B", "G") for word in heading)
    heads = {SIDES[word] for word in heading if word in SIDES and (named or word not in _COUNTED)}
    heads = heads & {"r", "l"} or heads  # "Part A, right iliac crest"
    if several := _NUMBERED_CORE.match(under):
        return (
            str(len(several[1])) if several[1][0] == "i" else several[1]
        )  # "Core 1 (right)", "Core 2 (right)"
    if len(heads) == 1:
        return heads.pop()
    label = _OF_CORE.match(under)  # "core D.", where specimens have letters
    return label[1] if label else _letter_of(words, s, at, under)


def _letter_of(words: list[str], s: str, at: int, under: str) -> str:
    """The letter of the core or block that a figure is of, which no reader is: "A: 30%; B: 50%"."""
    if "r" in s:
        return ""
    for i in range(at - 1, -1, -1):
        if _LETTER.fullmatch(words[i]):
            article = words[i] == "a" and s[i + 1] not in ":)" and "b" not in words[at:]
            return "" if article else words[i]
        if s[i] not in ":)vC(p":
            break
    return under if _LETTER.fullmatch(under) else ""
