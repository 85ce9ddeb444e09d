"""Whose a sentence that names no sample is, by the sentences beside it."""

from __future__ import annotations

import re
from functools import lru_cache

from ingest.labels.languages import GENERAL, KINDS, words_of
from ingest.labels.roles import WE
from ingest.labels.segments import Segment
from ingest.labels.tokens import Sentence, encode

# "Cellularity 60%. This refers to the clot.", "... 60%. (Clot section)"
_STOP = re.compile(r"[.;]\s+")
_SAYS_WHOSE = ("(", "*", "this ", "it ", "that ")
_OF_OTHER = re.compile(r"\([dqRM]*[Sbr][SGMB]*\)|(?:q|d[xvqd]*p?)[dqRM]*[Sbr][SGMB]*x?[.]?$")
# "the previous marrow was reviewed", "an outside trephine is at hand", "slides of 2019"
_SAMPLE_OF_BEFORE = re.compile(r"(?<!k)(?<!kp)(?<!kpd)[br][^vCAH]*[MBGS]|[MBGS][pIu(][dqyxR]*b")
# of a section, and no time: "Final diagnosis: bone marrow, core biopsy: ..."
_SECTION = re.compile(r"(?:^|\b(?P<of>[^\W\d_]+) )(?:diagnos[ei]s|diagnose):")
_SENT = words_of("submitted submitting referred sending block blocks")
_SET_ASIDE = {"clot", "aspirate", "touch", "other", "bones"}
_MINE = WE | words_of("my our mein unser notre")
_THING = re.compile("(?:[dqR]*v)?[^MBCAHGSv]*x[^MBCAHGS]*")  # "There is a lymphoid nodule."
# "Core biopsy 2018: 95%", above "Core biopsy 2020: hypocellular"
_OF_YEAR = re.compile(
    r"(?:\bbom|biops\w*|\bcores?|treph\w*|stanze|marrow)(?: biopsy)?,? "
    r"(?:de |of |from |vom |von |in )?\(?(?:\d\d?/)?((?:19|20)\d\d)\b"
)
# "Day 28 (today): inadequate", "Heute, Tag 28: ..."
_TODAY = (
    r"(?:today(?:'s)?|now|current|present|this (?:biopsy|specimen|sample|marrow|one)|heute|jetzt"
    r"|jetzig\w*|aktuell\w*|ce jour|aujourd'hui|actuel\w*)"
)
_NOW, _SENTENCE = re.compile(rf"\b{_TODAY}\b|\bthis time\b"), re.compile(r"[.;]\s|\n")
_NOW_LABEL = re.compile(
    rf"(?P<boxed>\((?:[^()\n]{{0,20}}\b)?{_TODAY}(?: \w+)?\))\s?[:,]"
    rf"|(?:^|[.;\n]\s?){_TODAY}(?: ?\([^()\n]*\)|, [^:\n.]{{0,12}})? ?[:,]"
    r"|(?P<row>\b(?:this (?:report|biopsy|specimen|sample)|current|present))[ \t|)]*(?:\n|$)"
)
_TIMED = re.compile(
    r"\b(?:d|day|tag|j|jour|week|woche|s|w|month|cycle|point|biopsy|bmbx|core|marrow|stanze|bom)s?"
    r" ?[+#]{0,2}\d|\bc\d+d\d|\b(?:1st|2nd|first|second|erste[rns]?|premi(?:er|ère))\b"
    r"|\b\d\d?/(?:19|20)\d\d\b|\b(?:19|20)\d\d\b|\b[a-z]\d\d-\d"
    r"|\b\d\d? (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
)
# "Day 28 core biopsy", "Trephine, day +14", above "Day 0: 80% cellular"
_TIME = (
    r"(?P<unit{0}>d(?:ay)?|tag|j(?:our)?|w(?:ee)?k|woche|sem(?:aine)?|m(?:onth|onat|ois)?|cycle"
    r"|y(?:ea)?r|jahr)s? ?\+?(?P<n{0}>-?\d{{1,3}})\b"
)
_CORE = r"(?:bone marrow |marrow )?(?:core|treph|biops|bom\b|bmbx|stanz)"
_CORE_OF = re.compile(
    rf"\b{_TIME.format(1)}[ ,:(]{{1,2}}{_CORE}"
    rf"|{_CORE}[^\W\d_]*(?: biopsy)?[ ,:(]{{1,2}}(?:(?:of|at|on|from|von|vom|de|du) )?"
    rf"{_TIME.format(2)}"
)
_AT_TIME = re.compile(rf"(?:^|[.;,()\n])\s*(?:(?:on|at|by|am|an|in) )?{_TIME.format('')}")
_ALIKE = {"t": "d", "j": "d", "s": "w"}  # "Tag 28", "J28"
_MATERIAL = re.compile(
    r"\b(?:material|mat[eé]riel|specimens?|samples?|submitted|received|only|alone|nur|lediglich"
    r"|seuls?|seule(?:ment|s)?|uniquement)\b"
)
# "was 60% in 2019; at present it is lower", "qui était de 80 % a diminué"
_WAS = re.compile(r"\b(?:was|were|war|waren|était|avait été|évaluée|had been)\b[^.;%]*$")
_NOW_IS = re.compile(
    r"[^.]*?(?:[;,] ?(?:and |but |und |aber |et |mais )?|\b(?:is|are|ist|est|elle est) )"
    r"(?:at present|now|today|jetzt|heute|aujourd'hui|à présent|ce jour|maintenant)\b"
    r"|[^.%]*\b(?:a|est|sont|ont) (?:[^\W\d_]+ )?(?:diminu|augment|baiss|rédui)"
)
IT = words_of("it this these here es sie dies elle ceci")


