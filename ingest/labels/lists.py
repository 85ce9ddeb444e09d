"""Lists below "Cellularity:", an entry a line, and fields that stand side by side in a line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingest.labels.headings import (
    SET_ASIDE,
    Material,
    classes_in,
    is_measured,
    is_of_a_list,
    is_side,
    material_of,
)

# "  Core: 40%", "- 40-50 %": an entry below "Cellularity:"
ENTRY = re.compile(r"[ \t*•-]*(?:(?:[^:%\d\n]{1,40}:)?[ \t]*[<>~]?[\d -]{1,9}%[ .;,]*){1,4}")
# "  Core, right: 40", "  Smear: cellular", entries below "CELLULARITY (%)"
_LISTED = re.compile(
    r"[ \t*•-]*(?P<key>[^:%\d\n]{1,60}?|[^:%\n]{1,60}(?=:))"
    r"(?:[ \t]*(?::|\.{3,}|=)[ \t]*|(?<=\S) (?=[<>~]?\d))"
    r"(?:(?P<value>[<>~]? ?\d{1,3}(?: ?- ?\d{1,3})?(?: ?%| per ?cent)?)[ .;]*|[^\d%]{0,60})"
)
# "35 percent (biopsy)"
_BACK = re.compile(
    r"[ \t*•_-]*(?P<value>[<>~]? ?\d{1,3}(?: ?- ?\d{1,3})? ?(?:%|per ?cent)?)[ *_]*"
    r"(?:\(|- )(?P<key>[^()%\d\n]{1,60})\)?[ .;]*"
)


_BARRED = re.compile(r"[^|\s](?:[^|]*[^|\s])?")
_PAIR = re.compile(r"\s*[^\W\d_][^=;]{0,40}=[^=;]+")
_FIELD = re.compile(r"(?P<key>[^\W\d_][^:]{1,39}):\s(?P<value>(?:[^:]|:(?=\S))+)")
_PIECE = re.compile(r"\S+(?: \S+)*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A cell, its place in the line, and the names that say what it is."""

    names: str  # "cellularity (core) : "
    at: int
    text: str
    material: Material | None = None  # of its own, not of its section


def entry_of(line: str, unit: str, above: str) -> Entry | None:
    """The figure of a line of a list below "Cellularity", whose `unit` is a sign, a blank or none.

    Below "Cellularity  reduced [x]", the line `above`, one that only says a percentage is one too.
    """
    item = (_LISTED.fullmatch(line) or _BACK.fullmatch(line)) if unit or "ellul" in above else None
    if not item or not item["value"]:
        return None
    key, signed = item["key"], unit == "%" or item["value"][-1] in "%t"
    share = not unit and "%" in (met := classes_in(key)) and met <= set("oqvd%")
    if share or (unit and signed and "v" not in classes_in(key) and is_of_a_list(key)):
        names = f"{key.strip()} cellularity {'%' if share else unit.strip()} : "
        return Entry(names=names, at=item.start("value"), text=item["value"])
    return None


def is_of_the_list(line: str) -> bool:
    """Whether a line below "Cellularity (%)" is one of its list, with a figure or without."""
    item = _LISTED.fullmatch(line) or _BACK.fullmatch(line)
    return item is not None and is_of_a_list(item["key"])


def fields_in(line: str) -> list[re.Match[str]]:
    """The fields that stand side by side, "Length: 9 mm   Quality: good", or none."""
    if line.count("=") > 1 and ";" in line:  # "PCT_CELLULAR_CORE=50;PCT_CELLULAR_CLOT=65"
        pairs = list(re.finditer(r"[^;]+", line))
        return pairs if all(_PAIR.fullmatch(pair[0]) for pair in pairs) else []
    barred = " | " in line  # "Cellularity: 50-60 | Expected: 30-50"
    if line.count(":") < 2 or not (barred or "  " in line) or ENTRY.fullmatch(line):
        return []
    pieces = list((_BARRED if barred else _PIECE).finditer(line))
    fields = [_FIELD.fullmatch(piece[0]) for piece in pieces]
    lead = not fields[0] and material_of(pieces[0][0].strip(" :")) in ("core", *SET_ASIDE)
    if len(pieces) < 2 or not all(fields[lead:]) or len(fields) - lead < 2:
        return []
    said = [field.group("key", "value") for field in fields if field]
    measured = next((n for n, (key, _) in enumerate(said) if is_measured(key)), len(said))
    behind = [word.strip(" .;") for field in said[measured + 1 :] for word in field]
    goes_on = any(is_side(it) or material_of(it) in ("core", *SET_ASIDE) for it in behind)
    return [] if goes_on else pieces  # "Cellularity: 60%   Specimen: clot"
