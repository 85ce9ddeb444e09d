"""Set sections that stand side by side one below the other: "CORE BIOPSY     ASPIRATE SMEAR"."""

from __future__ import annotations

import re

from ingest.labels.headings import SET_ASIDE, material_of

_HEADS = re.compile(r"\s*[^\W\d_][^\d%|;]{5,}")
_LONGEST = 150  # characters of a line of headings
_CELL = re.compile(r"\S+(?: \S+)*")
_NAME = re.compile(r"[^\W\d_]")
_LEAST = 2  # rows in which a name stands at the place of a later heading


def unfolded(text: str) -> str:
    """A text with each section of such a block in lines of its own; another comes back as it is."""
    if "  " not in text:
        return text
    lines, made, at = text.split("\n"), list[str](), 0
    while at < len(lines):
        block = _block(lines, at, places) if (places := _places(lines[at])) else None
        made.append(block[0] if block else lines[at])
        at = block[1] if block else at + 1
    return "\n".join(made)


def _places(line: str) -> list[int]:
    """Where the headings of a line begin that are of several materials, and of nothing else."""
    if "  " not in line.strip() or len(line) >= _LONGEST or not _HEADS.fullmatch(line):
        return []
    cells = list(_CELL.finditer(line))
    materials = {material_of(cell[0].lower().strip(" :=-")) for cell in cells}
    told = len(materials) == len(cells) > 1 and materials <= {"core", *SET_ASIDE}
    return [cell.start() for cell in cells] if told else []


def _block(lines: list[str], first: int, places: list[int]) -> tuple[str, int] | None:
    """The sections below the headings of a line, and the line behind them; or none."""
    sections: list[list[str]] = [[] for _ in places]
    named, end = 0, first
    while end < len(lines):
        line = lines[end]
        cells = list(_CELL.finditer(line))
        if (not cells and end > first + 1) or (end > first and _places(line)):
            break  # at a blank line, or at other headings
        ends = [*places[1:], len(line) + 1]
        spans = list(zip([cells[0].start() if cells else 0, *places[1:]], ends, strict=True))
        if any(place - 1 < len(line) and line[place - 1 : place].strip() for place in places[1:]):
            break  # it runs on over the place of a heading
        for section, (begin, until) in zip(sections, spans, strict=True):
            section.append(line[begin:until].strip())
        later = [cell for cell in cells if cell.start() in places[1:] and _NAME.match(cell[0])]
        last = later[-1][0] if later else ""
        said = later and (
            cells[-1].start() > later[-1].start() or last.count(" ") > 2 or ": " in last
        )
        named += bool(said)
        end += 1
    if named < _LEAST:
        return None
    return "\n\n".join("\n".join(filter(None, section)) for section in sections), end
