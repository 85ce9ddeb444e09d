"""Which samples a form ticks, and which a report says it has alone."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby

from ingest.labels.headings import Material, material_of
from ingest.labels.languages import GENERAL, words_of
from ingest.labels.marks import EMPTY, TICKED
from ingest.labels.tokens import class_of, encode

BOX = re.compile(rf"(?P<x>{TICKED})|{EMPTY}|\( *\)")
_MARKS = [*"[☐☒☑□✓", "()", "( ", "(x", "(o", "(*", "(+"]  # what a box begins with
_YES, _NO = words_of("yes ja oui y"), words_of("no nein non n")
# "Core biopsy: no   Clot: yes", "Core biopsy: [ ] yes [x] no"
_ANSWER = re.compile(
    r"(?P<name>[^\W\d_][^:\n|\[\]()☐☒☑□✓.;]{2,30}) ?[:?] ?(?:(?P<plain>yes|no|ja|nein|oui|non)\b"
    rf"|(?P<boxes>(?:(?:{TICKED}|{EMPTY}|\( *\)) ?(?:yes|no|ja|nein|oui|non)\b[ /,]*){{2}}))"
)
_PLAIN = re.compile(r"[:?] ?(?:yes|no|ja|nein|oui|non)\b")  # looked for first: it is fast
_KEY = re.compile(r"[ \t]*(?P<key>[^\W\d_][^:\n\[\]☐☒☑□✓]{2,40})[:?](?=\s)")
_GAP = re.compile(r"[ \t]*[|,;\t][ \t]*|\s{2,}")
_OTHERS: tuple[Material, ...] = ("clot", "aspirate", "touch")
_ONLY = words_of("only alone nur lediglich seulement uniquement seul seuls seule")
_CLAUSE = re.compile(r"[,.;(]\s?|\n|\bas\b|\bda\b")
_OF_ALL = ("material", "matéri", "type", "art ", "kind")  # of a key


@lru_cache(maxsize=4)
def core_ticked(folded: str) -> bool | None:
    """Whether a form that lists samples ticks the core; None where it has no such list."""
    told: dict[Material, bool] = {}
    for name, ticked in _answers(folded):
        material = material_of(name)
        told[material] = told.get(material, False) or ticked
    if "core" not in told or not any(other in told for other in _OTHERS):
        return None
    return told["core"] if told["core"] or any(told.get(it) for it in _OTHERS) else None


def _answers(folded: str) -> list[tuple[str, bool]]:
    """The names that a line, or a run of lines, ticks or leaves without a tick."""
    found: list[tuple[str, bool]] = []
    boxed = any(map(folded.__contains__, _MARKS)) and BOX.search(folded)
    if not boxed and not _PLAIN.search(folded):
        return found
    for single, lines in groupby(folded.split("\n"), key=lambda it: len(BOX.findall(it)) == 1):
        for line in [", ".join(lines)] if single else lines:
            found += _of_line(line)
    return found


def _of_line(line: str) -> list[tuple[str, bool]]:
    boxes = [*BOX.finditer(line)]
    said = [*_ANSWER.finditer(line)] if boxes or _PLAIN.search(line) else []
    if said:
        return [(it["name"].strip(" -*"), _is_yes(it)) for it in said]
    key = _KEY.match(line)
    if len(boxes) < 2 or (key and not _is_of_samples(key["key"])):
        return []
    begin = key.end() if key and key.end() <= boxes[0].start() else 0
    ends = [begin, *(box.end() for box in boxes)]
    starts = [*(box.start() for box in boxes), len(line)]
    pieces = [line[a:b] for a, b in zip(ends, starts, strict=True)]
    leads = not pieces[0].strip(" \t-*|,.")  # "[x] clot [ ] core", not "clot [x] core [ ]"
    names = pieces[1:] if leads else pieces[:-1]
    return [
        (_GAP.split(name.strip(" \t-*|,;.:"))[0 if leads else -1], box["x"] is not None)
        for name, box in zip(names, boxes, strict=True)
    ]


def _is_yes(said: re.Match[str]) -> bool:
    if said["plain"]:
        return said["plain"] in _YES
    at = {word: n for n, word in enumerate(re.findall(r"[^\W\d_]{2,}", said["boxes"]))}
    ticks = [box["x"] is not None for box in BOX.finditer(said["boxes"])]
    return any(ticks[n] for word, n in at.items() if word in _YES and n < len(ticks))


def _is_of_samples(key: str) -> bool:
    """Whether a key asks for the samples: "Material examined", but not "Iron stain on"."""
    first = key.split()[0]
    return class_of(first) == "G" or first in GENERAL or key.startswith(_OF_ALL)


@lru_cache(maxsize=4)
def others_alone(folded: str) -> str:
    """The words that say that a clot or an aspirate is all there is: "Clot and aspirate only"."""
    begin = 0
    if not any(word in folded for word in _ONLY):
        return ""
    for stop in [*_CLAUSE.finditer(folded), None]:
        said = folded[begin : stop.start() if stop else len(folded)]
        key = _KEY.match(said)
        bare = said[key.end() :] if key and _is_of_samples(key["key"]) else said
        opens = (
            begin == 0
            or folded[begin - 2 : begin - 1] in ("", ".", ";")
            or (folded[begin - 1] in "\n.;")
        )
        begin = stop.end() if stop else begin
        if opens and len(bare) < 80 and not _ONLY.isdisjoint(bare.split()):
            met = set(encode(bare, []).classes)
            if "S" in met and met <= set("SGMRdqjvrno:"):
                return said.strip()
    return ""