def context_of(sentence: Sentence, segment: Segment, folded: str) -> str:
    """Whose a sentence that names no sample is by those beside it: "The clot is small. It is"."""
    own = set(sentence.classes)
    if segment.at != segment.start:
        return ""  # a cell of a table
    behind = folded[segment.end : segment.said[1]].lstrip()
    if behind.startswith(_SAYS_WHOSE) and _OF_OTHER.match(s := encode(behind, []).classes):
        return "b" if {"b", "r"} & set(s) else "S"
    if own & set("BSRnE") or not _MINE.isdisjoint(sentence.words):
        return ""
    before = folded[segment.said[0] : segment.at].rstrip(" .;\n")
    for n, said in enumerate(reversed(_STOP.split(before)[-3:] if before else ())):
        if "ellul" in said:
            break
        section = _SECTION.search(said)
        named = section is not None and (section["of"] or "diagnosis") in GENERAL
        found = encode(said[section.end() :] if section and named else said, [])
        s = found.classes
        if n == 0 and sentence.words[0] in IT and ("a" in s or _THING.fullmatch(s)):
            return "a"
        if said.endswith(":") or "i" in s:
            continue
        if _SAMPLE_OF_BEFORE.search(s) and not _SENT.intersection(found.words):
            return "b"
        listed = "B" in encode(before.rpartition(". ")[2], []).classes  # "One core; a clot."
        if (
            not listed
            and "B" not in s
            and _SET_ASIDE & {KINDS.get(word) for word in {*found.words} - _SENT}
        ):
            return "S"
        if {"B", "n"} & set(s):
            break
    return ""


def is_of_an_older(folded: str, said: str, start: int, end: int) -> bool:
    """Whether a figure is of an earlier time: `said` is its heading and its sentence.

    Its lead names a year and the report that of a later core, or a day and the report another as
    today's; or its sentence goes on to tell what is now. It stands from `start` to `end` in `said`.
    """
    lead = said[:start]
    own: list[str] = _OF_YEAR.findall(said)
    if own and own[-1] < max(_OF_YEAR.findall(folded), default=""):
        return True
    if _WAS.search(lead) and _NOW_IS.match(said, end):
        return True
    if re.search(rf"\b{_TODAY}\b", lead):
        return False
    if _is_of_another_time(folded, lead):
        return True
    without = (_TIMED.findall(now) != _TIMED.findall(lead) for now in _without_core(folded))
    return _TIMED.search(lead) is not None and (_is_labelled(folded) or any(without))


@lru_cache(maxsize=4)
def _is_labelled(folded: str) -> bool:
    """Whether a report says of a time or a sample that it is today's."""
    return any(_is_label(folded, met) for met in _NOW_LABEL.finditer(folded))


def _is_of_another_time(folded: str, lead: str) -> bool:
    """Whether a figure is of another day than the one core of a day: "Day 28 core. Day 0: 80%"."""
    own = {(_unit(time["unit"]), int(time["n"])) for time in _AT_TIME.finditer(lead)}
    of_cores = _days_of_cores(folded) if own else frozenset()
    units = {unit for unit, _ in of_cores}
    return len(of_cores) == 1 and any(unit in units for unit, _ in own - of_cores)


@lru_cache(maxsize=4)
def _days_of_cores(folded: str) -> frozenset[tuple[str, int]]:
    """The days, weeks, months or cycles of the cores that a report names."""
    return frozenset(
        (_unit(core["unit1"] or core["unit2"]), int(core["n1"] or core["n2"]))
        for core in _CORE_OF.finditer(folded)
    )


def _unit(name: str) -> str:
    return _ALIKE.get(name[0], name[0])


@lru_cache(maxsize=4)
def _without_core(folded: str) -> list[str]:
    """The sentences on what is at hand today that name a sample and no core."""
    found = []
    for said in _SENTENCE.split(folded) if _NOW.search(folded) else ():
        if len(said) < 200 and _NOW.search(said) and _MATERIAL.search(said):
            met = set(encode(said, []).classes)
            found += [said] if "S" in met and "B" not in met else []
    return found


def _is_label(folded: str, now: re.Match[str]) -> bool:
    """Whether a time or a sample is named before a word for today: "Day 28 (today):"."""
    begin = folded.rfind("\n", 0, now.start()) + 1 if now["row"] else max(0, now.start() - 30)
    said = folded[begin : now.start()]
    if not now["boxed"]:
        return not now["row"] or _TIMED.search(said) is not None
    return bool(_TIMED.search(said) or "B" in encode(said, []).classes or "specimen" in said)
